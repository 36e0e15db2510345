"""Whether the client itself was late in a call: flags that name what was seen and what was promised. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from weeyuga_core.measure.reconcile import BUFFERED_MIN_DELTAS
from weeyuga_core.measure.timing import Timing
from weeyuga_core.model.calibration import Promises

LAG = "client_lag"
COALESCED = "client_coalesced"
BUFFERED = "buffered"
"""The flag of `reconcile`: something between engine and client held the stream back."""
GAP_SHARE = 0.5

_NS_PER_MS = 1_000_000


def lateness_flags(timing: Timing, promises: Promises) -> tuple[str, ...]:
    """Flags of a call in which the event loop was later, or more deltas shared a read, than promised."""
    return (*_lag(timing, promises), *_coalesced(timing, promises))


def _lag(timing: Timing, promises: Promises) -> Iterator[str]:
    """A late loop stamps late, unless the kernel stamped and nothing shares a stamp: only the last of what is read
    together has its own. The start is not late either way: t0 is taken just before the send.
    """
    if timing.stamp_point == "kernel" and not timing.coalesced_deltas:
        return
    if timing.client_lag_ns > promises.lag_ns:
        yield f"{LAG}: {_ms(timing.client_lag_ns)}, {promises.source} {_ms(promises.lag_ns)}"


def _coalesced(timing: Timing, promises: Promises) -> Iterator[str]:
    """Deltas also share a read when an engine or a proxy wrote them together, which is not the client's doing.

    A client joins them only by being late, and is then late for most of the gap before that read. So it is blamed
    when its loop was seen late for half of the longest gap, and never for a stream with a proxy's pattern, for so
    few deltas that they show no pattern, or for a single pair.
    """
    if timing.delta_count < BUFFERED_MIN_DELTAS or any(flag.startswith(f"{BUFFERED}:") for flag in timing.call_flags):
        return
    share = timing.coalesced_deltas / (timing.delta_count - 1)
    explained = timing.client_lag_ns >= GAP_SHARE * (timing.gap_max_ns or 0)
    if explained and timing.coalesced_deltas > 1 and share > promises.coalesced_share:
        yield f"{COALESCED}: {share:.1%} of the deltas shared a read, {promises.source} {promises.coalesced_share:.1%}"


def _ms(ns: int) -> str:
    return f"{ns / _NS_PER_MS:.1f} ms"
