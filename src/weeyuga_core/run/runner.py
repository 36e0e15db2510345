"""Executes the steps of a plan, one durable record per call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import attrs
from attrs import frozen

from weeyuga_core.analysis.blocks import blocks, measured, skipped
from weeyuga_core.analysis.verdict import judge
from weeyuga_core.errors import ExitCode, LaunchError
from weeyuga_core.interfaces import Health, Line
from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.measure import quiet
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.clock import together, utc_now
from weeyuga_core.model.calibration import UNCALIBRATED, Promises
from weeyuga_core.model.plan import RunPlan, Step
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, Record, ResumeRecord, Verdict
from weeyuga_core.provenance.clockcheck import ClockCheck
from weeyuga_core.provenance.host import load_avg
from weeyuga_core.run import schedule
from weeyuga_core.run.calls import CallTools, CellCaller, Observe, failed_call, skipped_cell, told, unobserved
from weeyuga_core.run.eta import Estimator
from weeyuga_core.run.progress import (
    CallDone,
    CallStarting,
    CellReady,
    CellSkipped,
    CellStarting,
    Notice,
    Progress,
)
from weeyuga_core.run.resume import Past, what_differs
from weeyuga_core.run.session import CellSession
from weeyuga_core.sinks.delivery import Delivery

LAUNCH_TRIES = 2
"""A launched cell is given up after this many starts in a row have failed: each may take `ready_s`."""


@frozen(kw_only=True)
class Outcome:
    """What came of a run."""

    run_id: str
    ledger_path: Path
    verdict: Verdict
    reasons: tuple[str, ...]
    calls: int
    errors: int
    skipped: int
    disabled: int
    interrupted: bool
    sink_problems: tuple[str, ...]
    resumed: bool = False
    errors_aside: int = 0
    """Those of the errors that were made in attempts which a resumed run repeated."""

    @property
    def exit_code(self) -> ExitCode:
        """0, 3 where something was skipped or failed, 130 where the run was interrupted."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        failed = self.errors > self.errors_aside
        return ExitCode.INCOMPLETE if failed or self.skipped > self.disabled or not self.calls else ExitCode.OK


