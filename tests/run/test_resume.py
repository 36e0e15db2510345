"""Runs that die or are interrupted, and are taken up again: on a golden server, with the real runner."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from golden_runs import PROMPT, Provided, Seen, cell, git, hookimpl, plan, run

from weeyuga_core.analysis.assess import assess
from weeyuga_core.analysis.baseline import Baseline
from weeyuga_core.errors import ExitCode, GateRefused, LedgerDamaged, NothingToDo, UsageError
from weeyuga_core.interfaces import EngineAdapter, Line, SinkTarget
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.model.plan import Prompt, RunPlan
from weeyuga_core.provenance.lock import HostLock
from weeyuga_core.run import schedule
from weeyuga_core.run.progress import CallDone, CellReady, CellSkipped, Notice, ProgressEvent, RunStarted
from weeyuga_core.run.resume import gap_s
from weeyuga_core.run.runner import Outcome
from weeyuga_core.sinks import delivery
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = pytest.mark.anyio

DOWN = "http://127.0.0.1:9"
TWO = (PROMPT, Prompt(id="P-TWO", text="more", max_tokens=8))


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


class WrappedAdapter(GoldenAdapter):
    """A router that is the golden server itself."""

    def wrap(self, inner: EngineAdapter) -> None:
        """Nothing is taken from the direct cell."""


class WrappedPlugin:
    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [Provided("wrapped", "routes to nobody", f"{__name__}:WrappedAdapter")]


def two_cells(golden: str, **changes: Any) -> RunPlan:
    """Two cells with two prompts each: four units of three calls."""
    return plan([cell(golden, name="a", **changes), cell(golden, name="b", **changes)], prompts=TWO)


def pairs(golden: str) -> RunPlan:
    """Two units, one per prompt, of three pairs."""
    direct = cell(golden, name="direct")
    routed = cell(golden, name="routed", engine="wrapped", routes=direct.id)
    steps = schedule.paired([direct, routed], TWO, pairs=3)
    cells = schedule.with_planned_warm_n([direct, routed], steps)
    return attrs.evolve(plan(cells, prompts=TWO), steps=steps, routed_to=(direct,))


class Interrupt(Seen):
    """Presses Ctrl-C once that many calls are recorded."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def __call__(self, event: ProgressEvent) -> None:
        super().__call__(event)
        if len(self.of(CallDone)) == self._after and isinstance(event, CellReady | CallDone):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


async def interrupted(folder: Path, planned: RunPlan, *, after: int, **changes: Any) -> Path:
    """The ledger of a run that was interrupted after so many calls."""
    outcome, ledger = await run(folder, planned, progress=Interrupt(after), **changes)
    made = [call for call in ledger.calls if call.phase != "skipped"]
    assert (outcome.exit_code, len(made)) == (ExitCode.INTERRUPTED, after)
    return outcome.ledger_path


async def resumed(path: Path, planned: RunPlan, **changes: Any) -> tuple[Outcome, Ledger]:
    """Take the run of that ledger up again, from the folder it was begun in."""
    return await run(path.parents[1], planned, resume=path, **changes)


def rows(baseline: Baseline) -> list[tuple[str, str, bool, int, int]]:
    """Cell, prompt, whether there is a cold row, warm calls, of them failed."""
    return [
        (
            cell.cell_id,
            row.prompt_id,
            row.cold is not None,
            row.warm.n if row.warm else 0,
            row.warm.errors if row.warm else 0,
        )
        for cell in baseline.cells
        for row in cell.prompts
    ]


