"""The real runner on a golden server: what it saw, and what that cost.

Sessions, calls, records and ledger are those of any run; only the engine is one whose real write times are known.
"""

from __future__ import annotations

import time
import uuid
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from attrs import fields, frozen

from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import StreamEvent
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.clock import utc_now
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.timing import deltas_of
from weeyuga_core.model.plan import Cell, Prompt, RunPlan, Step, Timeouts
from weeyuga_core.model.records import HARNESS_VERSION, CallRecord, MetaRecord
from weeyuga_core.provenance.host import host_facts, load_avg
from weeyuga_core.run import schedule
from weeyuga_core.run.eta import Estimator
from weeyuga_core.run.progress import CallDone, CallStarting, ProgressEvent
from weeyuga_core.run.runner import Outcome, Runner
from weeyuga_core.run.session import CellSession, Tools
from weeyuga_core.run.truth import SeenCall, seen
from weeyuga_core.sinks.delivery import Delivery
from weeyuga_core.testing.golden_plugin import ENGINE, golden_plugins
from weeyuga_core.testing.golden_script import GoldenScript

PROMPT = Prompt(id="P-CALIBRATE", text="Count to a hundred.\n", max_tokens=1_000)
TIMEOUTS = Timeouts(connect_s=5, idle_s=10, total_s=30, ready_s=10)


@frozen(kw_only=True)
class Load:
    """What is asked for: so many streams at once, so many calls by each, every answer by that script."""

    streams: int
    calls: int
    script: GoldenScript

    @property
    def chunks_per_sec(self) -> float:
        """Of each stream while it streams."""
        return 1e6 / self.script.interval_us


@frozen(kw_only=True)
class Trial:
    """What one load brought: the warm calls, and the CPU time from the first one's start to the last one's record."""

    load: Load
    calls: tuple[SeenCall, ...]
    cpu_ns: int
    verdict: str

    @property
    def cpu_ms_per_1000(self) -> float:
        """CPU time per 1,000 chunks, in ms."""
        return self.cpu_ns / 1e6 / sum(len(call.deltas) for call in self.calls) * 1_000


class _Witness:
    """Sees the warm calls as they are recorded, and counts the CPU time that they cost."""

    def __init__(self) -> None:
        self._stamps: list[tuple[int, array[int]]] = []
        self._start_ns: int | None = None
        self.records: list[CallRecord] = []
        self.cpu_ns = 0

    def observe(self, step: Step, exchange: Exchange, events: Sequence[StreamEvent]) -> None:
        """Keep the stamps of a call's deltas until its record is there."""
        if step.phase == "warm":
            self._stamps.append((exchange.t0_clock_ns, array("q", [delta.ns for delta in deltas_of(events)])))

    def progress(self, event: ProgressEvent) -> None:
        """Take the record of each warm call; the clock runs from the first one's start to the last durable record."""
        if isinstance(event, CallStarting) and event.step.phase == "warm" and self._start_ns is None:
            self._start_ns = time.process_time_ns()
        elif isinstance(event, CallDone) and event.record.phase == "warm" and self._start_ns is not None:
            self.records.append(event.record)
            if event.number == event.of:
                self.cpu_ns = time.process_time_ns() - self._start_ns

    def calls(self) -> tuple[SeenCall, ...]:
        """What was seen, each record beside its stamps: both came in one order. Raises LaunchError."""
        if len(self._stamps) != len(self.records):
            raise LaunchError(f"{len(self._stamps)} of {len(self.records)} calls to the golden server were answered")
        return tuple(seen(*stamps, record) for stamps, record in zip(self._stamps, self.records, strict=True))


async def run_load(url: str, load: Load, folder: Path, *, kernel_stamps: bool = False) -> Trial:
    """Put a load on the golden server at `url`; the ledger is written in `folder`. Raises LaunchError.

    With `kernel_stamps` it is also raised where a call had none of them.
    """
    witness = _Witness()
    outcome = await _run(_plan(url, load), folder, witness, kernel_stamps=kernel_stamps)
    if kernel_stamps:
        _check_stamped(witness.records)
    calls = witness.calls()
    if len(calls) != load.streams * load.calls:
        raise LaunchError(f"{len(calls)} of {load.streams * load.calls} calls could be measured")
    return Trial(load=load, calls=calls, cpu_ns=witness.cpu_ns, verdict=outcome.verdict)


def _check_stamped(records: Sequence[CallRecord]) -> None:
    without = [record for record in records if record.error is None and record.receive_lag_max_ns is None]
    if without:
        raise LaunchError(
            f"{len(without)} of {len(records)} calls had no stamps of the kernel: {without[0].stamp_note}"
        )


def _plan(url: str, load: Load) -> RunPlan:
    cell = Cell(
        id=f"here:{ENGINE}:calibrate",
        node="here",
        engine=ENGINE,
        label="calibrate",
        endpoint=url,
        options=_options(load.script),
        parallel=True,
        warm_n=load.calls,
        timeouts=TIMEOUTS,
    )
    steps = schedule.blocks([cell], [PROMPT], streams=load.streams)
    return RunPlan(cells=(cell,), prompts=(PROMPT,), steps=steps, pace_s=0.0, concurrency=load.streams)


def _options(script: GoldenScript) -> Mapping[str, Any]:
    """The script's fields that are not at their defaults, for the cell's options."""
    default = GoldenScript()
    values = {field.name: getattr(script, field.name) for field in fields(GoldenScript)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


async def _run(plan: RunPlan, folder: Path, witness: _Witness, *, kernel_stamps: bool) -> Outcome:
    (cell,) = plan.cells
    run_id = str(uuid.uuid4())
    async with (
        httpx.AsyncClient(trust_env=False, timeout=10.0) as http,
        MeasuringClient(kernel_stamps=kernel_stamps) as client,
    ):
        session = CellSession(cell, Tools(plugins=golden_plugins(), http=http, log_dir=folder))
        probe = await session.probe()
        with LedgerWriter.create(folder / f"{run_id}.jsonl") as writer:
            runner = Runner(
                plan,
                run_id=run_id,
                writer=writer,
                delivery=Delivery({}, deadline_s=1.0),
                sessions={cell.id: session},
                probes={cell.id: probe},
                progress=witness.progress,
                estimator=Estimator(plan.pace_s),
                client=client,
                observe=witness.observe,
            )
            return await runner.run(_meta(plan, run_id))


def _meta(plan: RunPlan, run_id: str) -> MetaRecord:
    host = host_facts()
    return MetaRecord(
        benchmark_run_id=run_id,
        git_sha=None,
        git_dirty=None,
        harness_version=HARNESS_VERSION,
        started_at_utc=utc_now(),
        host=host.host,
        load_avg_start=load_avg(),
        env_route=None,
        env_llamacpp_url=None,
        cells_planned=tuple(cell.id for cell in plan.cells),
        prompts={prompt.id: prompt.sha256 for prompt in plan.prompts},
        steps_planned=len(plan.steps),
        warm_n={cell.id: cell.warm_n for cell in plan.cells},
        pace_s=plan.pace_s,
        python=host.python,
        concurrency=plan.concurrency,
    )
