"""What analysis makes of a run that was taken up again: attempts, skipped lines, engines and the verdict."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from attrs import evolve

from weeyuga_core.analysis.baseline import build, to_json
from weeyuga_core.analysis.blocks import blocks, skipped
from weeyuga_core.analysis.verdict import Judgement, judge
from weeyuga_core.model.records import CallRecord

Make = Callable[..., Any]
OTHER = "mac:echo:other"


def numbered(*records: Any) -> list[Any]:
    """The records as they would stand in a ledger, from line 1 on."""
    seqs = count(1)
    return [evolve(record, seq=next(seqs)) for record in records]


def of_kind(records: list[Any], kind: str) -> list[Any]:
    return [record for record in records if kind == record.TYPE]


@pytest.fixture
def skip(call: Make) -> Callable[[str], CallRecord]:
    def make(reason: str, **changes: Any) -> CallRecord:
        return call("skipped", prompt_id=None, error=reason, **changes)

    return make


@pytest.fixture
def judged(meta: Make, cell: Make, end: Make, block_calls: list[CallRecord]) -> Callable[..., Judgement]:
    """Judge a clean run of that many resumes, with the parts that a test replaces."""

    def made(*resumes: Any, **parts: Any) -> Judgement:
        records = numbered(cell(), *block_calls)
        earlier = [evolve(one, seq=10 * number) for number, one in enumerate(parts.pop("earlier_ends", ()), start=1)]
        again = [evolve(one, seq=10 * number + 1) for number, one in enumerate(resumes, start=1)]
        last = parts.pop("end", end(finished_at_utc="2026-01-02T04:06:05Z"))
        return judge(
            parts.pop("meta", meta()), records[:1], records[1:], last, resumes=again, earlier_ends=earlier, **parts
        )

    return made


# --- skipped lines ------------------------------------------------------------------------------------------------


def test_a_cell_that_came_up_is_skipped_no_more(meta: Make, cell: Make, call: Make, skip: Make, resume: Make) -> None:
    lines = numbered(skip("down"), resume(), cell(), call("cold"), call("warm", 0), call("warm", 1))
    cells, calls, resumes = (of_kind(lines, kind) for kind in ("cell", "call", "resume"))
    assert skipped(cells, calls, resumes) == ()
    baseline = build(meta(), cells, calls, resumes=resumes)
    assert baseline.skipped == ()
    assert [one.cell_id for one in baseline.cells] == [cell().cell_id]


@pytest.mark.parametrize("again", ["cell", "call", "skip"])
def test_any_later_line_about_the_cell_supersedes_a_skip(
    cell: Make, call: Make, skip: Make, resume: Make, again: str
) -> None:
    later = {"cell": cell(), "call": call("cold"), "skip": skip("still down")}[again]
    lines = numbered(skip("down"), resume(), later)
    found = skipped(of_kind(lines, "cell"), of_kind(lines, "call"), of_kind(lines, "resume"))
    assert [one.error for one in found] == (["still down"] if again == "skip" else [])


def test_a_skip_stands_while_nothing_follows_about_its_cell(cell: Make, skip: Make, resume: Make) -> None:
    lines = numbered(cell(), skip("given up"), resume(), cell(cell_id=OTHER), resume())
    found = skipped(of_kind(lines, "cell"), of_kind(lines, "call"), of_kind(lines, "resume"))
    assert [one.error for one in found] == ["given up"]


def test_a_line_before_the_resume_supersedes_nothing(cell: Make, call: Make, skip: Make, resume: Make) -> None:
    lines = numbered(skip("odd"), cell(), call("cold"), resume())
    assert len(skipped(of_kind(lines, "cell"), of_kind(lines, "call"), of_kind(lines, "resume"))) == 1


# --- attempts and engines ---------------------------------------------------------------------------------------------


def test_the_attempt_that_is_whole_counts(meta: Make, cell: Make, call: Make) -> None:
    first = [call("cold"), call("warm", 0, error="reset")]
    second = [call(phase, idx, attempt=2) for phase, idx in (("cold", 0), ("warm", 0), ("warm", 1))]
    lines = numbered(cell(), *first, cell(), *second)
    (block,) = blocks(meta(), of_kind(lines, "cell"), of_kind(lines, "call"))
    assert (block.attempt, block.attempts, len(block.calls)) == (2, 2, 3)


def test_what_another_engine_answered_is_left_aside(meta: Make, cell: Make, call: Make) -> None:
    old, new = cell(fingerprint="old"), cell(fingerprint="new", engine_version="2.0")
    first = [call("cold", prompt_id="P-HARD"), call("cold")]
    second = [call("cold", attempt=2)]
    for lines in (numbered(old, *first, new, *second), numbered(old, *first, new, *second, new)):
        found = blocks(meta(), of_kind(lines, "cell"), of_kind(lines, "call"))
        assert [(block.prompt_id, block.attempt, block.attempts) for block in found] == [("P-EASY", 2, 1)]
    same = numbered(old, *first, old, *second)
    assert len(blocks(meta(), of_kind(same, "cell"), of_kind(same, "call"))) == 2


def test_the_resumes_stand_in_the_json_of_a_baseline(
    meta: Make, cell: Make, resume: Make, block_calls: list[CallRecord]
) -> None:
    told = to_json(build(meta(), [cell()], block_calls, resumes=[resume(torn="x.torn")]))
    assert [(one["type"], one["torn"]) for one in told["resumes"]] == [("resume", "x.torn")]


# --- the verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gaps", "note"),
    [
        ([30.2], "resumed once, after a gap of 30 s"),
        ([119.0, 120.0], "resumed twice, after a gap of 119 s, a gap of 2.0 min"),
        ([None, 9_000.0, 300_000.0], "resumed 3 times, after a gap of unknown length, a gap of 2.5 h, a gap of 3.5 d"),
    ],
)
def test_a_run_that_was_taken_up_again_may_be_valid_and_says_so(
    judged: Make, resume: Make, gaps: list[float | None], note: str
) -> None:
    found = judged(*[resume(gap_s=gap) for gap in gaps])
    assert (found.verdict, found.reasons, found.notes) == ("valid", (), (note,))


def test_only_the_last_state_of_a_run_counts_as_its_end(judged: Make, end: Make, resume: Make) -> None:
    interrupted = end(interrupted=True, verdict="unreliable", reasons=("the run was interrupted",))
    assert judged(resume(), earlier_ends=[interrupted]).verdict == "valid"
    assert judged(resume(), earlier_ends=[interrupted], end=None).reasons == (
        "the run died: the ledger has no end record",
    )
    assert judged(resume(), end=end(interrupted=True)).reasons == ("the run was interrupted",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warnings": ("known by then",)}, "known by then"),
        ({"load_avg": (4.5, 1.0, 1.0)}, "load average 4.50 is above 4.0 (forced)"),
        ({"git_dirty": True}, "uncommitted changes that the resume record does not list"),
    ],
)
def test_what_was_wrong_when_it_went_on_counts_as_at_the_start(
    judged: Make, resume: Make, changes: dict[str, Any], words: str
) -> None:
    found = judged(resume(), resume(**changes))
    assert (found.verdict, found.reasons) == ("unreliable", (words,))


def test_changes_that_the_resume_record_lists_are_a_note(judged: Make, resume: Make) -> None:
    found = judged(resume(git_dirty=True, git_dirty_files=("?? a",)))
    assert found.verdict == "valid"
    assert "uncommitted changes, each file listed in the resume record" in found.notes


def test_the_clocks_of_each_part_are_weighed_over_its_own_time(judged: Make, end: Make, resume: Make) -> None:
    # 2 % of a minute are 1.2 s. Of the hour between start and end they would be no less, but of one second 20 ms.
    assert judged(resume(), earlier_ends=[end(interrupted=True, clock_drift=0.02)]).verdict == "invalid"
    short = end(interrupted=True, clock_drift=0.02, finished_at_utc="2026-01-02T03:04:06Z")
    assert judged(resume(), earlier_ends=[short]).verdict == "valid"
    at_once = end(clock_drift=0.02, finished_at_utc="2026-01-02T04:05:06Z")
    assert judged(resume(), end=at_once).verdict == "valid"
    assert judged(resume(), end=evolve(at_once, finished_at_utc="2026-01-02T04:06:05Z")).verdict == "invalid"


def test_a_machine_that_was_busy_at_an_earlier_end_spoils_the_run(
    judged: Make, meta: Make, end: Make, resume: Make
) -> None:
    busy = end(interrupted=True, load_avg_end=(9.0, 9.0, 9.0))
    (reason,) = judged(resume(), earlier_ends=[busy], meta=meta(cpu_count=2)).reasons
    assert reason.startswith("load average 9.00 at the end is above 6")


def test_calls_of_a_repeated_attempt_spoil_nothing(meta: Make, cell: Make, call: Make, end: Make, resume: Make) -> None:
    late = ("client_lag: 90 ms late",)
    aside = [call("cold", cold_proven=False), call("warm", 0, error="reset", call_flags=late)]
    whole = [call(phase, idx, attempt=2) for phase, idx in (("cold", 0), ("warm", 0), ("warm", 1))]
    lines = numbered(cell(), *aside, resume(), cell(), *whole)
    parts = [of_kind(lines, kind) for kind in ("cell", "call", "resume")]
    found = judge(meta(), parts[0], parts[1], end(), resumes=parts[2])
    assert (found.verdict, found.notes) == ("valid", ("resumed once, after a gap of 60.0 min",))