def check_whole(ledger: Ledger, planned: RunPlan, *, wanted: list[Any]) -> None:
    """The ledger of a run that came to its end: the rows of one that was never stopped, each of one attempt."""
    assert ledger.problems == ()
    assert ledger.digest_ok
    assert ledger.end is not None
    assert not ledger.end.interrupted
    baseline, judgement = assess(ledger)
    assert rows(baseline) == wanted
    # This host may be busy, and the client late on it: that is no fault of the second part.
    causes = ("load average", "the client was late")
    assert not [reason for reason in judgement.reasons if not reason.startswith(causes)]
    assert ledger.end.calls == len(ledger.calls)
    assert ledger.end.steps_planned == ledger.meta.steps_planned == len(planned.steps)
    shown = {(c.cell_id, r.prompt_id): r.attempt for c in baseline.cells for r in c.prompts}
    counted = Counter(
        (call.cell_id, call.prompt_id)
        for call in ledger.calls
        if shown[call.cell_id, str(call.prompt_id)] == call.attempt
    )
    assert counted == Counter((step.cell_id, step.prompt_id) for step in planned.steps)


# --- wherever it stopped ------------------------------------------------------------------------------------------


async def test_interrupted_after_any_call_and_resumed_it_gives_the_rows_of_a_whole_run(
    golden: str, tmp_path: Path
) -> None:
    planned = two_cells(golden)
    _, straight = await run(tmp_path / "straight", planned)
    wanted = rows(assess(straight)[0])
    assert len(wanted) == 4
    for after in range(len(planned.steps)):
        path = await interrupted(tmp_path / str(after), planned, after=after)
        before = path.read_bytes()
        seen = Seen()
        outcome, ledger = await resumed(path, planned, progress=seen)
        assert (outcome.exit_code, outcome.resumed, outcome.ledger_path) == (ExitCode.OK, True, path)
        assert path.read_bytes().startswith(before), "what was written stays"
        assert list(path.parent.glob("*.jsonl")) == [path]
        check_whole(ledger, planned, wanted=wanted)
        (resume,) = ledger.resumes
        repeated = after % 3
        assert resume.steps_left == len(planned.steps) - after + repeated
        assert len(ledger.calls) == len(planned.steps) + repeated
        assert {call.attempt for call in ledger.calls} == ({1, 2} if repeated else {1})
        assert resume.gap_s is not None
        (started,) = seen.of(RunStarted)
        assert (started.resumed, started.steps) == (True, resume.steps_left)
        assert [(done.number, done.of) for done in seen.of(CallDone)] == [
            (number, resume.steps_left) for number in range(1, resume.steps_left + 1)
        ]


async def test_cut_at_any_line_or_inside_one_and_resumed_it_is_whole_again(golden: str, tmp_path: Path) -> None:
    planned = two_cells(golden, warm_n=1)
    outcome, straight = await run(tmp_path / "straight", planned)
    wanted = rows(assess(straight)[0])
    lines = outcome.ledger_path.read_bytes().splitlines(keepends=True)
    whole = {sum(map(len, lines[:number])): len(lines[number]) for number in range(1, len(lines))}
    inside = {start + (1, length // 2, length - 1)[n % 3] for n, (start, length) in enumerate(whole.items())}
    for size in sorted({*whole, *inside}):
        path = tmp_path / str(size) / "runs" / outcome.ledger_path.name
        path.parent.mkdir(parents=True)
        path.write_bytes(outcome.ledger_path.read_bytes()[:size])
        seen = Seen()
        again, ledger = await resumed(path, planned, progress=seen)
        assert again.exit_code == ExitCode.OK
        check_whole(ledger, planned, wanted=wanted)
        (resume,) = ledger.resumes
        torn = size not in whole
        assert (resume.torn is not None) is torn
        assert len([event for event in seen.of(Notice) if "broken off" in event.text]) == torn
        if resume.torn is not None:
            kept = (path.parent / resume.torn).read_bytes()
            assert outcome.ledger_path.read_bytes()[:size].endswith(kept)
            assert kept


async def test_a_run_may_be_taken_up_more_than_once(golden: str, tmp_path: Path) -> None:
    planned = two_cells(golden)
    _, straight = await run(tmp_path / "straight", planned)
    path = await interrupted(tmp_path / "again", planned, after=4)
    second, _ = await resumed(path, planned, progress=Interrupt(2))
    assert second.exit_code == ExitCode.INTERRUPTED
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))  # and this time, it died
    third, _ = await resumed(path, planned, progress=Interrupt(4))
    assert third.exit_code == ExitCode.INTERRUPTED
    outcome, ledger = await resumed(path, planned)
    assert outcome.exit_code == ExitCode.OK
    check_whole(ledger, planned, wanted=rows(assess(straight)[0]))
    assert (len(ledger.resumes), len(ledger.earlier_ends)) == (3, 2)
    assert [resume.steps_left for resume in ledger.resumes] == [9, 9, 6]
    assert max(call.attempt for call in ledger.calls) == 3


