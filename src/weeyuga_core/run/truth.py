"""What the client said of a call, held against the log of the server that wrote it. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from weeyuga_core.analysis.stats import percentile
from weeyuga_core.errors import LaunchError
from weeyuga_core.model.calibration import Errors
from weeyuga_core.model.records import CallRecord
from weeyuga_core.testing.golden_process import GoldenLog
from weeyuga_core.testing.golden_script import GoldenScript

_NS_PER_US = 1_000


@frozen(kw_only=True)
class SeenCall:
    """One answer as the client saw it. Stamps are readings of the monotonic clock, in ns."""

    ident: str
    """The server's name for its log."""
    start_ns: int
    """The client's t0."""
    deltas: Sequence[int]
    end_ns: int
    """The stream's last event."""
    lag_ns: int = 0
    coalesced: int = 0


@frozen(kw_only=True)
class Deviations:
    """Errors in ns, from many calls: how much later the client's stamp is than the server's write of those bytes."""

    first_delta: list[int] = field(factory=list)
    per_chunk: list[int] = field(factory=list)
    total: list[int] = field(factory=list)
    from_start: list[int] = field(factory=list)
    """First delta, both counted from their own start: the client's t0, and the request's arrival at the server."""
    server_late: list[int] = field(factory=list)
    """How much later than scheduled the server wrote."""


def seen(start_ns: int, stamps: Sequence[int], record: CallRecord) -> SeenCall:
    """The call that this record is about; `stamps` are those of its deltas, counted from `start_ns`.

    Raises LaunchError for an answer that is not a whole stream, or a record that does not fit its stamps.
    """
    if record.error is not None or record.response_id is None or record.total_duration_ns is None:
        raise LaunchError(f"the golden server's answer went wrong: {record.error or 'it names no log'}")
    if not stamps or record.first_delta_ns != stamps[0]:
        raise LaunchError(f"{record.response_id}: the record's first delta is not the first that was stamped")
    return SeenCall(
        ident=record.response_id,
        start_ns=start_ns,
        deltas=array("q", [start_ns + ns for ns in stamps]),
        end_ns=start_ns + record.total_duration_ns,
        lag_ns=record.client_lag_ns or 0,
        coalesced=record.coalesced_deltas or 0,
    )


def deviations(calls: Iterable[tuple[SeenCall, GoldenLog]], script: GoldenScript) -> Deviations:
    """Join calls with their logs. Raises LaunchError when a delta was written that the client never saw."""
    found = Deviations()
    for call, log in calls:
        written = log.delta_ns
        if len(written) != len(call.deltas):
            raise LaunchError(f"{call.ident}: {len(written)} deltas were written and {len(call.deltas)} were seen")
        found.first_delta.append(call.deltas[0] - written[0])
        found.per_chunk.extend(saw - wrote for saw, wrote in zip(call.deltas, written, strict=True))
        found.total.append(call.end_ns - log.stamps("done")[-1])
        found.from_start.append((call.deltas[0] - call.start_ns) - (written[0] - log.received_ns))
        found.server_late.extend(_late(log, script))
    return found


def _late(log: GoldenLog, script: GoldenScript) -> Iterable[int]:
    first_due = log.received_ns + script.first_delay_us * _NS_PER_US
    for number, wrote in enumerate(log.delta_ns):
        yield wrote - first_due - number * script.interval_us * _NS_PER_US


def errors_of(values: Sequence[int]) -> Errors:
    """The percentiles of one kind of error."""
    return Errors(p50_ns=at(values, 50), p95_ns=at(values, 95), p99_ns=at(values, 99))


def at(values: Sequence[int], p: int) -> int:
    """The p-th percentile, in whole ns. Raises LaunchError where nothing was measured."""
    found = percentile(values, p)
    if found is None:
        raise LaunchError("the golden server gave no answer that could be measured")
    return round(found)
