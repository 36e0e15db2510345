"""The page: its bytes, its fixed shape, and that no records can break it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weeyuga_core.analysis.baseline import build
from weeyuga_core.analysis.verdict import judge
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, to_line
from weeyuga_core.report.markdown import render, render_ledger

GOLDEN = Path(__file__).parents[1] / "golden" / "baseline_v1.md"


def page(run: Any, **ledger: Any) -> str:
    """The page of these records."""
    baseline = build(run.meta, run.cells, run.calls, run.end)
    return render(baseline, judge(run.meta, run.cells, run.calls, run.end, **ledger))


def rows_of(text: str, title: str) -> list[list[str]]:
    """The cells of the first table below that title, header first, rule left out."""
    lines = text[text.index(title) :].splitlines()[1:]
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = [line for line in lines[start : next(i for i in range(start, len(lines)) if not lines[i])]]
    return [[text.strip() for text in line.strip("|").split(" | ")] for line in [table[0], *table[2:]]]


def test_the_page_is_the_golden_one(run: Any) -> None:
    assert page(run) == GOLDEN.read_bytes().decode()


def test_a_ledger_file_gives_the_page_of_its_records_every_time(run: Any, tmp_path: Path) -> None:
    lines = [to_line(record) for record in (run.meta, *run.cells, *run.calls, run.end)]
    first, second = tmp_path / "a.jsonl", tmp_path / "deeper" / "b.jsonl"
    second.parent.mkdir()
    for path in (first, second):
        path.write_bytes(b"".join(lines))
    assert render_ledger(first) == page(run)
    assert render_ledger(second) == render_ledger(first)


# Columns are API: a new one goes to the end of its table, and to the end of its list here.
COLD = [
    "prompt",
    "first_delta_ms",
    "total_duration_ms",
    "completion_tokens",
    "tokens_per_sec",
    "cold_kind",
    "cold_proven",
    "engine_ready_ms",
    "connect_ms",
    "first_answer_ms",
    "decode_tokens_per_sec",
    "engine_tokens_per_sec",
    "cached_prompt_tokens",
    "prompt_cache",
    "finish_reason",
]
WARM = [
    "prompt",
    "first_delta_ms",
    "total_duration_ms",
    "completion_tokens",
    "tokens_per_sec",
    "N",
    "succeeded",
    "first_delta_ms min..max",
    "first_delta_ms p95",
    "total_duration_ms min..max",
    "total_duration_ms p95",
    "first_answer_ms",
    "decode_tokens_per_sec",
    "engine_tokens_per_sec",
    "cached_prompt_tokens",
    "prompt_cache",
    "finish_reason",
]
ACROSS = ["phase", "first_delta_ms", "total_duration_ms", "completion_tokens", "tokens_per_sec", "prompts"]


@pytest.mark.parametrize(("title", "columns"), [("### Cold", COLD), ("### Warm", WARM), ("### Across", ACROSS)])
def test_columns_keep_their_order(run: Any, title: str, columns: Sequence[str]) -> None:
    assert rows_of(page(run), title)[0] == columns


def test_a_row_shows_whole_milliseconds_of_percentiles_of_nanoseconds(run: Any) -> None:
    warm = dict(zip(WARM, rows_of(page(run), "### Warm")[1], strict=True))
    # Sorted: 98.2 99.0 100.4 101.9 140.5; p95 lies 0.8 of the way between the last two.
    assert warm["first_delta_ms"] == str(round(100.4))
    assert warm["first_delta_ms min..max"] == f"{round(98.2)}..{round(140.5)}"
    assert warm["first_delta_ms p95"] == f"{round(101.9 + 0.8 * (140.5 - 101.9))} †"
    assert (warm["N"], warm["succeeded"], warm["cached_prompt_tokens"]) == ("5", "5 of 5 (48..100 %)", "10 of 11")


def test_the_summary_shows_nothing_but_warm_medians_of_the_first_delta(run: Any) -> None:
    assert rows_of(page(run), "## Summary") == [
        ["cell", "P-EASY", "P-HARD", "prompt_cache"],
        ["mac:echo:tiny", "100", "120", "engine-default"],
        ["mac:echo:reasoner@ctx4k", "50", "–", "engine-default"],
    ]


def test_every_reason_is_annotated_above_the_numbers(run: Any) -> None:
    died = page(evolve(run, end=None))
    head = died[: died.index("## Summary")]
    assert "> - unreliable: the run died: the ledger has no end record" in head.splitlines()
    assert "finished: –" in head


def test_an_invalid_run_is_annotated_as_such(run: Any) -> None:
    assert "\n> - invalid: the ledger was changed after it was written" in page(run, digest_ok=False)


def test_a_valid_run_has_no_annotation(run: Any) -> None:
    cells = [evolve(cell, model_digest="sha256:00") for cell in run.cells]
    end = evolve(run.end, verdict="valid")
    text = page(evolve(run, cells=cells, calls=[call for call in run.calls if call.error is None], end=end))
    assert "\n>" not in text
    assert "- verdict: **valid**\n" in text


def test_parallel_and_smoke_runs_are_called_so(run: Any) -> None:
    parallel = page(evolve(run, meta=evolve(run.meta, concurrency=8)))
    assert parallel.startswith("# Parallel baseline, 8 streams per cell\n")
    assert page(evolve(run, meta=evolve(run.meta, smoke=True))).startswith("# Smoke run\n")


def test_the_measurement_error_is_quoted_from_the_calibration(run: Any) -> None:
    quoted = evolve(run.meta, calibration={"summary": "first delta +0.2 ms (p99 0.4)", "streams": 1})
    assert "- measurement error on this host: first delta +0.2 ms (p99 0.4)\n" in page(evolve(run, meta=quoted))
    bare = evolve(run.meta, calibration={"ttft_p99_ms": 0.4})
    assert "- measurement error on this host: ttft\\_p99\\_ms 0.4\n".replace("\\", "") in page(evolve(run, meta=bare))
    assert "- measurement error: not calibrated on this host\n" in page(run)


def test_engine_words_break_no_table(run: Any) -> None:
    nasty = "a|b\n| c `d` <script>"
    calls = [evolve(call, finish_reason=nasty, cold_kind=nasty) for call in run.calls]
    cells = [evolve(cell, prompt_cache=nasty, engine_version=nasty, facts={nasty: nasty}) for cell in run.cells]
    text = page(evolve(run, calls=calls, cells=cells))
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines() if "process" in line}) <= 1
    assert "<script>" not in text
    plain, broken = page(run).splitlines(), [line for line in text.splitlines() if line.startswith("|")]
    assert len([line for line in plain if line.startswith("|")]) == len(broken)


def test_a_run_without_a_measured_cell_still_says_why(run: Any) -> None:
    only_skipped = evolve(run, cells=(), calls=run.calls[-1:], meta=evolve(run.meta, cells_planned=()))
    text = page(only_skipped)
    assert "No cell was measured." in text
    assert "- far:echo:tiny: connection refused" in text
    assert "> - unreliable: no call succeeded" in text


def test_every_table_row_has_as_many_columns_as_its_head(run: Any) -> None:
    check_tables(page(run))


def check_tables(text: str) -> None:
    """Every line of a table has as many unescaped bars as the one before it."""
    bars = [
        line.replace("\\\\", "").replace("\\|", "").count("|") if line.startswith("|") else 0
        for line in text.split("\n")
    ]
    assert all(a == b for a, b in zip(bars, bars[1:], strict=False) if a and b)


# --- no records can break it -------------------------------------------------------------------------------------

words = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("|`\n\\*_\ud800\u202e")), max_size=12)
maybe_words = st.none() | words
maybe_ns = st.none() | st.integers(0, 10**13)
maybe_tokens = st.none() | st.integers(0, 10**6)
maybe_rate = st.none() | st.floats(0, 1e6)
cell_ids = st.sampled_from(["n:e:a", "n:e:b", "n:e:c|d"])
prompt_ids = st.sampled_from(["P-EASY", "P-HARD", "P-|"])
facts = st.dictionaries(
    words, st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=2), max_size=3
)
loads = st.tuples(*[st.floats(0, 100)] * 3)

calls_ = st.builds(
    CallRecord,
    cell_id=cell_ids,
    prompt_id=prompt_ids,
    phase=st.sampled_from(["cold", "warm"]),
    run_idx=st.integers(0, 5),
    first_delta_ms=maybe_tokens,
    total_duration_ms=maybe_tokens,
    prompt_tokens=maybe_tokens,
    completion_tokens=maybe_tokens,
    tokens_per_sec=maybe_rate,
    finish_reason=maybe_words,
    backend=maybe_words,
    error=maybe_words,
    attempt=st.integers(1, 3),
    error_kind=maybe_words,
    cold_kind=maybe_words,
    cold_proven=st.none() | st.booleans(),
    cold_proof=maybe_words,
    connect_ns=maybe_ns,
    first_delta_ns=maybe_ns,
    total_duration_ns=maybe_ns,
    first_answer_ns=maybe_ns,
    tokens_per_sec_null_reason=maybe_words,
    decode_tokens_per_sec=maybe_rate,
    engine_tokens_per_sec=maybe_rate,
    cached_prompt_tokens=maybe_tokens,
    answer_chars=maybe_tokens,
    reasoning_chars=maybe_tokens,
    primed=maybe_words,
    engine_ready_ns=maybe_ns,
    call_flags=st.lists(words, max_size=2).map(tuple),
    connection_retried=st.booleans(),
)
skips = st.builds(
    lambda cell_id, why: CallRecord(
        cell_id=cell_id,
        prompt_id=None,
        phase="skipped",
        run_idx=0,
        first_delta_ms=None,
        total_duration_ms=None,
        prompt_tokens=None,
        completion_tokens=None,
        tokens_per_sec=None,
        finish_reason=None,
        backend=None,
        error=why,
    ),
    cell_ids,
    maybe_words,
)
cells_ = st.builds(
    CellRecord,
    cell_id=cell_ids,
    node=words,
    engine=words,
    label=words,
    request_model=words,
    endpoint=maybe_words,
    launched=st.booleans(),
    engine_version=maybe_words,
    engine_version_source=st.sampled_from(["engine", "cell", None, "odd"]),
    model_digest=maybe_words,
    model_digest_source=st.sampled_from(["engine", "cell", None, "odd"]),
    flags=st.lists(words, max_size=2).map(tuple),
    options=facts,
    prompt_cache=words,
    facts=facts,
    fingerprint=maybe_words,
    fingerprint_parts=st.just({}),
    engine_ready_ms=maybe_tokens,
    adapter=maybe_words,
    routes=maybe_words,
)
metas = st.builds(
    MetaRecord,
    benchmark_run_id=words,
    git_sha=maybe_words,
    git_dirty=st.none() | st.booleans(),
    harness_version=words,
    started_at_utc=words | st.just("2026-01-02T03:04:05Z"),
    host=words,
    load_avg_start=loads,
    env_route=maybe_words,
    env_llamacpp_url=st.none(),
    cells_planned=st.lists(cell_ids, max_size=3, unique=True).map(tuple),
    git_dirty_files=st.lists(words, max_size=2).map(tuple),
    git_note=maybe_words,
    prompts=st.dictionaries(prompt_ids, words, max_size=3),
    max_tokens=st.dictionaries(prompt_ids, st.integers(1, 10**6), max_size=3),
    steps_planned=st.integers(0, 100),
    warm_n=st.dictionaries(cell_ids, st.integers(0, 20), max_size=3),
    smoke=st.booleans(),
    flags=st.lists(words, max_size=2).map(tuple),
    versions=st.dictionaries(words, words, max_size=2),
    python=maybe_words,
    platform=maybe_words,
    cpu=maybe_words,
    cpu_count=st.none() | st.integers(1, 512),
    memory_bytes=st.none() | st.integers(0, 2**50),
    warnings=st.lists(words, max_size=2).map(tuple),
    concurrency=st.integers(1, 64),
    calibration=st.none() | facts,
)
ends = st.builds(
    EndRecord,
    benchmark_run_id=words,
    finished_at_utc=words | st.just("2026-01-02T04:04:05+00:00") | st.just("2026-01-02T04:04:05"),
    load_avg_end=loads,
    verdict=st.sampled_from(["valid", "unreliable", "invalid"]),
    reasons=st.lists(words, max_size=2).map(tuple),
    calls=st.integers(0, 100),
    errors=st.integers(0, 100),
    skipped=st.integers(0, 100),
    steps_planned=st.integers(0, 100),
    interrupted=st.booleans(),
    clock_drift=st.none() | st.floats(-10, 10),
)


def failing(call: CallRecord) -> CallRecord:
    """The same call, had it failed."""
    return evolve(call, error=call.error or "gone")


CROWDS: dict[str, st.SearchStrategy[list[CallRecord]]] = {
    "any": st.lists(calls_ | skips, max_size=12),
    "all failed": st.lists(calls_.map(failing), min_size=1, max_size=8),
    "all skipped": st.lists(skips, min_size=1, max_size=3),
}


@pytest.mark.parametrize("crowd", CROWDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_valid_records_give_a_page_whose_tables_hold(crowd: str, data: st.DataObject) -> None:
    meta, end = data.draw(metas), data.draw(st.none() | ends)
    cells, calls = data.draw(st.lists(cells_, max_size=3)), data.draw(CROWDS[crowd])
    baseline, judgement = build(meta, cells, calls, end), judge(meta, cells, calls, end)
    text = render(baseline, judgement)
    assert text.encode().decode() == text
    assert text.endswith("\n")
    check_tables(text)
    assert (f"\n> - {judgement.verdict}: " in text) is (judgement.verdict != "valid")
    assert render(baseline, judgement) == text
