"""The one clock of the core: every stamp and every absolute time comes from here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

now_ns = time.monotonic_ns
"""Nanoseconds of the system-wide monotonic clock.

Not `perf_counter_ns`: its resolution is the same on Linux and macOS, but only `monotonic` is promised to be
system-wide, so that stamps of two processes on one host may be subtracted, and it is the event loop's own clock.
An alias and not a function, because a stamp should cost one call.
"""

wall_ns = time.time_ns
"""Nanoseconds since the epoch, for absolute times only: never subtract two of them to get a duration."""


CLOSE_NS = 20_000
"""Two readings of the monotonic clock this near to each other hold a reading of the wall clock well enough."""
_READINGS = 3


def together(mono: Callable[[], int] = now_ns, wall: Callable[[], int] = wall_ns) -> tuple[int, int]:
    """The monotonic and the wall clock at one moment, in ns.

    Read again where something came between, and the nearest of three tries taken: what the two are apart by is the time
    between two readings of the first.
    """
    nearest = (sys.maxsize, 0, 0)
    for _ in range(_READINGS):
        before_ns, at_ns, after_ns = mono(), wall(), mono()
        nearest = min(nearest, (after_ns - before_ns, before_ns, at_ns))
        if nearest[0] <= CLOSE_NS:
            break
    return nearest[1:]


def utc_text(ns: int) -> str:
    """That wall-clock reading as ISO 8601 in UTC, cut to milliseconds, with a Z."""
    seconds, below = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{below // 1_000_000:03d}Z"


def utc_now() -> str:
    """The time of day as ISO 8601 in UTC with milliseconds and a Z."""
    return utc_text(wall_ns())
