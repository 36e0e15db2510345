"""What a baseline takes from which calls, and in which order it stands."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from weeyuga_core.analysis.baseline import build, to_json
from weeyuga_core.model.records import CallRecord

Make = Callable[..., Any]


def test_the_names_of_the_batch_figures_are_the_keys_of_the_json(
    meta: Make, cell: Make, end: Make, block_calls: list[CallRecord]
) -> None:
    plain = json.loads(json.dumps(to_json(build(meta(), [cell()], block_calls, end())), allow_nan=False))
    row = plain["cells"][0]["prompts"][0]
    assert row["cold"]["first_delta_ms"] == 100
    assert row["cold"]["total_duration_ms"] == 300
    assert row["warm"]["first_delta_ms"]["p50"] == 100
    assert row["warm"]["first_delta_ms"]["p95"] == 100
    assert row["warm"]["total_duration_ms"]["p50"] == 300
    assert row["warm"]["total_duration_ms"]["p95"] == 300
    assert row["warm"]["tokens_per_sec"]["mean"] == 100.0
    assert row["warm"]["success_rate"] == 1.0
    assert plain["meta"]["type"] == "meta"
    assert plain["end"]["type"] == "end"
    assert plain["cells"][0]["record"]["cell_id"] == "mac:echo:tiny"


def test_percentiles_come_from_the_nanoseconds(meta: Make, cell: Make, call: Make) -> None:
    calls = [call("warm", i, first_delta_ns=ns, first_delta_ms=100) for i, ns in enumerate((100_100_000, 100_300_000))]
    warm = build(meta(), [cell()], calls).cells[0].prompts[0].warm
    assert warm is not None
    assert warm.first_delta_ms.p50 == 100.2
    assert warm.first_delta_ms.p95 == pytest.approx(100.29)


def test_a_ledger_without_nanoseconds_is_read_by_its_milliseconds(meta: Make, cell: Make, call: Make) -> None:
    calls = [call(phase, first_delta_ns=None, total_duration_ns=None) for phase in ("cold", "warm")]
    row = build(meta(), [cell()], calls).cells[0].prompts[0]
    assert row.cold is not None
    assert row.warm is not None
    assert (row.cold.first_delta_ms, row.cold.total_duration_ms) == (100.0, 300.0)
    assert (row.warm.first_delta_ms.p50, row.warm.total_duration_ms.p50) == (100.0, 300.0)


def test_failed_calls_enter_no_figure_but_the_success_rate(meta: Make, cell: Make, call: Make) -> None:
    failed = call("warm", 1, error="reset", first_delta_ns=9_000_000_000, tokens_per_sec=1.0, finish_reason="error")
    warm = build(meta(), [cell()], [call("cold"), call("warm", 0), failed]).cells[0].prompts[0].warm
    assert warm is not None
    assert (warm.n, warm.errors, warm.success_rate) == (2, 1, 0.5)
    assert (warm.first_delta_ms.n, warm.first_delta_ms.max) == (1, 100.0)
    assert warm.tokens_per_sec.mean == 100.0
    assert warm.finish_reasons == {"stop": 1}


def test_a_failed_cold_call_has_no_figures(meta: Make, cell: Make, call: Make) -> None:
    cold = build(meta(), [cell()], [call("cold", error="reset")]).cells[0].prompts[0].cold
    assert cold is not None
    assert (cold.error, cold.cold_kind) == ("reset", "process_start")
    assert (cold.first_delta_ms, cold.total_duration_ms, cold.completion_tokens, cold.tokens_per_sec) == (None,) * 4


def test_a_missing_rate_leaves_the_mean_to_the_others(meta: Make, cell: Make, call: Make) -> None:
    calls = [call("warm", 0, tokens_per_sec=None), call("warm", 1, tokens_per_sec=40.0)]
    warm = build(meta(), [cell()], calls).cells[0].prompts[0].warm
    assert warm is not None
    assert (warm.tokens_per_sec.n, warm.tokens_per_sec.mean, warm.first_delta_ms.n) == (1, 40.0, 2)


def test_a_phase_without_calls_has_no_row(meta: Make, cell: Make, call: Make) -> None:
    only_cold = build(meta(), [cell()], [call("cold")]).cells[0].prompts[0]
    only_warm = build(meta(), [cell()], [call("warm")]).cells[0].prompts[0]
    assert only_cold.warm is None
    assert only_warm.cold is None


def test_cells_and_prompts_stand_in_the_order_of_the_plan(meta: Make, cell: Make, call: Make) -> None:
    planned = meta(cells_planned=("n:e:second", "n:e:first"), prompts={"P-B": "0", "P-A": "1"})
    calls = [
        call(cell_id=cell_id, prompt_id=prompt_id)
        for cell_id in ("n:e:first", "n:e:unplanned", "n:e:second")
        for prompt_id in ("P-NEW", "P-A", "P-B")
    ]
    baseline = build(planned, [cell(cell_id="n:e:first")], calls)
    assert [one.cell_id for one in baseline.cells] == ["n:e:second", "n:e:first", "n:e:unplanned"]
    assert baseline.prompts == ("P-B", "P-A", "P-NEW")
    assert [row.prompt_id for row in baseline.cells[0].prompts] == ["P-B", "P-A", "P-NEW"]


def test_the_last_complete_attempt_is_taken(meta: Make, cell: Make, call: Make) -> None:
    def attempt(number: int, ms: int, warm: int) -> list[CallRecord]:
        timed = {"attempt": number, "first_delta_ns": ms * 1_000_000}
        return [call("cold", **timed), *(call("warm", i, **timed) for i in range(warm))]

    def shown(calls: list[CallRecord]) -> tuple[int, int, float | None]:
        row = build(meta(), [cell()], calls).cells[0].prompts[0]
        assert row.warm is not None
        return row.attempt, row.warm.n, row.warm.first_delta_ms.p50

    assert shown(attempt(1, 10, 1) + attempt(2, 20, 2)) == (2, 2, 20.0)
    assert shown(attempt(1, 10, 2) + attempt(2, 20, 2)) == (2, 2, 20.0)
    assert shown(attempt(1, 10, 2) + attempt(2, 20, 1)) == (1, 2, 10.0)
    assert shown(attempt(1, 10, 1) + attempt(2, 20, 1)) == (2, 1, 20.0)


def test_across_prompts_is_the_mean_of_the_rows_that_have_the_figure(meta: Make, cell: Make, call: Make) -> None:
    calls = [
        call("cold", prompt_id="P-A", total_duration_ns=100_000_000),
        call("cold", prompt_id="P-B", total_duration_ns=300_000_000, tokens_per_sec=None),
        *(call("warm", i, prompt_id="P-A", first_delta_ns=ms * 1_000_000) for i, ms in enumerate((10, 20, 90))),
        call("warm", prompt_id="P-B", first_delta_ns=40_000_000),
        call("warm", prompt_id="P-C", error="gone"),
    ]
    across = build(meta(), [cell()], calls).cells[0].across
    assert (across.cold.prompts, across.cold.total_duration_ms.value) == (2, 200.0)
    assert (across.cold.tokens_per_sec.prompts, across.cold.tokens_per_sec.value) == (1, 100.0)
    # The medians are 20 and 40; the third prompt has a row and no figure.
    assert (across.warm.prompts, across.warm.first_delta_ms.prompts, across.warm.first_delta_ms.value) == (3, 2, 30.0)


def test_skipped_and_unreached_cells_are_told_apart_from_measured_ones(meta: Make, call: Make) -> None:
    planned = meta(cells_planned=("n:e:here", "n:e:never"))
    calls = [
        call("skipped", cell_id="n:e:down", prompt_id=None, error="connection refused"),
        call(cell_id="n:e:here"),
        call("skipped", cell_id="n:e:here", prompt_id=None, error="the server died"),
    ]
    baseline = build(planned, [], calls)
    assert [one.cell_id for one in baseline.cells] == ["n:e:here"]
    assert [(one.cell_id, one.reason) for one in baseline.skipped] == [
        ("n:e:here", "the server died"),
        ("n:e:never", "no call recorded: the run ended before this cell"),
        ("n:e:down", "connection refused"),
    ]


@pytest.mark.parametrize(("streams", "parallel"), [(1, None), (8, 8)])
def test_a_run_with_several_streams_is_a_parallel_baseline(meta: Make, streams: int, parallel: int | None) -> None:
    assert build(meta(concurrency=streams), [], []).parallel == parallel
