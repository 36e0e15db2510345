"""Whether the client itself was late in a call: flags that name what was seen and what was promised. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from weeyuga_core.measure.timing import Timing
from weeyuga_core.model.calibration import Promises

LAG = "client_lag"
COALESCED = "client_coalesced"
BUFFERED = "buffered"
"""Another room's flag: something between engine and client held the stream back."""

_NS_PER_MS = 1_000_000


def lateness_flags(timing: Timing, promises: Promises) -> tuple[str, ...]:
    """Flags of a call in which the event loop was later, or more deltas shared a read, than promised."""
    return (*_lag(timing, promises), *_coalesced(timing, promises))


def _lag(timing: Timing, promises: Promises) -> Iterator[str]:
    if timing.client_lag_ns > promises.lag_ns:
        yield f"{LAG}: {_ms(timing.client_lag_ns)}, {promises.source} {_ms(promises.lag_ns)}"


def _coalesced(timing: Timing, promises: Promises) -> Iterator[str]:
    """Deltas also share a read when an engine or a proxy wrote them together, which is not the client's doing.

    A client can only have joined two of them by being late for as long as they were apart. So it is blamed when its
    loop was seen to be that late, and never for a stream that shows a proxy's pattern.
    """
    if timing.delta_count < 2 or any(flag.startswith(f"{BUFFERED}:") for flag in timing.call_flags):
        return
    intervals = timing.delta_count - 1
    share = timing.coalesced_deltas / intervals
    apart_ns = ((timing.last_delta_ns or 0) - (timing.first_delta_ns or 0)) / intervals
    if share > promises.coalesced_share and timing.client_lag_ns >= apart_ns:
        yield f"{COALESCED}: {share:.1%} of the deltas shared a read, {promises.source} {promises.coalesced_share:.1%}"


def _ms(ns: int) -> str:
    return f"{ns / _NS_PER_MS:.1f} ms"
