"""Calls sorted into blocks: what one cell did with one prompt, one cold call and N warm ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from weeyuga_core.model.records import CallRecord, CellRecord, MetaRecord, ResumeRecord


@frozen(kw_only=True)
class Block:
    """The calls of one (cell, prompt) that count: those of its last complete attempt, else of its last one."""

    cell_id: str
    prompt_id: str
    attempt: int
    attempts: int
    """How many attempts the ledger holds; the others are left aside."""
    warm_planned: int | None
    cold: tuple[CallRecord, ...]
    warm: tuple[CallRecord, ...]

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Cold first, then warm."""
        return self.cold + self.warm

    @property
    def warm_ok(self) -> tuple[CallRecord, ...]:
        """The warm calls that did not fail: only they enter percentiles."""
        return tuple(call for call in self.warm if call.error is None)


def blocks(meta: MetaRecord, cells: Sequence[CellRecord], calls: Sequence[CallRecord]) -> tuple[Block, ...]:
    """Every measured (cell, prompt), in the order of `cell_order` and `prompt_order`."""
    grouped: dict[tuple[str, str], list[CallRecord]] = {}
    for call in of_last_engine(cells, measured(calls)):
        grouped.setdefault((call.cell_id, str(call.prompt_id)), []).append(call)
    return tuple(
        _block(cell_id, prompt_id, grouped[cell_id, prompt_id], meta.warm_n.get(cell_id))
        for cell_id in cell_order(meta, cells, calls)
        for prompt_id in prompt_order(meta, calls)
        if (cell_id, prompt_id) in grouped
    )


def measured(calls: Iterable[CallRecord]) -> tuple[CallRecord, ...]:
    """The calls that were made: no skipped cells among them."""
    return tuple(call for call in calls if call.phase != "skipped" and call.prompt_id is not None)


def of_last_engine(cells: Iterable[CellRecord], calls: Iterable[CallRecord]) -> tuple[CallRecord, ...]:
    """The calls without those that something else answered than what the cell's last record describes.

    Only a resumed run has such calls: of blocks that it begins again, on an engine that was exchanged in between.
    """
    since: dict[str, CellRecord] = {}
    changed: set[str] = set()
    for cell in sorted(cells, key=lambda cell: cell.seq):
        first = since.setdefault(cell.cell_id, cell)
        if first.fingerprint != cell.fingerprint:
            since[cell.cell_id] = cell
            changed.add(cell.cell_id)
    return tuple(call for call in calls if call.cell_id not in changed or call.seq > since[call.cell_id].seq)


def skipped(
    cells: Iterable[CellRecord], calls: Sequence[CallRecord], resumes: Sequence[ResumeRecord] = ()
) -> tuple[CallRecord, ...]:
    """The lines that say why a cell was skipped, without those of cells that a resumed run asked again."""
    last: dict[str, int] = {}
    for cell_id, seq in [(cell.cell_id, cell.seq) for cell in cells] + [(call.cell_id, call.seq) for call in calls]:
        last[cell_id] = max(seq, last.get(cell_id, 0))
    return tuple(
        call
        for call in calls
        if call.phase == "skipped" and not any(call.seq < resume.seq < last[call.cell_id] for resume in resumes)
    )


def cell_order(meta: MetaRecord, cells: Iterable[CellRecord], calls: Iterable[CallRecord]) -> tuple[str, ...]:
    """Every cell id once: as planned, then as they became ready, then as they were called."""
    found = [*meta.cells_planned, *(cell.cell_id for cell in cells), *(call.cell_id for call in calls)]
    return tuple(dict.fromkeys(found))


def prompt_order(meta: MetaRecord, calls: Iterable[CallRecord]) -> tuple[str, ...]:
    """Every prompt id once: as the meta record lists them, then as they were called."""
    return tuple(dict.fromkeys([*meta.prompts, *(str(call.prompt_id) for call in measured(calls))]))


def _block(cell_id: str, prompt_id: str, calls: Sequence[CallRecord], warm_planned: int | None) -> Block:
    attempts: dict[int, list[CallRecord]] = {}
    for call in calls:
        attempts.setdefault(call.attempt, []).append(call)
    complete = [number for number, made in attempts.items() if _is_complete(made, warm_planned)]
    attempt = max(complete or attempts)
    return Block(
        cell_id=cell_id,
        prompt_id=prompt_id,
        attempt=attempt,
        attempts=len(attempts),
        warm_planned=warm_planned,
        cold=_of_phase(attempts[attempt], "cold"),
        warm=_of_phase(attempts[attempt], "warm"),
    )


def _is_complete(calls: Iterable[CallRecord], warm_planned: int | None) -> bool:
    phases = [call.phase for call in calls]
    return "cold" in phases and phases.count("warm") >= (warm_planned or 0)


def _of_phase(calls: Iterable[CallRecord], phase: str) -> tuple[CallRecord, ...]:
    return tuple(sorted((call for call in calls if call.phase == phase), key=lambda call: (call.run_idx, call.seq)))
