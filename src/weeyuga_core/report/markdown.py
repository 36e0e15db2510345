"""The Markdown baseline: a summary on top, then per cell a cold and a warm table.

The shape is fixed, so that two baselines can be compared line by line: a new figure becomes a new column at the end
of its table. The same ledger gives the same bytes: nothing here reads a clock, a locale or a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from attrs import frozen

from weeyuga_core.analysis.assess import assess
from weeyuga_core.analysis.baseline import Baseline, CellBaseline, Cold, Mean, Means, Warm
from weeyuga_core.analysis.stats import CERTIFIED_N
from weeyuga_core.analysis.verdict import Judgement
from weeyuga_core.ledger import reader
from weeyuga_core.model.records import CellRecord, MetaRecord, ResumeRecord
from weeyuga_core.report import load, routing
from weeyuga_core.report.text import (
    NONE,
    UNCERTIFIED,
    escape,
    extent,
    high,
    pairs,
    part,
    plain,
    rate,
    table,
    whole,
    word,
)


@frozen
class ColdRow:
    """One row of a cold table."""

    prompt_id: str
    prompt_cache: str
    cold: Cold


@frozen
class WarmRow:
    """One row of a warm table."""

    prompt_id: str
    prompt_cache: str
    warm: Warm


COLD_COLUMNS: tuple[tuple[str, Callable[[ColdRow], str]], ...] = (
    ("prompt", lambda row: escape(row.prompt_id)),
    ("first_delta_ms", lambda row: whole(row.cold.first_delta_ms)),
    ("total_duration_ms", lambda row: whole(row.cold.total_duration_ms)),
    ("completion_tokens", lambda row: whole(row.cold.completion_tokens)),
    ("tokens_per_sec", lambda row: rate(row.cold.tokens_per_sec)),
    ("cold_kind", lambda row: word(row.cold.cold_kind)),
    ("cold_proven", lambda row: {True: "yes", False: "no", None: NONE}[row.cold.cold_proven]),
    ("engine_ready_ms", lambda row: whole(row.cold.engine_ready_ms)),
    ("connect_ms", lambda row: whole(row.cold.connect_ms)),
    ("first_answer_ms", lambda row: whole(row.cold.first_answer_ms)),
    ("decode_tokens_per_sec", lambda row: rate(row.cold.decode_tokens_per_sec)),
    ("engine_tokens_per_sec", lambda row: rate(row.cold.engine_tokens_per_sec)),
    ("cached_prompt_tokens", lambda row: _cached(row.cold)),
    ("prompt_cache", lambda row: escape(row.prompt_cache)),
    ("finish_reason", lambda row: word(row.cold.finish_reason)),
)

WARM_COLUMNS: tuple[tuple[str, Callable[[WarmRow], str]], ...] = (
    ("prompt", lambda row: escape(row.prompt_id)),
    ("first_delta_ms", lambda row: whole(row.warm.first_delta_ms.p50)),
    ("total_duration_ms", lambda row: whole(row.warm.total_duration_ms.p50)),
    ("completion_tokens", lambda row: extent(row.warm.completion_tokens)),
    ("tokens_per_sec", lambda row: rate(row.warm.tokens_per_sec.mean)),
    ("N", lambda row: str(row.warm.first_delta_ms.n)),
    ("succeeded", lambda row: _succeeded(row.warm)),
    ("first_delta_ms min..max", lambda row: extent(row.warm.first_delta_ms)),
    ("first_delta_ms p95", lambda row: high(row.warm.first_delta_ms)),
    ("total_duration_ms min..max", lambda row: extent(row.warm.total_duration_ms)),
    ("total_duration_ms p95", lambda row: high(row.warm.total_duration_ms)),
    ("first_answer_ms", lambda row: whole(row.warm.first_answer_ms.p50)),
    ("decode_tokens_per_sec", lambda row: rate(row.warm.decode_tokens_per_sec.mean)),
    ("engine_tokens_per_sec", lambda row: rate(row.warm.engine_tokens_per_sec.mean)),
    ("cached_prompt_tokens", lambda row: part(row.warm.cached_prompt_tokens, row.warm.prompt_tokens)),
    ("prompt_cache", lambda row: escape(row.prompt_cache)),
    ("finish_reason", lambda row: _finish(row.warm)),
)

ACROSS_COLUMNS = ("phase", "first_delta_ms", "total_duration_ms", "completion_tokens", "tokens_per_sec", "prompts")

HOW_TO_READ = (
    "`first_delta_ms` runs from just before the request is sent to the first piece of reasoning, answer or tool call "
    "that is not empty; a chunk that only announces a role does not count. `first_answer_ms` waits for the answer "
    "itself. `total_duration_ms` ends with the last event of the stream. Connecting (`connect_ms`) lies before both.",
    "`tokens_per_sec` is completion tokens over the time from the first delta to the end of the stream, "
    "`decode_tokens_per_sec` is one token less over the time between the first and the last delta, "
    "`engine_tokens_per_sec` is the engine's own word.",
    "Warm rows give the median of `first_delta_ms`, `total_duration_ms` and `first_answer_ms`, and the mean of the "
    "rates, over the N calls that did not fail. Percentiles interpolate linearly between the sorted values "
    '("inclusive"): p50 is the median.',
    f"{UNCERTIFIED} marks a p95 of fewer than {CERTIFIED_N} calls: it is little more than the largest value; with N "
    "= 5 it lies four fifths of the way from the second largest to the largest.",
    "`succeeded` gives the exact (Clopper-Pearson) 95 % interval of the success rate.",
    "A warm call repeats a prompt that the engine has just seen. Unless `prompt_cache` says disabled, it may find the "
    "prompt in the engine's cache: `cached_prompt_tokens` says how much of it.",
    "Cold figures are comparable only where `cold_kind` is the same. A fresh process has loaded its model before the "
    "call (`engine_ready_ms`); a model that was unloaded is loaded inside it.",
    f"{NONE} stands for a figure that is not known; the notes of the cell say why.",
)

Lines: TypeAlias = list[str]
Row = TypeVar("Row")


def render_ledger(path: Path) -> str:
    """The baseline of that ledger. Raises LedgerDamaged when it cannot be read."""
    return render(*assess(reader.read(path)))


def render(baseline: Baseline, judgement: Judgement) -> str:
    """The whole page, final newline included."""
    sections = [
        _top(baseline, judgement),
        _summary(baseline),
        *(_cell(cell) for cell in baseline.cells),
        _skipped(baseline),
        ["## How to read", "", *_bullets(HOW_TO_READ)],
        *routing.sections(baseline.overheads),
        *load.sections(baseline.loads),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def names_run(page: bytes, run_id: str) -> bool:
    """Whether these bytes are a page of `render` about that run."""
    return f"- {_run_line(run_id)}\n".encode() in page


# --- the run --------------------------------------------------------------------------------------------------


def _top(baseline: Baseline, judgement: Judgement) -> Lines:
    """Title, what speaks against the numbers, and which run they come from."""
    warnings = [f"> - {judgement.verdict}: {escape(reason)}" for reason in judgement.reasons]
    return [f"# {_title(baseline)}", "", *([*warnings, ""] if warnings else []), *_bullets(_run(baseline, judgement))]


def _title(baseline: Baseline) -> str:
    if baseline.parallel is not None:
        return f"Parallel baseline, {baseline.parallel} streams per cell"
    return "Smoke run" if baseline.meta.smoke else "Baseline"


def _run(baseline: Baseline, judgement: Judgement) -> Lines:
    meta, end = baseline.meta, baseline.end
    load_end = None if end is None else end.load_avg_end
    return [
        _run_line(meta.benchmark_run_id),
        f"verdict: **{judgement.verdict}**",
        *(f"note: {escape(note)}" for note in judgement.notes),
        f"started: {escape(meta.started_at_utc)}, finished: {NONE if end is None else escape(end.finished_at_utc)}",
        f"host: {escape(meta.host)} ({_machine(meta)})",
        f"load average: {_load(meta.load_avg_start)} at the start, {_load(load_end)} at the end",
        f"git: {_git(meta)}",
        f"harness_version: {escape(meta.harness_version)}; {pairs(meta.versions)}; Python {word(meta.python)}",
        f"prompts: {_prompts(meta)}",
        *([f"gate flags: {escape(' '.join(meta.flags))}"] if meta.flags else []),
        *([f"route: {escape(meta.env_route)}"] if meta.env_route else []),
        _measurement_error(meta),
        *(_resumed(resume, meta) for resume in baseline.resumes),
    ]


def _run_line(run_id: str) -> str:
    return f"run: {escape(run_id)}"


def _machine(meta: MetaRecord) -> str:
    memory = None if meta.memory_bytes is None else f"{meta.memory_bytes / 2**30:.1f} GiB"
    cores = None if meta.cpu_count is None else f"{meta.cpu_count} CPUs"
    known = [escape(text) for text in (meta.platform, meta.cpu, cores, memory) if text]
    return ", ".join(known) or "nothing more is recorded"


def _load(load: tuple[float, float, float] | None) -> str:
    return NONE if load is None else " ".join(f"{value:.2f}" for value in load)


def _git(meta: MetaRecord) -> str:
    if meta.git_sha is None:
        return f"no commit recorded ({word(meta.git_note)})"
    state = {True: "uncommitted changes", False: "clean", None: "state unknown"}[meta.git_dirty]
    files = f": {escape(', '.join(meta.git_dirty_files))}" if meta.git_dirty_files else ""
    return f"{escape(meta.git_sha)}, {state}{files}"


def _prompts(meta: MetaRecord) -> str:
    shown = [
        f"{escape(prompt_id)} sha256 {escape(sha256[:12])}, max_tokens {plain(meta.max_tokens.get(prompt_id))}"
        for prompt_id, sha256 in meta.prompts.items()
    ]
    return "; ".join(shown) or NONE


def _measurement_error(record: MetaRecord | ResumeRecord) -> str:
    """What the harness is known to add on this host; a calibration's `summary` is a sentence about it."""
    if record.calibration is None:
        return "measurement error: not calibrated on this host"
    summary = record.calibration.get("summary")
    return f"measurement error on this host: {word(summary) if isinstance(summary, str) else pairs(record.calibration)}"