class Runner:
    """One run: owns the ledger from the meta record, or the resume record, to the end record."""

    def __init__(
        self,
        plan: RunPlan,
        *,
        run_id: str,
        writer: LedgerWriter,
        delivery: Delivery,
        sessions: dict[str, CellSession],
        probes: dict[str, Health],
        progress: Progress,
        estimator: Estimator,
        client: MeasuringClient,
        observe: Observe = unobserved,
        promises: Promises = UNCALIBRATED,
        past: Past | None = None,
    ) -> None:
        """`plan` holds the steps to be made; of a run that is taken up again, with its `past`, those that are left."""
        self._plan = plan
        self._past = past
        self._writer = writer
        self._delivery = delivery
        self._sessions = sessions
        self._probes = probes
        self._progress = progress
        self._estimator = estimator
        self._call_tools = CallTools(
            client=client,
            prompts={prompt.id: prompt for prompt in plan.prompts},
            run_id=run_id,
            pace_s=plan.pace_s,
            notice=lambda text: progress(Notice(text=text)),
            observe=observe,
            promises=promises,
        )
        self._clock = ClockCheck.start(together)
        self._cells: list[CellRecord] = [*past.ledger.cells] if past else []
        self._calls: list[CallRecord] = [*past.ledger.calls] if past else []
        self._resumes: list[ResumeRecord] = [*past.ledger.resumes] if past else []
        self._earlier_ends = past.ledger.ends if past else ()
        self._callers: dict[str, CellCaller] = {}
        self._gone: set[str] = set()
        self._pairs = schedule.pairs_of(plan.steps)
        self._failed_starts: dict[str, int] = {}
        self._number = 0

    async def run(self, meta: MetaRecord, *, resume: ResumeRecord | None = None) -> Outcome:
        """Write meta, execute every step, write end. Raises LedgerError; everything else becomes a record.

        A run that is taken up again has its meta record already, and is given the resume record to write. A
        cancellation (Ctrl-C) ends the run early, with an end record that says so.
        """
        end: EndRecord | None = None
        try:
            interrupted = not await self._measure_all(meta, resume)
            end = self._end(meta, interrupted=interrupted)
            await self._delivery.deliver([self._writer.finish(end)])
        finally:
            await self._delivery.close(end)
        return self._outcome(meta, end)

    async def _measure_all(self, meta: MetaRecord, resume: ResumeRecord | None) -> bool:
        """Everything between the meta and the end record; False where somebody interrupted it."""
        try:
            await self._delivery.begin(meta, self._first_lines(meta, resume))
            await self._all_steps()
        except asyncio.CancelledError:
            return False
        finally:
            await self._stop_all()
        return True

    def _first_lines(self, meta: MetaRecord, resume: ResumeRecord | None) -> Iterable[Line]:
        """Write the first record; every line of the ledger, itself among them."""
        line = self._writer.append(resume or meta)
        if resume is None:
            return [line]
        self._resumes.append(attrs.evolve(resume, seq=line.seq))
        return iter_lines(self._writer.path)

    # --- cells and steps ------------------------------------------------------------------------------------------

    async def _all_steps(self) -> None:
        """Execute the tuple in its own order; a cell starts with its first step and stops with its last."""
        await self._skip_unavailable()
        last = {step.cell_id: number for number, step in enumerate(self._plan.steps)}
        block: tuple[str, str] | None = None
        position = 0
        for turn in schedule.turns(self._plan):
            step, position = turn[0], position + len(turn)
            if not self._is_left_out(step):
                if block != (block := (step.cell_id, step.prompt_id)):
                    quiet.settle()
                try:
                    await self._one_turn(turn)
                except LaunchError as error:
                    await self._give_up(step, error)
            self._number = position
            if position > last[step.cell_id]:
                await self._sessions[step.cell_id].stop()
                if step.cell_id not in self._callers and step.cell_id not in self._gone:
                    await self._skip(step.cell_id, "skipped", "the other cell of its pairs is not measured")

    def _is_left_out(self, step: Step) -> bool:
        """Whether its cell is given up, or the other cell of its pair: half a pair is worth no call."""
        return not self._gone.isdisjoint(self._pairs.get(step.pair_id, {step.cell_id}))

    async def _skip_unavailable(self) -> None:
        planned = {step.cell_id for step in self._plan.steps}
        told = {call.cell_id for call in self._calls if call.phase == "skipped"}
        for cell in self._plan.cells:
            if not cell.enabled and cell.id not in told:
                await self._skip(cell.id, "disabled", cell.reason or "enabled: false")
            elif cell.id in planned and self._probes[cell.id].state == "down":
                await self._skip(cell.id, "skipped", f"down: {self._probes[cell.id].detail}")

    async def _one_turn(self, turn: tuple[Step, ...]) -> None:
        caller = self._callers.get(turn[0].cell_id) or await self._open(turn[0].cell_id)
        while turn:
            self._progress(CallStarting(step=turn[0], number=self._number + 1, of=len(self._plan.steps)))
            records = await self._try(caller, turn)
            await self._made(records)
            turn = turn[len(records) :]

    async def _try(self, caller: CellCaller, turn: tuple[Step, ...]) -> list[CallRecord]:
        """The records of the turn's first calls. Raises LaunchError when the server has failed to start too often."""
        step, seq = turn[0], self._writer.record_count
        try:
            if len(turn) == 1:
                records = [await caller.call(step, seq=seq)]
            else:
                records = await caller.calls(turn, seq=seq, streams=self._plan.concurrency)
        except LaunchError as error:
            self._failed_starts[step.cell_id] += 1
            if self._failed_starts[step.cell_id] == LAUNCH_TRIES:
                raise
            return [failed_call(step, kind="launch", message=told(error))]
        self._failed_starts[step.cell_id] = 0
        return records

    async def _open(self, cell_id: str) -> CellCaller:
        """Make the cell ready and write its record. Raises LaunchError."""
        session = self._sessions[cell_id]

        def tell(health: Health) -> None:
            self._progress(CellStarting(cell_id=cell_id, health=health))

        tell(self._probes[cell_id])
        await session.start(tell)
        record = await session.describe()
        self._check_same_engine(record)
        line = await self._write(record)
        self._cells.append(attrs.evolve(record, seq=line.seq))
        self._progress(CellReady(record=record))
        self._failed_starts[cell_id] = 0
        return self._callers.setdefault(cell_id, CellCaller(session, self._call_tools))

    def _check_same_engine(self, record: CellRecord) -> None:
        """Raise LaunchError where calls are kept that something else answered: two engines make no baseline."""
        then = self._past.answered.get(record.cell_id) if self._past else None
        differs = what_differs(then, record) if then else None
        if differs:
            raise LaunchError(f"not what answered the calls that are kept: {differs}; measure it in a run of its own")

    async def _give_up(self, step: Step, error: LaunchError) -> None:
        """Skip a cell that could not be made ready, or what is left of one whose server will not start again."""
        await self._sessions[step.cell_id].stop()
        left = sum(other.cell_id == step.cell_id for other in self._plan.steps[self._number :])
        begun = step.cell_id in self._callers
        await self._skip(
            step.cell_id, "skipped", f"{f'given up with {left} calls left: ' if begun else ''}{told(error)}"
        )

    async def _skip(self, cell_id: str, kind: Literal["skipped", "disabled"], reason: str) -> None:
        self._gone.add(cell_id)
        record = skipped_cell(cell_id, kind=kind, reason=reason)
        line = await self._write(record)
        self._calls.append(attrs.evolve(record, seq=line.seq))
        self._progress(CellSkipped(record=record))

    async def _stop_all(self) -> None:
        for session in self._sessions.values():
            await session.stop()

    # --- records ------------------------------------------------------------------------------------------------

    async def _write(self, record: Record) -> Line:
        line = self._writer.append(record)
        await self._delivery.deliver([line])
        return line

    async def _made(self, records: Sequence[CallRecord]) -> None:
        """Calls have been made: their records become durable, then they are told."""
        lines = self._writer.append_many(records)
        self._calls.extend(attrs.evolve(record, seq=line.seq) for record, line in zip(records, lines, strict=True))
        await self._delivery.deliver(lines)
        self._estimator.learn(records)
        steps = self._plan.steps
        for record in records:
            self._number += 1
            eta_s = self._estimator.seconds([step for step in steps[self._number :] if step.cell_id not in self._gone])
            self._progress(CallDone(record=record, number=self._number, of=len(steps), eta_s=eta_s))

    def _end(self, meta: MetaRecord, *, interrupted: bool) -> EndRecord:
        made = measured(self._calls)
        drift = self._clock.drift()
        end = EndRecord(
            benchmark_run_id=meta.benchmark_run_id,
            finished_at_utc=utc_now(),
            load_avg_end=load_avg(),
            verdict="valid",
            reasons=(),
            calls=len(made),
            errors=_errors(made),
            skipped=len(skipped(self._cells, self._calls, self._resumes)),
            steps_planned=meta.steps_planned,
            interrupted=interrupted,
            clock_drift=drift,
        )
        judgement = judge(meta, self._cells, self._calls, end, resumes=self._resumes, earlier_ends=self._earlier_ends)
        return attrs.evolve(end, verdict=judgement.verdict, reasons=judgement.reasons)

    def _outcome(self, meta: MetaRecord, end: EndRecord) -> Outcome:
        return Outcome(
            run_id=meta.benchmark_run_id,
            ledger_path=self._writer.path,
            verdict=end.verdict,
            reasons=end.reasons,
            calls=end.calls,
            errors=end.errors,
            skipped=end.skipped,
            disabled=sum(not cell.enabled for cell in self._plan.cells),
            interrupted=end.interrupted,
            sink_problems=self._delivery.problems(),
            resumed=self._past is not None,
            errors_aside=end.errors - sum(_errors(block.calls) for block in blocks(meta, self._cells, self._calls)),
        )


def _errors(calls: Iterable[CallRecord]) -> int:
    return sum(call.error is not None for call in calls)
