"""Calibrate this host: the real runner against a golden server, at some numbers of streams and up a ladder of rates."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from weeyuga_core.discovery import core_version
from weeyuga_core.errors import GateRefused
from weeyuga_core.measure.clock import utc_now
from weeyuga_core.model.calibration import (
    UNCALIBRATED,
    Calibration,
    Ceiling,
    Errors,
    Level,
    Limit,
    Promises,
    Rung,
    StampPoint,
)
from weeyuga_core.model.records import HARNESS_VERSION
from weeyuga_core.provenance.host import host_facts
from weeyuga_core.run.trial import Load, Trial, run_load
from weeyuga_core.run.truth import Deviations, at, deviations, errors_of
from weeyuga_core.testing.golden_process import GoldenServer
from weeyuga_core.testing.golden_script import GoldenScript

INTERVAL_US = 10_000
"""100 chunks/s in each stream, about as fast as engines of this kind stream to one client."""
CHUNKS = 25
FIRST_DELAY_US = 50_000

LADDER_STREAMS = 64
FOLLOWING_NS = 1_000_000
"""A client whose per-chunk error has a p99 above 1 ms no longer follows; a server whose median is so late has missed
its schedule."""
RUNG_TRIES = 2

LAG_MARGIN = 4
"""A run is hundreds of times longer than a calibration, so its worst moment is worse."""
LEAST_LAG_NS = 2_000_000
"""Nothing under twice the grain of the loop's own timer is promised."""
LEAST_SHARE = 0.01

_NS_PER_MS = 1_000_000

Tell = Callable[[str], None]


@frozen(kw_only=True)
class Programme:
    """What to measure: (streams, calls per stream) for each level, chunks/s for each rung, and for how long at most."""

    levels: tuple[tuple[int, int], ...]
    rungs: tuple[int, ...]
    rung_s: float
    ladder_until_s: float
    """No rung is begun later than this after the start."""
    limit_s: float


FULL = Programme(
    levels=((1, 40), (8, 20), (64, 10)),
    rungs=(10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000),
    rung_s=1.0,
    ladder_until_s=45,
    limit_s=57,
)
QUICK = Programme(
    levels=((1, 8), (8, 5), (64, 3)),
    rungs=(10_000, 20_000, 40_000),
    rung_s=0.4,
    ladder_until_s=9,
    limit_s=14,
)


async def calibrate(programme: Programme, tell: Tell, *, kernel_stamps: bool = False) -> Calibration:
    """Measure this host, with the kernel's receive stamps or this process's own.

    Raises LaunchError when the golden server fails or the kernel gives no stamps, GateRefused when the host is too
    busy.
    """
    started = time.monotonic()
    with (
        placed() as server_cpu,
        GoldenServer(cpu=server_cpu) as server,
        tempfile.TemporaryDirectory(prefix="weeyuga-calibrate-") as folder,
    ):
        try:
            async with asyncio.timeout(programme.limit_s):
                bench = _Bench(server, Path(folder), tell, kernel_stamps)
                levels = [level async for level in bench.levels(programme)]
                ceiling = await bench.ladder(programme, until=started + programme.ladder_until_s)
        except TimeoutError:
            raise GateRefused(
                f"not calibrated within {programme.limit_s:g} s: this host is too busy", hint="try again when it is not"
            ) from None
    facts, at_utc, point = host_facts(), utc_now(), stamp_point(kernel_stamps)
    return Calibration(
        at_utc=at_utc,
        host=facts.host,
        python=facts.python,
        harness_version=HARNESS_VERSION,
        package_version=core_version(),
        own_core=server_cpu is not None,
        quick=programme is QUICK,
        levels=tuple(levels),
        ceiling=ceiling,
        promises=promises_of(levels),
        summary=summary_of(levels, at_utc, point),
        stamp_point=point,
    )


def stamp_point(kernel_stamps: bool) -> StampPoint:
    """The ledger's word for whose stamps they are."""
    return "kernel" if kernel_stamps else "socket"


