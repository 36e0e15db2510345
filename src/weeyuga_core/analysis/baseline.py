"""A baseline: what a ledger says about each (cell, prompt), as values.

Attribute names are the keys of `report --json`. `_ms` figures come from the `_ns` twins and are not rounded; calls
with an error enter no figure but the counts. A figure that cannot be known is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from attrs import asdict, field, frozen

from weeyuga_core.analysis.blocks import Block, blocks, cell_order, prompt_order, skipped
from weeyuga_core.analysis.load import Load, loads
from weeyuga_core.analysis.notes import notes
from weeyuga_core.analysis.pairs import Overhead, overheads
from weeyuga_core.analysis.stats import Spread, mean, spread, success_interval
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ResumeRecord
from weeyuga_core.model.records import to_json as record_to_json

NS_PER_MS = 1_000_000


@frozen(kw_only=True)
class Cold:
    """The one cold call. Its figures are None when it failed."""

    error: str | None
    first_delta_ms: float | None
    total_duration_ms: float | None
    completion_tokens: int | None
    tokens_per_sec: float | None
    prompt_tokens: int | None
    cached_prompt_tokens: int | None
    first_answer_ms: float | None
    decode_tokens_per_sec: float | None
    engine_tokens_per_sec: float | None
    finish_reason: str | None
    connect_ms: float | None
    """None on a reused connection."""
    cold_kind: str | None
    cold_proven: bool | None
    engine_ready_ms: float | None


@frozen(kw_only=True)
class Warm:
    """The warm calls: how many were made and failed, and how the figures of the others lie."""

    n: int
    errors: int
    success_rate: float
    success_interval: tuple[float, float]
    """95 %, see `stats.success_interval`."""
    first_delta_ms: Spread
    total_duration_ms: Spread
    completion_tokens: Spread
    tokens_per_sec: Spread
    prompt_tokens: Spread
    cached_prompt_tokens: Spread
    first_answer_ms: Spread
    decode_tokens_per_sec: Spread
    engine_tokens_per_sec: Spread
    finish_reasons: Mapping[str, int]


@frozen(kw_only=True)
class PromptBaseline:
    """One (cell, prompt). `cold` or `warm` is None when no such call was made."""

    prompt_id: str
    attempt: int
    cold: Cold | None
    warm: Warm | None


@frozen(kw_only=True)
class Mean:
    """The unweighted mean of one figure over the prompts that have it, and how many those are."""

    value: float | None
    prompts: int


@frozen(kw_only=True)
class Means:
    """Across the prompts of a cell; `prompts` counts those with a row in this phase."""

    prompts: int
    first_delta_ms: Mean
    total_duration_ms: Mean
    completion_tokens: Mean
    tokens_per_sec: Mean


@frozen(kw_only=True)
class Across:
    """A cell in four figures each: of its cold calls, and of its warm ones (their medians, and the mean rates)."""

    cold: Means
    warm: Means


@frozen(kw_only=True)
class CellBaseline:
    """One measured cell: what answered there (None when no cell record was written), its rows and its notes."""

    cell_id: str
    record: CellRecord | None
    prompts: tuple[PromptBaseline, ...]
    across: Across
    notes: tuple[str, ...]


@frozen(kw_only=True)
class Skipped:
    """A cell that was not measured, and why."""

    cell_id: str
    reason: str


@frozen(kw_only=True)
class Baseline:
    """Everything a report shows."""

    meta: MetaRecord
    end: EndRecord | None
    parallel: int | None
    """Streams per cell of a parallel run; None for a single-stream baseline, with which it is never compared."""
    prompts: tuple[str, ...]
    cells: tuple[CellBaseline, ...]
    skipped: tuple[Skipped, ...] = field(factory=tuple)
    overheads: tuple[Overhead, ...] = field(factory=tuple)
    """What routers cost, in a run of pairs."""
    loads: tuple[Load, ...] = field(factory=tuple)
    """What cells do under many streams, in a parallel run."""
    resumes: tuple[ResumeRecord, ...] = field(factory=tuple)
    """Where the run was taken up again."""


def build(
    meta: MetaRecord,
    cells: Sequence[CellRecord],
    calls: Sequence[CallRecord],
    end: EndRecord | None = None,
    *,
    resumes: Sequence[ResumeRecord] = (),
) -> Baseline:
    """The baseline of a run, cells and prompts in the order of its plan."""
    records = {cell.cell_id: cell for cell in cells}
    by_cell = groupby(blocks(meta, cells, calls), key=lambda block: block.cell_id)
    measured = tuple(_cell(cell_id, records.get(cell_id), tuple(found)) for cell_id, found in by_cell)
    return Baseline(
        meta=meta,
        end=end,
        parallel=meta.concurrency if meta.concurrency > 1 else None,
        prompts=prompt_order(meta, calls),
        cells=measured,
        skipped=_skipped(
            cell_order(meta, cells, calls), {cell.cell_id for cell in measured}, skipped(cells, calls, resumes)
        ),
        overheads=overheads(cells, calls, planned=meta.warm_n),
        loads=loads(blocks(meta, cells, calls)) if meta.concurrency > 1 else (),
        resumes=tuple(resumes),
    )


def to_json(baseline: Baseline) -> dict[str, Any]:
    """The baseline as plain JSON values; meta, cell, end and resume records as they stand in the ledger."""
    plain = asdict(baseline)
    plain["meta"] = record_to_json(baseline.meta)
    plain["end"] = None if baseline.end is None else record_to_json(baseline.end)
    plain["resumes"] = [record_to_json(resume) for resume in baseline.resumes]
    for cell, shown in zip(baseline.cells, plain["cells"], strict=True):
        shown["record"] = None if cell.record is None else record_to_json(cell.record)
    return plain


def _cell(cell_id: str, record: CellRecord | None, found: Sequence[Block]) -> CellBaseline:
    prompts = tuple(_prompt(block) for block in found)
    return CellBaseline(cell_id=cell_id, record=record, prompts=prompts, across=_across(prompts), notes=notes(found))


def _prompt(block: Block) -> PromptBaseline:
    return PromptBaseline(
        prompt_id=block.prompt_id,
        attempt=block.attempt,
        cold=_cold(block.cold[0]) if block.cold else None,
        warm=_warm(block) if block.warm else None,
    )


def _cold(call: CallRecord) -> Cold:
    ok = call.error is None
    return Cold(
        error=call.error,
        first_delta_ms=_in_ms(_first_delta_ns(call)) if ok else None,
        total_duration_ms=_in_ms(_total_ns(call)) if ok else None,
        completion_tokens=call.completion_tokens if ok else None,
        tokens_per_sec=call.tokens_per_sec if ok else None,
        prompt_tokens=call.prompt_tokens if ok else None,
        cached_prompt_tokens=call.cached_prompt_tokens if ok else None,
        first_answer_ms=_in_ms(_first_answer_ns(call)) if ok else None,
        decode_tokens_per_sec=call.decode_tokens_per_sec if ok else None,
        engine_tokens_per_sec=call.engine_tokens_per_sec if ok else None,
        finish_reason=call.finish_reason,
        connect_ms=_in_ms(_ns(call.connect_ns, call.connect_ms)),
        cold_kind=call.cold_kind,
        cold_proven=call.cold_proven,
        engine_ready_ms=_in_ms(_ns(call.engine_ready_ns, call.engine_ready_ms)),
    )


def _warm(block: Block) -> Warm:
    n, ok = len(block.warm), block.warm_ok
    return Warm(
        n=n,
        errors=n - len(ok),
        success_rate=len(ok) / n,
        success_interval=success_interval(len(ok), n),
        first_delta_ms=_spread(ok, _first_delta_ns, NS_PER_MS),
        total_duration_ms=_spread(ok, _total_ns, NS_PER_MS),
        completion_tokens=_spread(ok, lambda call: call.completion_tokens),
        tokens_per_sec=_spread(ok, lambda call: call.tokens_per_sec),
        prompt_tokens=_spread(ok, lambda call: call.prompt_tokens),
        cached_prompt_tokens=_spread(ok, lambda call: call.cached_prompt_tokens),
        first_answer_ms=_spread(ok, _first_answer_ns, NS_PER_MS),
        decode_tokens_per_sec=_spread(ok, lambda call: call.decode_tokens_per_sec),
        engine_tokens_per_sec=_spread(ok, lambda call: call.engine_tokens_per_sec),
        finish_reasons=dict(Counter(call.finish_reason or "null" for call in ok)),
    )


def _across(prompts: Sequence[PromptBaseline]) -> Across:
    cold = [prompt.cold for prompt in prompts if prompt.cold is not None]
    warm = [prompt.warm for prompt in prompts if prompt.warm is not None]
    return Across(
        cold=Means(
            prompts=len(cold),
            first_delta_ms=_mean(row.first_delta_ms for row in cold),
            total_duration_ms=_mean(row.total_duration_ms for row in cold),
            completion_tokens=_mean(row.completion_tokens for row in cold),
            tokens_per_sec=_mean(row.tokens_per_sec for row in cold),
        ),
        warm=Means(
            prompts=len(warm),
            first_delta_ms=_mean(row.first_delta_ms.p50 for row in warm),
            total_duration_ms=_mean(row.total_duration_ms.p50 for row in warm),
            completion_tokens=_mean(row.completion_tokens.mean for row in warm),
            tokens_per_sec=_mean(row.tokens_per_sec.mean for row in warm),
        ),
    )


def _skipped(order: Iterable[str], measured: set[str], lines: Iterable[CallRecord]) -> tuple[Skipped, ...]:
    """Skipped cells, and planned ones that nothing is recorded about."""
    reasons: dict[str, list[str]] = {}
    for call in lines:
        reasons.setdefault(call.cell_id, []).append(call.error or "no reason given")
    for cell_id in order:
        if cell_id not in measured and cell_id not in reasons:
            reasons[cell_id] = ["no call recorded: the run ended before this cell"]
    return tuple(
        Skipped(cell_id=cell_id, reason="; ".join(dict.fromkeys(reasons[cell_id])))
        for cell_id in order
        if cell_id in reasons
    )


def _spread(calls: Iterable[CallRecord], figure: Callable[[CallRecord], float | None], unit: int = 1) -> Spread:
    return spread([value for value in map(figure, calls) if value is not None], unit)


def _mean(values: Iterable[float | None]) -> Mean:
    known = [value for value in values if value is not None]
    return Mean(value=mean(known), prompts=len(known))


def _first_delta_ns(call: CallRecord) -> int | None:
    return _ns(call.first_delta_ns, call.first_delta_ms)


def _total_ns(call: CallRecord) -> int | None:
    return _ns(call.total_duration_ns, call.total_duration_ms)


def _first_answer_ns(call: CallRecord) -> int | None:
    return _ns(call.first_answer_ns, call.first_answer_ms)


def _ns(ns: int | None, ms: int | None) -> int | None:
    """Nanoseconds, or those of the whole milliseconds where a ledger holds no better, as a bare minimal one."""
    return ns if ns is not None or ms is None else ms * NS_PER_MS


def _in_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS
