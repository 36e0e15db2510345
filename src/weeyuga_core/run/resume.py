"""Go on with a run that died or was interrupted: what its ledger holds, and whether this is still the same run.

Nothing here writes. What refuses to go on says what was then and what is now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from weeyuga_core.errors import GateRefused, LedgerDamaged, NothingToDo, UsageError
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.model.plan import Cell, RunPlan, Step
from weeyuga_core.model.records import HARNESS_VERSION, CellRecord, MetaRecord
from weeyuga_core.run.left import kept, left

NONE = "none"


@frozen(kw_only=True)
class Past:
    """What the earlier parts of a run left in its ledger, and what is left of its plan."""

    ledger: Ledger
    steps: tuple[Step, ...]
    """The steps that are left, each with the attempt in which it is made."""
    answered: Mapping[str, CellRecord]
    """Cell -> what answered those of its calls that are kept; cells of which none are kept are not in it."""

    def of(self, plan: RunPlan) -> RunPlan:
        """The plan with the steps that are left."""
        return attrs.evolve(plan, steps=self.steps)


def look(path: Path) -> Ledger:
    """The ledger of a run that can be taken up again; the file is not changed.

    Raises NothingToDo for a run that is over, LedgerDamaged for a ledger that was changed, and what `reader.read`
    raises.
    """
    ledger = reader.read(path)
    if not ledger.resumable:
        raise NothingToDo(
            f"{path}: run {ledger.meta.benchmark_run_id} came to its end: there is nothing to resume",
            hint=f"weeyuga-bench report {path}",
        )
    if ledger.gaps or ledger.digest_ok is False:
        why = "; ".join(ledger.gaps or ("its digest is wrong",))
        raise LedgerDamaged(
            f"{path}: the ledger was changed after it was written: {why}",
            hint="whatever is measured behind these lines would be invalid with them; begin a new run",
        )
    return ledger


def past(path: Path, ledger: Ledger, plan: RunPlan, *, kernel_stamps: bool) -> Past:
    """What is left to do of that plan. Raises UsageError where it is not the plan, or the stamps, of the ledger."""
    meta = ledger.meta
    differences = [
        *(_plan_differences(meta, plan) if meta.plan_sha256 != plan_sha256(plan) else ()),
        *_of_figures("--kernel-stamps", meta.kernel_stamps, kernel_stamps),
    ]
    if differences:
        listed = "".join(f"\n  {difference}" for difference in differences)
        raise UsageError(
            f"--resume {path}: the plan is not that of this run:{listed}",
            hint="give the same options as before, with the same cells and prompts files; or begin a new run without "
            "--resume",
        )
    return Past(ledger=ledger, steps=left(plan.steps, ledger.calls), answered=_answered(ledger, plan))


def check_same(meta: MetaRecord, *, git_sha: str | None, host: str, versions: Mapping[str, str]) -> None:
    """Raise GateRefused where the run was begun by another harness, on another host, or on another commit."""
    pairs = {
        "git commit": (meta.git_sha, git_sha),
        "host": (meta.host, host),
        "harness_version": (meta.harness_version, HARNESS_VERSION),
        **{name: (meta.versions[name], versions[name]) for name in sorted(meta.versions.keys() & versions.keys())},
    }
    differ = [
        f"\n  {name}: {then or NONE} then, {now or NONE} now" for name, (then, now) in pairs.items() if then != now
    ]
    if differ:
        raise GateRefused(
            f"run {meta.benchmark_run_id} was begun by something else:{''.join(differ)}",
            hint="go back to what it was begun with, or begin a new run without --resume",
        )


def gap_s(ledger: Ledger, now_utc: str) -> float | None:
    """Seconds from the last time that the ledger knows of to that moment, by the wall clock; None where it has none."""
    times = [
        ledger.meta.started_at_utc,
        *(cell.ready_at_utc for cell in ledger.cells),
        *(resume.resumed_at_utc for resume in ledger.resumes),
        *(end.finished_at_utc for end in ledger.ends),
    ]
    known = [at for text in times if (at := _moment(text))]
    for call in ledger.calls:
        if at := _moment(call.started_at_utc):
            known.append(at + timedelta(microseconds=(call.total_duration_ns or 0) // 1_000))
    now = _moment(now_utc)
    return round((now - max(known)).total_seconds(), 3) if known and now else None


def what_differs(then: CellRecord, now: CellRecord) -> str | None:
    """The parts in which what answers a cell is not what answered its calls that are kept, or None."""
    if then.fingerprint == now.fingerprint:
        return None
    before, after = then.fingerprint_parts, now.fingerprint_parts
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {_shown(before.get(name))} then, {_shown(after.get(name))} now" for name in names)


def planned_warm_n(plan: RunPlan) -> dict[str, int]:
    """Cell -> planned warm calls per prompt, of all streams."""
    return {cell.id: cell.warm_n * plan.concurrency for cell in plan.cells if cell.enabled}


def plan_sha256(plan: RunPlan) -> str:
    """Digest of what the plan does: steps, cells and prompts, endpoints and local paths left out."""

    def cell_identity(cell: Cell) -> dict[str, Any]:
        identity = attrs.asdict(cell, filter=lambda field, _: field.name not in ("endpoint", "auth_env"))
        if cell.launch is not None:
            identity["launch"]["model"] = Path(cell.launch.model).name
            identity["launch"]["server"] = Path(cell.launch.server).name
        return identity

    shape = {
        "steps": [attrs.asdict(step) for step in plan.steps],
        "cells": [cell_identity(cell) for cell in plan.cells],
        "prompts": [(prompt.id, prompt.sha256, prompt.max_tokens) for prompt in plan.prompts],
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


# --- inside -----------------------------------------------------------------------------------------------------


def _answered(ledger: Ledger, plan: RunPlan) -> dict[str, CellRecord]:
    """Cell -> its record before the last of its calls that are kept."""
    found: dict[str, CellRecord] = {}
    for call in kept(plan.steps, ledger.calls):
        for cell in ledger.cells:
            if cell.cell_id == call.cell_id and cell.seq < call.seq:
                found[call.cell_id] = cell
    return found


def _plan_differences(meta: MetaRecord, plan: RunPlan) -> Iterator[str]:
    """What differs between two plans, as far as a meta record tells."""
    found = [
        *_of_mappings("cell", "warm calls per prompt", meta.warm_n, planned_warm_n(plan)),
        *_of_mappings("prompt", "sha256", meta.prompts, {prompt.id: prompt.sha256 for prompt in plan.prompts}),
        *_of_mappings(
            "prompt", "max_tokens", meta.max_tokens, {prompt.id: prompt.max_tokens for prompt in plan.prompts}
        ),
        *_of_figures("planned calls", meta.steps_planned, len(plan.steps)),
        *_of_figures("streams at once (--concurrency)", meta.concurrency, plan.concurrency),
        *_of_figures("--smoke", meta.smoke, plan.smoke),
    ]
    yield from dict.fromkeys(found)
    if not found:
        yield "cells, prompts and numbers of calls are the same: options of a cell, or the schedule, must differ"


def _of_mappings(kind: str, what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**then, **now}:
        if name not in now:
            yield f"{kind} {name}: was planned then, and is not now"
        elif name not in then:
            yield f"{kind} {name}: was not planned then, and is now"
        else:
            yield from _of_figures(f"{kind} {name}: {what}", then[name], now[name])


def _of_figures(what: str, then: object, now: object) -> Iterator[str]:
    if then != now:
        yield f"{what}: {then} then, {now} now"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _moment(text: str | None) -> datetime | None:
    """A time of a ledger; None for what is none."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