async def test_a_run_that_only_lacks_its_end_gets_it(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden)])
    outcome, _ = await run(tmp_path, planned)
    path = outcome.ledger_path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    again, ledger = await resumed(path, planned)
    assert (again.exit_code, again.calls) == (ExitCode.OK, 3)
    assert ledger.resumes[0].steps_left == 0
    assert len(ledger.cells) == 1, "nobody is asked where nothing is left"


async def test_pairs_are_measured_again_as_a_whole(golden: str, tmp_path: Path) -> None:
    planned = pairs(golden)
    for after in (0, 1, 5, 6, 9):
        path = await interrupted(tmp_path / str(after), planned, after=after, extra=[WrappedPlugin()])
        outcome, ledger = await resumed(path, planned, extra=[WrappedPlugin()])
        assert outcome.exit_code == ExitCode.OK
        assert len(ledger.calls) == 12 + after % 6
        found = assess(ledger)[0].overheads
        assert [(one.prompt_id, one.pairs, one.compared) for one in found] == [("P-TEST", 3, 3), ("P-TWO", 3, 3)]
        made = Counter((call.prompt_id, call.attempt) for call in ledger.calls)
        stopped_in, aside = TWO[after // 6].id, after % 6
        again = {(stopped_in, 1): aside, (stopped_in, 2): 6} if aside else {}
        assert made == {(prompt.id, 1): 6 for prompt in TWO} | again


async def test_a_parallel_run_is_taken_up_in_whole_blocks(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden, warm_n=3, parallel=True)], prompts=TWO, concurrency=4)
    path = await interrupted(tmp_path, planned, after=1)
    outcome, ledger = await resumed(path, planned)
    assert outcome.exit_code == ExitCode.OK
    assert [load.calls for load in assess(ledger)[0].loads] == [12, 12]
    assert Counter((call.prompt_id, call.attempt) for call in ledger.calls) == {
        ("P-TEST", 1): 1,
        ("P-TEST", 2): 13,
        ("P-TWO", 1): 13,
    }


# --- cells --------------------------------------------------------------------------------------------------------


async def test_a_cell_that_was_down_is_asked_again_and_a_disabled_one_is_not(golden: str, tmp_path: Path) -> None:
    off = cell(golden, name="off", enabled=False, reason="later")
    late = cell(DOWN, name="late", warm_n=0)
    up = cell(golden, name="up")
    path = await interrupted(tmp_path, plan([off, late, up]), after=1)
    assert [call.error_kind for call in reader.read(path).calls if call.phase == "skipped"] == ["disabled", "skipped"]
    outcome, ledger = await resumed(path, plan([off, attrs.evolve(late, endpoint=golden), up]))
    assert (outcome.exit_code, outcome.skipped, outcome.disabled) == (ExitCode.OK, 1, 1)
    assert [call.cell_id for call in ledger.calls if call.phase == "skipped"] == [off.id, late.id]
    baseline, _ = assess(ledger)
    assert [(one.cell_id, one.reason) for one in baseline.skipped] == [(off.id, "later")]
    assert [(one.cell_id, len(one.prompts)) for one in baseline.cells] == [(up.id, 1), (late.id, 1)]


async def test_a_cell_that_is_still_down_is_skipped_once(golden: str, tmp_path: Path) -> None:
    down = cell(DOWN, name="down")
    planned = plan([down, cell(golden)])
    path = await interrupted(tmp_path, planned, after=2)
    outcome, ledger = await resumed(path, planned)
    assert (outcome.exit_code, outcome.skipped) == (ExitCode.INCOMPLETE, 1)
    assert len([call for call in ledger.calls if call.phase == "skipped"]) == 2
    assert [one.cell_id for one in assess(ledger)[0].skipped] == [down.id]