@contextmanager
def placed() -> Iterator[int | None]:
    """A core for the server alone while the context is open, or None where the system cannot give one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        yield None
        return
    os.sched_setaffinity(0, cores[:-1])
    try:
        yield cores[-1]
    finally:
        os.sched_setaffinity(0, cores)


@frozen
class _Bench:
    """What the loads of one calibration have in common."""

    server: GoldenServer
    folder: Path
    tell: Tell
    kernel_stamps: bool

    async def levels(self, programme: Programme) -> AsyncIterator[Level]:
        """Each number of streams in turn."""
        script = GoldenScript(chunks=CHUNKS, interval_us=INTERVAL_US, first_delay_us=FIRST_DELAY_US)
        for streams, calls in programme.levels:
            self.tell(f"{streams} {'stream' if streams == 1 else 'streams'}, {calls} calls each")
            yield level_of(*await self._tried(Load(streams=streams, calls=calls, script=script)))

    async def ladder(self, programme: Programme, *, until: float) -> Ceiling:
        """Up the rates until somebody fails or the time is up."""
        rungs: list[Rung] = []
        limit: Limit = "ladder"
        for asked in programme.rungs:
            if time.monotonic() > until:
                limit = "time"
                break
            self.tell(f"{LADDER_STREAMS} streams at {asked:,} chunks/s")
            rungs.append(await self._rung(asked, programme))
            if (fault := fault_of(rungs[-1])) is not None:
                limit = fault
                break
        return ceiling_of(rungs, limit)

    async def _rung(self, asked: int, programme: Programme) -> Rung:
        """The rung, tried once more where somebody failed: one moment of other work on this host is enough for that."""
        for _ in range(RUNG_TRIES):
            rung = rung_of(asked, *await self._tried(rung_load(asked, programme.rung_s)))
            if fault_of(rung) is None:
                break
        return rung

    async def _tried(self, load: Load) -> tuple[Trial, Deviations]:
        trial = await run_load(self.server.url, load, self.folder, kernel_stamps=self.kernel_stamps)

        def joined() -> Deviations:
            return deviations(((call, self.server.log(call.ident)) for call in trial.calls), load.script)

        return trial, await asyncio.to_thread(joined)


def level_of(trial: Trial, found: Deviations) -> Level:
    """The figures of one number of streams."""
    lags = [call.lag_ns for call in trial.calls]
    return Level(
        streams=trial.load.streams,
        chunks_per_sec=trial.load.chunks_per_sec,
        calls=len(trial.calls),
        chunks=len(found.per_chunk),
        first_delta=errors_of(found.first_delta),
        per_chunk=errors_of(found.per_chunk),
        total=errors_of(found.total),
        cpu_ms_per_1000=round(trial.cpu_ms_per_1000, 1),
        lag_p99_ns=at(lags, 99),
        lag_max_ns=max(lags),
        coalesced_share=round(sum(call.coalesced for call in trial.calls) / len(found.per_chunk), 5),
        server_late_p99_ns=at(found.server_late, 99),
    )


# --- the ladder ----------------------------------------------------------------------------------------------------


def rung_load(asked: int, rung_s: float) -> Load:
    """One call per stream that streams for `rung_s`, all streams together at that rate."""
    interval_us = round(LADDER_STREAMS * 1e6 / asked)
    # The first delta waits until every stream is there, so that all of them stream together.
    script = GoldenScript(chunks=round(rung_s * 1e6 / interval_us), interval_us=interval_us, first_delay_us=150_000)
    return Load(streams=LADDER_STREAMS, calls=1, script=script)


def rung_of(asked: int, trial: Trial, found: Deviations) -> Rung:
    """What one rate brought."""
    return Rung(
        asked_chunks_per_sec=asked,
        chunks_per_sec=round(streamed_per_sec(call.deltas for call in trial.calls)),
        per_chunk=errors_of(found.per_chunk),
        server_late=errors_of(found.server_late),
        cpu_ms_per_1000=round(trial.cpu_ms_per_1000, 1),
    )


def streamed_per_sec(calls: Iterable[Sequence[int]]) -> float:
    """The rate of all streams together while they stream, from the stamps of each one's deltas in ns."""
    return sum((len(deltas) - 1) / (deltas[-1] - deltas[0]) * 1e9 for deltas in calls if deltas[-1] > deltas[0])


def fault_of(rung: Rung) -> Limit | None:
    """Who failed at this rate; the server where both did, since a late client may only have been sent bursts.

    A server fails when half of its writes are late: one that stumbled and caught up is no reason to stop, since the
    client's errors count from the real writes.
    """
    if rung.server_late.p50_ns > FOLLOWING_NS:
        return "server"
    return "client" if rung.per_chunk.p99_ns > FOLLOWING_NS else None


def ceiling_of(rungs: list[Rung], limit: Limit) -> Ceiling:
    """The highest rung on which nobody failed."""
    held = [rung for rung in rungs if fault_of(rung) is None]
    return Ceiling(
        streams=LADDER_STREAMS,
        chunks_per_sec=held[-1].chunks_per_sec if held else None,
        limit=limit,
        bound_ns=FOLLOWING_NS,
        rungs=tuple(rungs),
    )


# --- what follows from the levels --------------------------------------------------------------------------------


def promises_of(levels: list[Level]) -> Promises:
    """What a run may be held to: the worst that was seen with a margin, never more than an uncalibrated host."""
    lag_ns = LAG_MARGIN * max(level.lag_max_ns for level in levels)
    share = LAG_MARGIN * max(level.coalesced_share for level in levels)
    return Promises(
        lag_ns=min(max(lag_ns, LEAST_LAG_NS), UNCALIBRATED.lag_ns),
        coalesced_share=min(max(share, LEAST_SHARE), UNCALIBRATED.coalesced_share),
    )


def was_busy(calibration: Calibration) -> bool:
    """Whether the host disturbed its own calibration: no run could be held to what was seen."""
    return max(level.lag_max_ns for level in calibration.levels) > UNCALIBRATED.lag_ns


def summary_of(levels: list[Level], at_utc: str, point: StampPoint = "socket") -> str:
    """One sentence for a baseline: the error of the first delta at the fewest streams and at the most."""
    few, many = levels[0], levels[-1]
    with_whose = " with kernel stamps" if point == "kernel" else ""
    return (
        f"TTFT error p50 {_ms(few.first_delta.p50_ns)} ms, p99 {_ms(few.first_delta.p99_ns)} ms at {_streams(few)} "
        f"({_pair(many.first_delta)} ms at {many.streams}), calibrated {at_utc[:10]}{with_whose}"
    )


def _streams(level: Level) -> str:
    return f"{level.streams} stream{'s' if level.streams > 1 else ''}"


def _pair(errors: Errors) -> str:
    return f"{_ms(errors.p50_ns)} / {_ms(errors.p99_ns)}"


def _ms(ns: int) -> str:
    return f"{ns / _NS_PER_MS:.2f}"
