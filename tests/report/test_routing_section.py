"""What a report says of routers: in the baseline, and by `overhead`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from weeyuga_core.analysis.baseline import build, to_json
from weeyuga_core.analysis.verdict import judge
from weeyuga_core.cli import main
from weeyuga_core.model.records import CallRecord, to_line
from weeyuga_core.report.markdown import render

DIRECT, ROUTED = "mac:echo:tiny", "mac:router:tiny"
FIRST_NS = 100_000_000


def paired(run: Any, *, pairs: int = 8, costs_ns: int = 2_500_000, **routed: Any) -> Any:
    """The run with pairs instead of its calls: each routed call costs that much more than the direct one."""
    template: CallRecord = next(call for call in run.calls if call.cell_id == DIRECT and call.phase == "warm")

    def call(cell_id: str, pair_id: int, first_ns: int, **more: Any) -> CallRecord:
        return evolve(
            template,
            cell_id=cell_id,
            pair_id=pair_id,
            run_idx=pair_id,
            seq=2 * pair_id + (cell_id == ROUTED) + 3,
            first_delta_ns=first_ns,
            total_duration_ns=first_ns + 300_000_000,
            **more,
        )

    calls = tuple(
        one
        for i in range(pairs)
        for one in (call(DIRECT, i, FIRST_NS), call(ROUTED, i, FIRST_NS + costs_ns + i * 1_000, **routed))
    )
    direct = run.cells[0]
    router = evolve(direct, cell_id=ROUTED, engine="router", routes=DIRECT, launched=False, flags=(), seq=2)
    meta = evolve(run.meta, cells_planned=(DIRECT, ROUTED), warm_n={DIRECT: pairs, ROUTED: pairs}, prompts={})
    return evolve(run, meta=meta, cells=(direct, router), calls=calls, end=evolve(run.end, reasons=(), seq=100))


def page(run: Any) -> str:
    baseline = build(run.meta, run.cells, run.calls, run.end)
    return render(baseline, judge(run.meta, run.cells, run.calls, run.end))


def written(run: Any, folder: Path) -> Path:
    path = folder / "run.jsonl"
    path.write_bytes(b"".join(to_line(record) for record in (run.meta, *run.cells, *run.calls, run.end)))
    return path


def test_the_section_stands_last_and_tells_cost_and_interval(run: Any) -> None:
    text = page(paired(run))
    section = text[text.index("\n## Routing overhead") :]
    assert section.count("\n## ") == 1, "nothing follows it"
    assert f"### {ROUTED} against {DIRECT}" in section
    row = next(line for line in section.splitlines() if line.startswith("| P-EASY"))
    # Costs of 2.500 to 2.507 ms, one a pair: the median of all means of two is 2.5035, the interval of 8 values runs
    # from the 4th of those means to the 4th last.
    assert [text.strip() for text in row.strip("|").split("|")][1:7] == [
        "+2.50",
        "+2.50..+2.51",
        "+2.50",
        "+2.50..+2.51",
        "8",
        "0",
    ]
    assert row.rstrip(" |").endswith("no")


def test_a_run_without_pairs_has_no_section(run: Any) -> None:
    assert "Routing overhead" not in page(run)
    assert to_json(build(run.meta, run.cells, run.calls, run.end))["overheads"] == ()


def test_what_spoils_a_pair_is_noted(run: Any) -> None:
    held = page(paired(run, call_flags=("buffered: x",), completion_tokens=3))
    assert "8 of 8 routed answers came in bursts" in held
    assert "in 8 of 8 pairs the answers have different numbers of tokens" in held
    dropped = page(paired(run, error="gone | away", error_kind="reset"))
    assert "8 of 8 pairs dropped: routed call failed: reset" in dropped
    assert "5 pairs give no 95 % interval; it takes 6" in page(paired(run, pairs=5))


def test_the_pairs_of_a_run_are_no_blocks_that_lack_a_cold_call(run: Any) -> None:
    assert "no cold call recorded" not in page(paired(run))


def test_overhead_prints_the_same_figures(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(paired(run), tmp_path)
    assert main(["overhead", str(path)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(ROUTED))
    assert row.split()[:6] == [ROUTED, "P-EASY", "+2.50", "+2.50..+2.51", "+2.50", "+2.50..+2.51"]
    assert main(["overhead", str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "weeyuga.overhead.v1"
    (data,) = answer["data"]
    assert data["first_delta"]["estimate_ms"] == pytest.approx(2.5035)
    assert (data["first_delta"]["low_ms"], data["first_delta"]["n"]) == (pytest.approx(2.501), 8)
    assert data["first_delta_resolved"] is True
    assert (data["compared"], data["direct"]) == (8, DIRECT)


def test_overhead_of_a_run_without_pairs_says_how_to_make_some(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["overhead", str(written(run, tmp_path))]) == 5
    assert "run --schedule paired" in capsys.readouterr().err