async def test_a_disabled_cell_whose_line_was_never_written_gets_it(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden, name="off", enabled=False, reason="later"), cell(golden)])
    outcome, _ = await run(tmp_path, planned)
    path = outcome.ledger_path
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    again, ledger = await resumed(path, planned)
    assert (again.exit_code, again.skipped) == (ExitCode.OK, 1)
    assert len([call for call in ledger.calls if call.phase == "skipped"]) == 1


def answers(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """The golden engine has that version from now on."""

    async def engine_version(self: GoldenAdapter) -> str:
        return version

    monkeypatch.setattr(GoldenAdapter, "engine_version", engine_version)


async def test_an_engine_that_was_exchanged_joins_no_calls_that_are_kept(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=4)
    answers(monkeypatch, "golden-2")
    seen = Seen()
    outcome, ledger = await resumed(path, planned, progress=seen)
    assert outcome.exit_code == ExitCode.INCOMPLETE
    (skip,) = [event.record for event in seen.of(CellSkipped)]
    assert skip.cell_id.endswith(":a")
    assert skip.error == (
        'not what answered the calls that are kept: engine_version "golden-1" then, "golden-2" now; '
        "measure it in a run of its own"
    )
    baseline, _ = assess(ledger)
    versions = {one.cell_id[-1]: one.record and one.record.engine_version for one in baseline.cells}
    assert versions == {"a": "golden-1", "b": "golden-2"}
    assert [(one.cell_id[-1], one.reason) for one in baseline.skipped] == [("a", skip.error)]
    assert [row[1] for row in rows(baseline) if row[0].endswith(":a")] == ["P-TEST", "P-TWO"]


async def test_an_engine_of_which_nothing_is_kept_may_be_exchanged(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=2)
    answers(monkeypatch, "golden-2")
    outcome, ledger = await resumed(path, planned)
    assert outcome.exit_code == ExitCode.OK
    baseline, _ = assess(ledger)
    assert [one.record and one.record.engine_version for one in baseline.cells] == ["golden-2"] * 2
    assert [(row[3], row[4]) for row in rows(baseline)] == [(2, 0)] * 4


async def test_half_a_pair_is_not_measured_on_another_engine(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = pairs(golden)
    path = await interrupted(tmp_path, planned, after=7, extra=[WrappedPlugin()])

    async def other(self: GoldenAdapter) -> str:
        return "wrapped-2"

    monkeypatch.setattr(WrappedAdapter, "engine_version", other, raising=False)
    outcome, ledger = await resumed(path, planned, extra=[WrappedPlugin()])
    assert outcome.exit_code == ExitCode.INCOMPLETE
    (skip,) = [call for call in ledger.calls if call.phase == "skipped"]
    assert skip.cell_id.endswith("routed")
    first, second = assess(ledger)[0].overheads
    assert (first.compared, first.pairs) == (3, 3)
    assert second.compared == 0


async def test_errors_of_calls_that_were_made_again_do_not_make_a_run_incomplete(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden)])
    outcome, _ = await run(tmp_path, planned)
    path = outcome.ledger_path
    meta, ready, cold, *_ = path.read_bytes().splitlines(keepends=True)
    failed = json.loads(cold) | {"error": "reset", "error_kind": "reset"}
    path.write_bytes(meta + ready + json.dumps(failed).encode() + b"\n")
    again, _ = await resumed(path, planned)
    assert (again.calls, again.errors, again.errors_aside, again.exit_code) == (4, 1, 1, ExitCode.OK)


async def test_failed_calls_of_a_whole_block_are_kept(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden, options={"status": 500})], prompts=TWO)
    path = await interrupted(tmp_path, planned, after=3)
    again, ledger = await resumed(path, planned)
    assert (again.calls, again.errors, again.errors_aside) == (6, 6, 0)
    assert again.exit_code == ExitCode.INCOMPLETE
    assert {call.attempt for call in ledger.calls} == {1}