def _resumed(resume: ResumeRecord, meta: MetaRecord) -> str:
    """When a run was taken up again, and what was different then."""
    parts = [
        f"resumed: {escape(resume.resumed_at_utc)} with {resume.steps_left} calls left",
        f"load average {_load(resume.load_avg)}",
        *(["a broken-off last line was set aside"] if resume.torn else []),
        *([f"gate flags: {escape(' '.join(resume.flags))}"] if resume.flags else []),
        *([f"uncommitted changes: {escape(', '.join(resume.git_dirty_files))}"] if resume.git_dirty else []),
        *([_measurement_error(resume)] if resume.calibration != meta.calibration else []),
    ]
    return "; ".join(parts)


def _summary(baseline: Baseline) -> Lines:
    """Medians of the warm first delta, a row per cell and a column per prompt."""
    heads = ["cell", *(escape(prompt_id) for prompt_id in baseline.prompts), "prompt_cache"]
    rows = [[escape(cell.cell_id), *_first_deltas(cell, baseline.prompts), _cache(cell)] for cell in baseline.cells]
    return ["## Summary: first_delta_ms, warm, p50", "", *(table(heads, rows) if rows else ["No cell was measured."])]


def _first_deltas(cell: CellBaseline, prompts: Iterable[str]) -> Lines:
    found = {prompt.prompt_id: prompt.warm for prompt in cell.prompts}
    return [whole(warm.first_delta_ms.p50) if (warm := found.get(prompt)) else NONE for prompt in prompts]


