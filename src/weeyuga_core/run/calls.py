"""Steps in, call records out: one at a time with the pace and warmth of a cell kept, or many streams at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
import httpx
from attrs import define, field, frozen

from weeyuga_core.errors import CallError, LaunchError
from weeyuga_core.interfaces import Call, ColdClaim, ColdProof, EngineAdapter, StreamError, StreamEvent
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.lateness import lateness_flags
from weeyuga_core.measure.reconcile import checked, reloaded
from weeyuga_core.measure.timing import time_call
from weeyuga_core.model.calibration import UNCALIBRATED, Promises
from weeyuga_core.model.plan import WARM_GAP_S, Cell, Prompt, Step
from weeyuga_core.model.records import CallRecord, ms
from weeyuga_core.provenance.scrub import scrub
from weeyuga_core.run.session import CellSession

BATCH_BYTES = 64 * 1024 * 1024
"""Body bytes that concurrent calls may hold in memory before they are parsed and written."""

BATCH_CALLS = 2_048
"""Requests that are built ahead: some 10 MB of them."""

HINT_CHARS = 300
"""How much of a hint stands behind the error of a record."""

Observe: TypeAlias = Callable[[Step, Exchange, Sequence[StreamEvent]], None]


def unobserved(step: Step, exchange: Exchange, events: Sequence[StreamEvent]) -> None:
    """Nobody looks."""


@define
class Engine:
    """What the direct cell and routed ones have in common: the engine's rest between calls, and its warmth."""

    last_start: float | None = None
    last_end: float | None = None


@frozen(kw_only=True)
class CallTools:
    """What the callers of a run share."""

    client: MeasuringClient
    prompts: Mapping[str, Prompt]
    run_id: str
    pace_s: float
    notice: Callable[[str], None]
    observe: Observe = unobserved
    """Sees every measured call before its record is made; calibration compares it with the truth."""
    promises: Promises = UNCALIBRATED
    """How late this process may be before a call is flagged."""
    engines: dict[str, Engine] = field(factory=dict)
    """By the id of the direct cell."""

    def engine(self, cell: Cell) -> Engine:
        """The engine of that cell: a routed one has that of the cell it routes to."""
        return self.engines.setdefault(cell.routes or cell.id, Engine())


class CellCaller:
    """Makes the calls of one cell."""

    def __init__(self, session: CellSession, tools: CallTools) -> None:
        self._session = session
        self._tools = tools
        self._engine = tools.engine(session.cell)
        self._last_end: float | None = None
        self._last_prompt: str | None = None
        self._last_failed = self._last_broken = False

    async def call(self, step: Step, *, seq: int) -> CallRecord:
        """Make the step's call, after whatever makes it cold or warm. Raises LaunchError."""
        if step.phase == "warm":
            primed = await self._warm_up(step, seq)
            return attrs.evolve(await self._measured(step, seq, None), primed=primed)
        claim, ready_ns = await self._session.make_cold()
        record = await self._measured(step, seq, claim)
        return attrs.evolve(record, engine_ready_ns=ready_ns, engine_ready_ms=ms(ready_ns))

    async def calls(self, steps: Sequence[Step], *, seq: int, streams: int) -> list[CallRecord]:
        """Make warm calls in a closed loop of `streams` at once; the records stand in the order of the steps.

        Ends early, with the records of the first steps only, after BATCH_CALLS or when the answers held in memory
        reach BATCH_BYTES: the caller writes them and comes again with the rest. Raises LaunchError.
        """
        primed = await self._warm_up(steps[0], seq)
        # Built before any stream is open: a request costs as much as five reads, which would wait behind it.
        waiting = deque((index, self._built(step, seq + index)) for index, step in enumerate(steps[:BATCH_CALLS]))
        done: dict[int, Exchange | CallError] = {}
        held = 0

        async def stream() -> None:
            nonlocal held
            while waiting and held < BATCH_BYTES:
                index, request = waiting.popleft()
                if isinstance(request, CallError):
                    done[index] = request
                    continue
                try:
                    done[index] = exchange = await self._tools.client.exchange(request, self._session.cell.timeouts)
                    held += sum(len(read.data) for read in exchange.reply.reads)
                except CallError as error:
                    done[index] = error

        async with asyncio.TaskGroup() as group:
            for _ in range(min(streams, len(steps))):
                group.create_task(stream())
        self._ended(steps[-1])
        records = [self._record(steps[index], done[index], None) for index in sorted(done)]
        return [attrs.evolve(records[0], primed=primed), *records[1:]]

    async def _warm_up(self, step: Step, seq: int) -> str | None:
        """Make one unrecorded call where the coming one would not be warm, and return the reason."""
        why = await self._session.revive(broken=self._last_broken) or self._why_not_warm(step)
        if why is not None:
            self._tools.notice(f"{step.cell_id}: a priming call, since {why}")
            await self._exchange(step, seq)
        return why

    def _why_not_warm(self, step: Step) -> str | None:
        if self._last_end is None or self._engine.last_end is None:
            return "no call came before"
        if self._last_failed:
            return "the call before had failed"
        if self._last_prompt != step.prompt_id:
            return f"the call before had the prompt {self._last_prompt}"
        gap_s = time.monotonic() - self._engine.last_end
        return f"the call before had ended {gap_s:.0f} s ago" if gap_s > WARM_GAP_S else None

    async def _measured(self, step: Step, seq: int, claim: ColdClaim | None) -> CallRecord:
        previous_end = self._last_end
        exchange = await self._exchange(step, seq)
        record = self._record(step, exchange, claim)
        if previous_end is None or self._engine.last_start is None:
            return record
        return attrs.evolve(record, gap_before_s=round(self._engine.last_start - previous_end, 3))

    async def _exchange(self, step: Step, seq: int) -> Exchange | CallError:
        engine = self._engine
        if engine.last_start is not None:
            await asyncio.sleep(max(0.0, engine.last_start + self._tools.pace_s - time.monotonic()))
        engine.last_start = time.monotonic()
        try:
            request = self._session.adapter.build(self._call(step, seq))
            return await self._tools.client.exchange(request, self._session.cell.timeouts)
        except CallError as error:
            return error
        finally:
            self._ended(step)

    def _ended(self, step: Step) -> None:
        self._last_end = self._engine.last_end = time.monotonic()
        self._last_prompt = step.prompt_id

    def _built(self, step: Step, seq: int) -> httpx.Request | CallError:
        try:
            return self._session.adapter.build(self._call(step, seq))
        except CallError as error:
            return error

    def _call(self, step: Step, seq: int) -> Call:
        return Call(
            run_id=self._tools.run_id,
            seq=seq,
            cell_id=step.cell_id,
            prompt=self._tools.prompts[step.prompt_id],
            phase=step.phase,
            run_idx=step.run_idx,
            attempt=step.attempt,
        )

    def _record(self, step: Step, made: Exchange | CallError, claim: ColdClaim | None) -> CallRecord:
        if isinstance(made, CallError):
            record = failed_call(step, kind=made.kind, message=made.message)
        else:
            events = _events(self._session.adapter, step, made)
            self._tools.observe(step, made, events)
            record = _record_of(self._session, step, made, events, claim, self._tools.promises)
        self._last_failed = record.error is not None
        self._last_broken = record.error_kind in ("connect", "reset")
        return record


def _events(adapter: EngineAdapter, step: Step, exchange: Exchange) -> tuple[StreamEvent, ...]:
    try:
        return tuple(adapter.events(exchange.reply))
    except Exception as error:  # a plugin's defect costs its own record, not the matrix
        message = f"the engine plugin raised {type(error).__name__} while reading the answer: {error}"
        return (StreamError(exchange.end_ns, "adapter_error", message),)


def _record_of(
    session: CellSession,
    step: Step,
    exchange: Exchange,
    events: Sequence[StreamEvent],
    claim: ColdClaim | None,
    promises: Promises,
) -> CallRecord:
    timing = checked(time_call(exchange, events), events)
    proof = session.adapter.prove_cold(claim, events) if claim else None
    fields = timing.record_fields()
    ours = {
        "cell_id": step.cell_id,
        "prompt_id": step.prompt_id,
        "phase": step.phase,
        "run_idx": step.run_idx,
        "attempt": step.attempt,
        "pair_id": step.pair_id,
        "backend": timing.backend or session.cell.engine,
        "error": None if timing.error is None else scrub(timing.error),
        "cold_kind": claim.kind if claim else None,
        "cold_proven": proof.proven if proof else None,
        "cold_proof": _cold_words(claim, proof) if claim and proof else None,
        "call_flags": (
            *timing.call_flags,
            *(reloaded(events) if step.phase == "warm" else ()),
            *lateness_flags(timing, promises),
            *_sanity(session.cell, step, timing.total_duration_ns),
        ),
    }
    return CallRecord(**(fields | ours))


def _cold_words(claim: ColdClaim, proof: ColdProof) -> str | None:
    """What the answer proves and what was done before it; a plugin's proof may have told the latter already."""
    done = () if claim.detail in proof.detail else (claim.detail,)
    return scrub("; ".join(filter(None, (proof.detail, *done)))) or None


def _sanity(cell: Cell, step: Step, total_ns: int | None) -> tuple[str, ...]:
    reference = cell.sanity.get(step.prompt_id)
    if reference is None or total_ns is None:
        return ()
    total_s = total_ns / 1e9
    if abs(total_s - reference.total_s) <= reference.within * reference.total_s:
        return ()
    return (f"sanity: total {total_s:.1f} s, the reference is {reference.total_s:g} s within {reference.within:.0%}",)


def told(error: LaunchError) -> str:
    """The error's message and hint, as the command line shows them."""
    return str(error)[: len(error.message) + HINT_CHARS]


def failed_call(step: Step, *, kind: str, message: str) -> CallRecord:
    """The record of a planned call that could not even be sent."""
    record = _unmeasured(step.cell_id, kind, message, prompt_id=step.prompt_id, phase=step.phase, run_idx=step.run_idx)
    return attrs.evolve(record, attempt=step.attempt, pair_id=step.pair_id)


def skipped_cell(cell_id: str, *, kind: str, reason: str) -> CallRecord:
    """The one line of a cell, or of the rest of a cell, that is not measured."""
    return _unmeasured(cell_id, kind, reason)


def _unmeasured(
    cell_id: str, kind: str, message: str, *, prompt_id: str | None = None, phase: str = "skipped", run_idx: int = 0
) -> CallRecord:
    return CallRecord(
        cell_id=cell_id,
        prompt_id=prompt_id,
        phase=phase,
        run_idx=run_idx,
        first_delta_ms=None,
        total_duration_ms=None,
        prompt_tokens=None,
        completion_tokens=None,
        tokens_per_sec=None,
        finish_reason="error" if prompt_id is not None else None,
        backend=None,
        error=scrub(message),
        error_kind=kind,
    )