# --- the gap --------------------------------------------------------------------------------------------------------


RESUMED = Path(__file__).parents[1] / "golden" / "ledger_v1_resumed.jsonl"


@pytest.mark.parametrize(
    ("lines", "gap"),
    [
        (8, 1860.5),  # from the end of the interrupted part, at 02:00:47.000
        (7, 1863.49),  # from the end of the last call, which began at 02:00:14.000 and took 30.010 s
        (3, 1904.55),  # from when the cell was ready, at 02:00:02.950
        (1, 1907.5),  # from the start of the run, at 02:00:00.000
        (9, 0.0),  # from the last time it was taken up
    ],
)
def test_the_gap_runs_from_the_last_time_that_the_ledger_knows_of(tmp_path: Path, lines: int, gap: float) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(RESUMED.read_bytes().splitlines(keepends=True)[:lines]))
    assert gap_s(reader.read(path), "2026-04-29T02:31:47.500Z") == gap
    assert gap_s(reader.read(path), "2026-04-29T02:31:46.500Z") == round(gap - 1, 3), "a clock that was set back"


def test_a_ledger_of_another_hand_may_know_no_time(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    meta = json.loads(RESUMED.read_bytes().splitlines()[0])
    path.write_text(json.dumps(meta | {"started_at_utc": "yesterday"}) + "\n")
    assert gap_s(reader.read(path), "2026-04-29T02:31:47.500Z") is None
    path.write_text(json.dumps(meta | {"started_at_utc": "2026-04-29T02:31:00"}) + "\n")
    assert gap_s(reader.read(path), "2026-04-29T02:31:47.500Z") == 47.5


# --- refusals -------------------------------------------------------------------------------------------------------


async def test_a_run_that_came_to_its_end_leaves_nothing_to_do(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden, warm_n=0)])
    outcome, _ = await run(tmp_path, planned)
    with pytest.raises(NothingToDo, match="came to its end"):
        await resumed(outcome.ledger_path, planned)


async def test_a_run_that_died_before_its_first_record_is_no_run(golden: str, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "x.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"type":"meta","ben')
    with pytest.raises(NothingToDo, match="before the first record"):
        await resumed(path, plan([cell(golden)]))


@pytest.mark.parametrize("how", ["a line taken out", "a byte changed"])
async def test_a_changed_ledger_is_not_gone_on_with(golden: str, tmp_path: Path, how: str) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=4)
    lines = path.read_bytes().splitlines(keepends=True)
    spoiled = lines[:2] + lines[3:] if how.startswith("a line") else [*lines[:-1], lines[-1]]
    if how == "a byte changed":
        spoiled[2] = spoiled[2].replace(b'"attempt":1', b'"attempt":3')
    path.write_bytes(b"".join(spoiled))
    with pytest.raises(LedgerDamaged, match="the ledger was changed after it was written"):
        await resumed(path, planned)
    assert path.read_bytes() == b"".join(spoiled)


def changed_plans(golden: str) -> dict[str, RunPlan]:
    a, b = (cell(golden, name=name) for name in "ab")
    louder = attrs.evolve(TWO[1], text="MORE")
    longer = attrs.evolve(TWO[1], max_tokens=9)
    return {
        r"cell here:golden:b: was planned then, and is not now.*\n.*planned calls: 12 then, 6 now": plan(
            [a], prompts=TWO
        ),
        "cell here:golden:c: was not planned then, and is now": plan([a, b, cell(golden, name="c")], prompts=TWO),
        "cell here:golden:a: warm calls per prompt: 2 then, 1 now": plan([attrs.evolve(a, warm_n=1), b], prompts=TWO),
        "prompt P-TWO: was planned then, and is not now": plan([a, b]),
        f"prompt P-TWO: sha256: {TWO[1].sha256} then, {louder.sha256} now": plan([a, b], prompts=(PROMPT, louder)),
        "prompt P-TWO: max_tokens: 8 then, 9 now": plan([a, b], prompts=(PROMPT, longer)),
        r"streams at once \(--concurrency\): 1 then, 2 now": plan([a, b], prompts=TWO, concurrency=2),
        "--smoke: False then, True now": attrs.evolve(
            plan([a], prompts=TWO), smoke=True, steps=schedule.smoke([a], TWO)
        ),
        "options of a cell, or the schedule, must differ": plan([attrs.evolve(a, options={}), b], prompts=TWO),
    }