def _skipped(baseline: Baseline) -> Lines:
    if not baseline.skipped:
        return []
    return ["## Skipped cells", "", *_bullets(f"{escape(one.cell_id)}: {word(one.reason)}" for one in baseline.skipped)]


# --- one cell -------------------------------------------------------------------------------------------------


def _cell(cell: CellBaseline) -> Lines:
    cold = [ColdRow(prompt.prompt_id, _cache(cell), prompt.cold) for prompt in cell.prompts if prompt.cold]
    warm = [WarmRow(prompt.prompt_id, _cache(cell), prompt.warm) for prompt in cell.prompts if prompt.warm]
    return [
        f"## {escape(cell.cell_id)}",
        "",
        *_bullets(_identity(cell.record)),
        *_part("Cold", _rows(COLD_COLUMNS, cold), "No cold call was made."),
        *_part("Warm", _rows(WARM_COLUMNS, warm), "No warm call was made."),
        *_part("Across prompts (mean over the prompts above)", _across(cell), ""),
        *_part("Notes", _bullets(escape(note) for note in cell.notes), "Nothing to note."),
    ]


def _identity(record: CellRecord | None) -> Lines:
    if record is None:
        return ["nothing is recorded of what answered here"]
    version = f"{word(record.engine_version)} ({_source(record.engine_version_source)})"
    digest = f"{word(record.model_digest)} ({_source(record.model_digest_source)})"
    return [
        f"engine: {escape(record.engine)}, version {version}",
        f"model: {escape(record.request_model)}, digest {digest}",
        f"server: {_server(record)}",
        f"options: {pairs(record.options)}",
        f"prompt_cache: {escape(record.prompt_cache)}",
        f"facts: {pairs(record.facts)}",
        *([f"routes to: {escape(record.routes)}"] if record.routes else []),
        f"adapter: {word(record.adapter)}",
        f"fingerprint: {word(record.fingerprint)}",
    ]


