"""Whole runs through the reference brain: pairs, blocks, and what happens when one of the two ways is gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden_runs
import pytest
from conditions import wait_until
from golden_runs import PROMPT, Seen
from reference_brains import reference_brain

from weeyuga_core.analysis.pairs import overheads
from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode, UsageError
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.model.plan import Cell, Prompt, RunPlan
from weeyuga_core.model.records import CallRecord
from weeyuga_core.model.tags import trace_ids
from weeyuga_core.run import schedule
from weeyuga_core.run.progress import Notice
from weeyuga_core.run.runner import Outcome

OTHER = Prompt(id="P-OTHER", text="more", max_tokens=8)


@pytest.fixture(scope="module")
def brain(golden: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with reference_brain(golden, tmp_path_factory.mktemp("brain")) as url:
        yield url


def ways(golden: str, brain: str, **changes: Any) -> tuple[Cell, Cell]:
    """A direct cell and one routed to it."""
    direct = golden_runs.cell(golden, name="direct", **changes)
    return direct, golden_runs.cell(brain, name="routed", engine="brain-routed", routes=direct.id, **changes)


def paired(cells: tuple[Cell, Cell], *, pairs: int, prompts: tuple[Prompt, ...] = (PROMPT,), **changes: Any) -> RunPlan:
    steps = schedule.paired(cells, prompts, pairs=pairs)
    known: dict[str, Any] = {"pace_s": 0.0, "brain_hosts": ("127.0.0.1",), "routed_to": cells[:1]}
    counted = schedule.with_planned_warm_n(cells, steps)
    return RunPlan(cells=counted, prompts=prompts, steps=steps, **known | changes)


def run(folder: Path, plan: RunPlan, **changes: Any) -> tuple[Outcome, Ledger]:
    return asyncio.run(golden_runs.run(folder, plan, **changes))


def test_pairs_are_recorded_in_their_order_with_who_answered(golden: str, brain: str, tmp_path: Path) -> None:
    outcome, ledger = run(tmp_path, paired(ways(golden, brain), pairs=3))
    assert outcome.exit_code == ExitCode.OK
    assert [(call.cell_id.split(":")[-1], call.pair_id, call.backend, call.error) for call in ledger.calls] == [
        ("direct", 0, "golden", None),
        ("routed", 0, "golden", None),
        ("routed", 1, "golden", None),
        ("direct", 1, "golden", None),
        ("direct", 2, "golden", None),
        ("routed", 2, "golden", None),
    ]
    direct, routed = ledger.cells
    assert (routed.routes, routed.engine) == (direct.cell_id, "brain-routed")
    assert (routed.engine_version, routed.model_digest) == (direct.engine_version, direct.model_digest)
    assert {"weeyuga-bench-brain-routed", "test-plugin-0"} <= set(ledger.meta.versions)
    (found,) = overheads(ledger.cells, ledger.calls)
    assert (found.pairs, found.compared, found.buffered) == (3, 3, 0)


def test_each_way_is_primed_once_for_each_prompt(golden: str, brain: str, tmp_path: Path) -> None:
    seen = Seen()
    _, ledger = run(tmp_path, paired(ways(golden, brain), pairs=2, prompts=(PROMPT, OTHER)), progress=seen)
    primed = [(call.cell_id.split(":")[-1], call.prompt_id, call.run_idx) for call in ledger.calls if call.primed]
    assert primed == [(way, prompt, 0) for prompt in ("P-TEST", "P-OTHER") for way in ("direct", "routed")]
    assert {call.primed for call in ledger.calls} == {
        None,
        "no call came before",
        "the call before had the prompt P-TEST",
    }
    assert len([event for event in seen.of(Notice) if "priming call" in event.text]) == 4


def test_the_pace_is_that_of_the_engine_behind_both(golden: str, brain: str, tmp_path: Path) -> None:
    pace_s = 0.2
    began = time.monotonic()
    _, ledger = run(tmp_path, paired(ways(golden, brain), pairs=2, pace_s=pace_s))
    # Four calls and one priming call each way: five rests between their starts, which no machine can shorten.
    assert (len(ledger.calls), sum(call.primed is not None for call in ledger.calls)) == (4, 2)
    assert time.monotonic() - began >= 5 * pace_s


def test_a_router_that_holds_back_shows_in_the_pairs(golden: str, tmp_path: Path) -> None:
    slow = {"chunks": 30, "interval_us": 15_000, "first_delay_us": 30_000}
    with reference_brain(golden, tmp_path, "--buffer") as url:
        _, ledger = run(tmp_path, paired(ways(golden, url, options=slow), pairs=2))
    held = {call.pair_id for call in ledger.calls if "routed" in call.cell_id and is_held_back(call)}
    assert held == {0, 1}
    (found,) = overheads(ledger.cells, ledger.calls)
    # A direct call looks like that too when this machine stops its client for most of the answer.
    fine = {call.pair_id for call in ledger.calls if "direct" in call.cell_id and not is_held_back(call)}
    assert (found.compared, found.buffered) == (2, len(fine))


def is_held_back(call: CallRecord) -> bool:
    return any(flag.startswith("buffered:") for flag in call.call_flags)


def test_every_call_is_tagged_with_its_own_record(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path) as url:
        _, ledger = run(tmp_path, paired(ways(golden, url), pairs=2))
        (log,) = tmp_path.glob("brain-*.log")
        wait_until(lambda: log.read_text().count("\n") == 1 + 2, "an envelope for each call")
    told = [json.loads(line) for line in log.read_text().splitlines()]
    routed = [call for call in ledger.calls if "routed" in call.cell_id]
    run_id = ledger.meta.benchmark_run_id
    # The priming call bears the tags of the call that it prepares.
    assert [one["trace"]["id"] for one in told] == [trace_ids(run_id, call.seq)[0] for call in (routed[0], *routed)]
    assert [one["metadata"] for one in told[1:]] == [
        {
            "test": True,
            "benchmark_run_id": run_id,
            "benchmark_cell_id": call.cell_id,
            "benchmark_prompt_id": call.prompt_id,
            "benchmark_phase": "warm",
            "benchmark_run_idx": call.run_idx,
        }
        for call in routed
    ]


def test_a_routed_cell_can_be_measured_in_blocks_without_its_direct_one(
    golden: str, brain: str, tmp_path: Path
) -> None:
    direct, routed = ways(golden, brain)
    plan = golden_runs.plan([routed], brain_hosts=("127.0.0.1",), routed_to=(direct,))
    outcome, ledger = run(tmp_path, plan)
    assert [(call.phase, call.error) for call in ledger.calls] == [("cold", None), ("warm", None), ("warm", None)]
    assert ledger.calls[0].cold_kind == "process_warm", "the claim of the direct cell's adapter"
    assert outcome.exit_code == ExitCode.OK


def test_half_a_pair_is_worth_no_call(golden: str, tmp_path: Path) -> None:
    outcome, ledger = run(tmp_path, paired(ways(golden, "http://127.0.0.1:9"), pairs=5))
    assert [(call.cell_id.split(":")[-1], call.phase) for call in ledger.calls] == [
        ("routed", "skipped"),
        ("direct", "skipped"),
    ]
    assert str(ledger.calls[0].error).startswith("down: the router: ")
    assert ledger.calls[1].error == "the other cell of its pairs is not measured"
    assert outcome.exit_code == ExitCode.INCOMPLETE


def test_a_call_that_fails_drops_its_pair_and_keeps_its_number(golden: str, tmp_path: Path) -> None:
    with reference_brain("http://127.0.0.1:9", tmp_path) as url:
        _, ledger = run(tmp_path, paired(ways(golden, url), pairs=2))
    failed = [call for call in ledger.calls if call.error]
    assert [call.pair_id for call in failed] == [0, 1]
    (found,) = overheads(ledger.cells, ledger.calls)
    assert (found.pairs, found.compared, found.dropped) == (2, 0, {"routed call failed: http_502": 2})


def test_a_host_that_is_not_listed_stops_the_run_before_it_starts(golden: str, brain: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1 is not listed"):
        run(tmp_path, paired(ways(golden, brain), pairs=1, brain_hosts=()))
    assert not list(tmp_path.glob("runs/*"))


def test_an_engine_that_cannot_route_and_a_router_without_a_cell_are_refused(golden: str, tmp_path: Path) -> None:
    direct = golden_runs.cell(golden, name="direct")
    wrong = golden_runs.cell(golden, name="wrong", routes=direct.id)
    with pytest.raises(UsageError, match="the golden plugin cannot route"):
        run(tmp_path, golden_runs.plan([wrong], routed_to=(direct,)))
    routed = golden_runs.cell(golden, name="r", engine="brain-routed", routes=direct.id)
    with pytest.raises(UsageError, match="the plan holds no cell here:golden:direct"):
        run(tmp_path, golden_runs.plan([routed], brain_hosts=("127.0.0.1",)))
    lost = golden_runs.cell(golden, name="lost", engine="brain-routed")
    with pytest.raises(UsageError, match="it names no cell to route to"):
        run(tmp_path, golden_runs.plan([lost], brain_hosts=("127.0.0.1",)))


# --- the command --------------------------------------------------------------------------------------------------

CELLS = """\
cells:
  - {{id: here:llamacpp:m, endpoint: "{golden}"}}
  - {{id: here:llamacpp:off, endpoint: "{golden}", enabled: false, reason: later}}
  - {{id: here:brain-routed:m, endpoint: "{golden}", routes: here:llamacpp:m}}
  - {{id: here:brain-routed:off, endpoint: "{golden}", routes: here:llamacpp:off}}