@pytest.mark.parametrize("words", changed_plans("http://golden.invalid"))
async def test_another_plan_is_refused_with_what_differs(golden: str, tmp_path: Path, words: str) -> None:
    path = await interrupted(tmp_path, two_cells(golden), after=1)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"(?s){words}.*same options as before"):
        await resumed(path, changed_plans(golden)[words])
    assert path.read_bytes() == before


async def test_a_run_goes_on_with_the_stamps_it_was_begun_with(golden: str, tmp_path: Path) -> None:
    path = await interrupted(tmp_path, two_cells(golden), after=1)
    with pytest.raises(UsageError, match=r"--kernel-stamps: False then, True now"):
        await resumed(path, two_cells(golden), kernel_stamps=True)


def edit_meta(path: Path, **changes: Any) -> None:
    """The ledger as if its run had been begun so, and had died."""
    meta, *rest = path.read_bytes().splitlines(keepends=True)[:-1]
    path.write_bytes(json.dumps(json.loads(meta) | changes).encode() + b"\n" + b"".join(rest))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"harness_version": "0"}, "harness_version: 0 then, 1 now"),
        ({"host": "another"}, "host: another then, .* now"),
        ({"git_sha": "abc"}, "git commit: abc then, none now"),
        ({"versions": {"weeyuga-bench": "0.0.1", "gone": "1"}}, r"weeyuga-bench: 0\.0\.1 then, \d.* now"),
    ],
)
async def test_another_harness_host_or_commit_is_refused_with_both_figures(
    golden: str, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    planned = plan([cell(golden)])
    path = await interrupted(tmp_path, planned, after=1)
    edit_meta(path, **changes)
    before = path.read_bytes()
    with pytest.raises(GateRefused, match=words) as caught:
        await resumed(path, planned)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert caught.value.message.count("\n") == 1, "only what differs is listed"
    assert path.read_bytes() == before


async def test_a_commit_in_between_is_refused(golden: str, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "cells.yaml").write_text("cells: []\n")
    git(tmp_path, "add", "cells.yaml")
    git(tmp_path, "commit", "-q", "-m", "cells")
    planned = plan([cell(golden)])
    path = await interrupted(tmp_path, planned, after=1)
    first = git(tmp_path, "rev-parse", "HEAD").strip()
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "more")
    second = git(tmp_path, "rev-parse", "HEAD").strip()
    with pytest.raises(GateRefused, match=f"git commit: {first} then, {second} now"):
        await resumed(path, planned)
    git(tmp_path, "checkout", "-q", first)
    (tmp_path / "notes.txt").write_text("not committed")
    with pytest.raises(GateRefused, match="--allow-dirty"):
        await resumed(path, planned)
    outcome, ledger = await resumed(path, planned, allow_dirty=True)
    assert outcome.exit_code == ExitCode.OK
    assert ledger.resumes[0].git_dirty_files == ("?? notes.txt", "?? runs/")
    assert "--allow-dirty" in ledger.resumes[0].flags


async def test_the_other_gates_are_asked_again_and_leave_the_ledger_alone(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=1)
    path.write_bytes(path.read_bytes() + b'{"type":"resu')
    before = sorted((one.name, one.read_bytes()) for one in path.parent.iterdir() if one.is_file())
    with HostLock("another-run"), pytest.raises(GateRefused, match="another-run"):
        await resumed(path, planned)
    monkeypatch.setattr(os, "getloadavg", lambda: (4.01, 1.0, 1.0))
    with pytest.raises(GateRefused, match=r"4\.01"):
        await resumed(path, planned, force_load=False)
    assert sorted((one.name, one.read_bytes()) for one in path.parent.iterdir() if one.is_file()) == before
    outcome, ledger = await resumed(path, planned)
    assert outcome.verdict == "unreliable"
    assert any("4.01" in reason for reason in outcome.reasons)
    assert any("4.01" in warning for warning in ledger.resumes[0].warnings)
    assert ledger.resumes[0].torn is not None