def _source(source: str | None) -> str:
    words = {"engine": "says the engine", "cell": "says the cells file", None: "not recorded"}
    return words.get(source) or word(source)


def _server(record: CellRecord) -> str:
    if not record.launched:
        return "not ours"
    ready = "" if record.engine_ready_ms is None else f", ready after {record.engine_ready_ms} ms"
    return f"our own{ready}, started as {escape(' '.join(record.flags)) or NONE}"


def _across(cell: CellBaseline) -> Lines:
    phases: tuple[tuple[str, Means], ...] = (("cold", cell.across.cold), ("warm", cell.across.warm))
    rows = [_means(phase, means) for phase, means in phases if means.prompts]
    return table(ACROSS_COLUMNS, rows)


def _means(phase: str, means: Means) -> Lines:
    return [
        phase,
        _mean(means.first_delta_ms, means, whole),
        _mean(means.total_duration_ms, means, whole),
        _mean(means.completion_tokens, means, whole),
        _mean(means.tokens_per_sec, means, rate),
        str(means.prompts),
    ]


def _mean(mean: Mean, means: Means, shown: Callable[[float | None], str]) -> str:
    """The figure; how many prompts it covers where it does not cover all."""
    covers = "" if mean.prompts in (0, means.prompts) else f" ({mean.prompts} of {means.prompts})"
    return shown(mean.value) + covers


def _cached(cold: Cold) -> str:
    return NONE if cold.cached_prompt_tokens is None else f"{cold.cached_prompt_tokens} of {whole(cold.prompt_tokens)}"


def _succeeded(warm: Warm) -> str:
    low, high = (f"{100 * share:.0f}" for share in warm.success_interval)
    return f"{warm.n - warm.errors} of {warm.n} ({low}..{high} %)"


def _finish(warm: Warm) -> str:
    counted = [f"{word(reason)} {count}" for reason, count in warm.finish_reasons.items()]
    return ", ".join(counted) or NONE


def _cache(cell: CellBaseline) -> str:
    return NONE if cell.record is None else escape(cell.record.prompt_cache)


# --- layout ---------------------------------------------------------------------------------------------------


def _part(title: str, body: Lines, otherwise: str) -> Lines:
    return ["", f"### {title}", "", *(body or [otherwise])]


def _rows(columns: Sequence[tuple[str, Callable[[Row], str]]], rows: Sequence[Row]) -> Lines:
    if not rows:
        return []
    return table([title for title, _ in columns], [[show(row) for _, show in columns] for row in rows])


def _bullets(lines: Iterable[str]) -> Lines:
    return [f"- {line}" for line in lines]
