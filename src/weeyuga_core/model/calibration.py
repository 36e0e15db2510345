"""How right the harness is on a host: what `calibrate` found, and what a run may be held to. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import asdict, frozen

StampPoint = Literal["socket", "kernel"]
Limit = Literal["client", "server", "ladder", "time"]
"""What ended a ladder of rates: the client fell behind, the server did, there was no higher rung, or time was up."""

_NS_PER_MS = 1_000_000


@frozen(kw_only=True)
class Errors:
    """Client's stamp minus the server's write of the same bytes, over many, in ns."""

    p50_ns: int
    p95_ns: int
    p99_ns: int


@frozen(kw_only=True)
class Level:
    """What was found at one number of streams. `chunks_per_sec` is that of each stream."""

    streams: int
    chunks_per_sec: float
    calls: int
    chunks: int
    first_delta: Errors
    per_chunk: Errors
    total: Errors
    cpu_ms_per_1000: float
    """CPU time of the whole harness process per 1,000 chunks, records written included."""
    lag_p99_ns: int
    lag_max_ns: int
    coalesced_share: float
    """Deltas that shared a read with an earlier one, though the server wrote each alone."""
    server_late_p99_ns: int
    """By how much the server missed its own schedule: not in the errors, which count from its real writes."""


@frozen(kw_only=True)
class Rung:
    """One rate of the ladder, all streams together."""

    asked_chunks_per_sec: float
    chunks_per_sec: float
    per_chunk: Errors
    server_late: Errors
    cpu_ms_per_1000: float


@frozen(kw_only=True)
class Ceiling:
    """The highest rate that the client followed, all streams together, and what ended the search."""

    streams: int
    chunks_per_sec: float | None
    """None where not even the lowest rung was followed."""
    limit: Limit
    bound_ns: int
    """Per-chunk p99 above this is not following."""
    rungs: tuple[Rung, ...]


@frozen(kw_only=True)
class Promises:
    """What a call may show before its figures are doubted."""

    lag_ns: int
    coalesced_share: float
    calibrated: bool = True

    @property
    def source(self) -> str:
        """Who promises, as a verb is to follow."""
        return "calibration promises" if self.calibrated else "an uncalibrated host is held to"


UNCALIBRATED = Promises(lag_ns=10 * _NS_PER_MS, coalesced_share=0.05, calibrated=False)
"""Bounds where nobody has calibrated, and the widest that a calibration may promise.

10 ms is a whole token at 100 tokens/s, as fast as most engines of this kind stream to one client: later than that and
two deltas share a stamp. One delta in twenty is what the 95th percentile of the gaps can bear.
"""


@frozen(kw_only=True)
class Calibration:
    """One calibration of one host. Times are ISO 8601 in UTC; nothing in it names a path."""

    at_utc: str
    host: str
    python: str
    harness_version: str
    package_version: str
    own_core: bool
    """The server had a core to itself."""
    quick: bool
    levels: tuple[Level, ...]
    ceiling: Ceiling
    promises: Promises
    summary: str
    """One sentence, quoted by every baseline."""
    stamp_point: StampPoint = "socket"
    """Whose stamps were held against the truth: this process's, or the kernel's."""

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, as the file and the meta record hold them."""
        return asdict(self)


def promised(quoted: Mapping[str, Any] | None) -> Promises:
    """What the calibration quoted in a meta record promises, or `UNCALIBRATED`."""
    if quoted is None:
        return UNCALIBRATED
    found = quoted["promises"]
    return Promises(lag_ns=found["lag_ns"], coalesced_share=found["coalesced_share"])