async def test_a_run_for_publication_stays_one(golden: str, tmp_path: Path) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=6, for_publication=True)
    dead = DOWN
    cells = {one.id[-1]: one for one in planned.cells}
    with pytest.raises(GateRefused, match="here:golden:b"):
        await resumed(path, attrs.evolve(planned, cells=(cells["a"], attrs.evolve(cells["b"], endpoint=dead))))
    # What is measured already need not answer any more.
    outcome, _ = await resumed(path, attrs.evolve(planned, cells=(attrs.evolve(cells["a"], endpoint=dead), cells["b"])))
    assert outcome.exit_code == ExitCode.OK


# --- sinks ----------------------------------------------------------------------------------------------------------


class KeepingSink:
    """Keeps what it is given, per process."""

    made: list[KeepingSink] = []

    def __init__(self, target: SinkTarget) -> None:
        self.target = target
        self.pieces: list[list[int]] = []
        self.first_call_after: int | None = None
        self.ended: object = None
        KeepingSink.made.append(self)

    async def open(self, meta: object) -> None:
        return None

    async def deliver(self, lines: Sequence[Line]) -> None:
        self.pieces.append([line.seq for line in lines])

    async def close(self, end: object) -> None:
        self.ended = end


class KeepingPlugin:
    @hookimpl
    def weeyuga_result_sinks(self) -> list[Provided]:
        return [Provided("keeping", "keeps", f"{__name__}:KeepingSink")]


async def test_every_sink_is_given_the_whole_ledger(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PIECE_LINES", 2)
    KeepingSink.made.clear()
    planned = two_cells(golden)
    copy = tmp_path / "copy.jsonl"
    sinks = (("keeping", None), ("jsonl", str(copy)), ("markdown", None))
    path = await interrupted(tmp_path, planned, after=4, extra=[KeepingPlugin()], sinks=sinks)
    assert copy.read_bytes() == path.read_bytes()
    first_lines = reader.read(path).lines
    outcome, ledger = await resumed(path, planned, extra=[KeepingPlugin()], sinks=sinks)
    assert outcome.sink_problems == ()
    first, second = KeepingSink.made
    assert (first.target.resumed, second.target.resumed) == (False, True)
    assert first.target.side_dir == second.target.side_dir == str(path.with_suffix(".d"))
    assert [seq for piece in second.pieces for seq in piece] == list(range(ledger.lines))
    assert max(map(len, second.pieces[: first_lines // 2])) == 2
    assert second.ended == attrs.evolve(ledger.end, seq=0, record_count=0, ledger_sha256=None)
    assert copy.read_bytes() == path.read_bytes()
    assert "note: resumed once" in path.with_suffix(".md").read_text()


async def test_a_sink_that_joins_late_gets_a_whole_copy(golden: str, tmp_path: Path) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=4)
    copy = tmp_path / "copy.jsonl"
    outcome, _ = await resumed(path, planned, sinks=(("jsonl", str(copy)),))
    assert outcome.sink_problems == ()
    assert copy.read_bytes() == path.read_bytes()


async def test_an_interruption_at_once_leaves_no_hole_in_a_copy(golden: str, tmp_path: Path) -> None:
    planned = two_cells(golden)
    path = await interrupted(tmp_path, planned, after=4)
    copy = tmp_path / "copy.jsonl"

    def at_once(event: ProgressEvent) -> None:
        if isinstance(event, RunStarted):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    await resumed(path, planned, sinks=(("jsonl", str(copy)),), progress=at_once)
    assert copy.read_bytes() == path.read_bytes()
    assert reader.read(path).end is not None