brain: {{hosts: [127.0.0.1]}}
"""


def planned(
    golden: str, folder: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[dict[str, Any]], str]:
    (folder / "cells.yaml").write_text(CELLS.format(golden=golden))
    code = main(["run", "--cells-yaml", str(folder / "cells.yaml"), "--dry-run", "--json", *options])
    told = capsys.readouterr()
    return code, json.loads(told.out)["data"]["steps"] if told.out else [], told.err


def test_a_paired_run_is_planned_by_naming_the_routed_cell(
    golden: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--schedule", "paired", "--cells", "here:brain-routed:m", "--prompts", "P-EASY")
    code, steps, _ = planned(golden, tmp_path, capsys, *options)
    assert (code, len(steps)) == (0, 60)
    assert {step["cell_id"] for step in steps} == {"here:llamacpp:m", "here:brain-routed:m"}
    assert len(planned(golden, tmp_path, capsys, *options, "--pairs", "7")[1]) == 14


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--schedule", "paired", "--cells", "here:llamacpp:m"), "no selected cell is a routed one"),
        (("--schedule", "paired", "--cells", "here:brain-routed:off"), "here:llamacpp:off is not enabled"),
        (("--schedule", "paired", "--smoke"), "goes with neither --smoke nor --warm-n"),
        (("--schedule", "paired", "--warm-n", "3"), "goes with neither --smoke nor --warm-n"),
        (("--pairs", "3"), "only --schedule paired measures in pairs"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    golden: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    code, _, said = planned(golden, tmp_path, capsys, *options)
    assert code == 2
    assert words in said


def test_probe_asks_router_and_engine(
    golden: str, brain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.yaml"
    path.write_text(
        "cells:\n"
        "  - {id: here:llamacpp:gone, endpoint: 'http://127.0.0.1:9'}\n"
        f"  - {{id: here:brain-routed:m, endpoint: '{brain}', routes: here:llamacpp:gone}}\n"
        "brain: {hosts: [127.0.0.1]}\n"
    )
    assert main(["probe", "--cells-yaml", str(path), "--cells", "here:brain-routed:m"]) == 3
    assert "the engine behind the router: " in capsys.readouterr().out
