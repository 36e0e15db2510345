"""Each rule of the verdict alone, and how verdicts add up."""

from collections.abc import Callable
from typing import Any

import pytest

from weeyuga_core.analysis.verdict import Judgement, judge
from weeyuga_core.ledger.reader import TornTail
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord

Make = Callable[..., Any]


@pytest.fixture
def run(meta: Make, cell: Make, end: Make, block_calls: list[CallRecord]) -> Callable[..., Judgement]:
    """Judge a clean run, with the parts that a test replaces."""

    def judged(
        meta_: MetaRecord | None = None,
        cells: tuple[CellRecord, ...] | None = None,
        calls: list[CallRecord] | None = None,
        end_: EndRecord | None = None,
        **ledger: Any,
    ) -> Judgement:
        return judge(
            meta_ or meta(),
            (cell(),) if cells is None else cells,
            block_calls if calls is None else calls,
            end_ or end(),
            **ledger,
        )

    return judged


def test_a_clean_run_is_valid_without_a_reason(run: Make) -> None:
    assert run() == Judgement(verdict="valid", reasons=(), notes=())
    assert run(digest_ok=True).verdict == "valid"
    assert run().line == "valid"


def test_a_ledger_without_an_end_is_a_run_that_died(meta: Make, cell: Make, block_calls: list[CallRecord]) -> None:
    judged = judge(meta(), [cell()], block_calls, None)
    assert judged.verdict == "unreliable"
    assert judged.reasons == ("the run died: the ledger has no end record",)
    assert judged.line == "unreliable: the run died: the ledger has no end record"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interrupted": True}, "the run was interrupted"),
        ({"clock_drift": 0.002}, "monotonic and wall clock differ by 0.20%, more than 0.1%"),
        ({"clock_drift": -0.002}, "monotonic and wall clock differ by 0.20%, more than 0.1%"),
    ],
)
def test_an_end_record_can_make_a_run_unreliable(run: Make, end: Make, changes: dict[str, Any], words: str) -> None:
    judged = run(end_=end(**changes))
    assert (judged.verdict, judged.reasons) == ("unreliable", (words,))


@pytest.mark.parametrize("drift", [0.02, -0.02, -1.5])
def test_clocks_more_than_one_per_cent_apart_spoil_a_run(run: Make, end: Make, drift: float) -> None:
    judged = run(end_=end(clock_drift=drift))
    assert judged.verdict == "invalid"
    assert [reason for reason in judged.reasons if "clock" in reason] == list(judged.reasons)


def test_a_drift_too_small_to_tell_from_noise_at_that_length_is_no_reason(run: Make, end: Make) -> None:
    # 2 % of one second are 20 ms, less than two clock readings on a busy host may lie apart.
    assert run(end_=end(clock_drift=0.02, finished_at_utc="2026-01-02T03:04:06Z")).verdict == "valid"


def test_a_drift_over_an_unknown_time_is_taken_at_its_word(run: Make, end: Make) -> None:
    assert run(end_=end(clock_drift=0.02, finished_at_utc="yesterday")).verdict == "invalid"


def test_a_changed_ledger_is_invalid(run: Make) -> None:
    judged = run(digest_ok=False)
    assert judged.verdict == "invalid"
    assert "changed after it was written" in judged.reasons[0]


def test_a_ledger_with_missing_lines_is_invalid(run: Make) -> None:
    judged = run(gaps=("line 5: seq 4 is followed by 6",))
    assert judged.line == "invalid: lines are missing from the ledger: line 5: seq 4 is followed by 6"


def test_a_torn_last_line_is_told_with_the_death_of_the_run(
    meta: Make, cell: Make, block_calls: list[CallRecord]
) -> None:
    torn = TornTail(offset=900, bytes_len=17, line_no=5)
    judged = judge(meta(), [cell()], block_calls, None, torn=torn)
    assert judged.reasons == ("the run died: the ledger has no end record, and its last line broke off after 17 bytes",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load_avg_start": (4.01, 1.0, 1.0)}, "load average 4.01 is above 4.0 (forced)"),
        ({"warnings": ("something the runner knew",)}, "something the runner knew"),
        ({"git_dirty": True}, "uncommitted changes that the meta record does not list"),
    ],
)
def test_a_meta_record_can_make_a_run_unreliable(run: Make, meta: Make, changes: dict[str, Any], words: str) -> None:
    judged = run(meta(**changes))
    assert (judged.verdict, judged.reasons) == ("unreliable", (words,))


def test_a_reason_that_the_runner_knew_already_stands_once(run: Make, meta: Make) -> None:
    words = "load average 5.00 is above 4.0 (forced)"
    assert run(meta(load_avg_start=(5.0, 1.0, 1.0), warnings=(words,))).reasons == (words,)


def test_uncommitted_changes_that_are_all_listed_are_a_note(run: Make, meta: Make) -> None:
    judged = run(meta(git_dirty=True, git_dirty_files=(" M a.py",), flags=("--allow-dirty",)))
    assert judged.verdict == "valid"
    assert judged.notes == ("uncommitted changes, each file listed in the meta record",)


def test_a_run_outside_a_repository_is_a_note_with_its_reason(run: Make, meta: Make) -> None:
    judged = run(meta(git_sha=None, git_dirty=None, git_note="not in a git repository"))
    assert judged.verdict == "valid"
    assert judged.notes == ("no git commit recorded: not in a git repository",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine_version": None}, "mac:echo:tiny: engine version not recorded"),
        ({"model_digest": None}, "mac:echo:tiny: model digest not recorded"),
    ],
)
def test_a_measured_cell_must_be_identified(run: Make, cell: Make, changes: dict[str, Any], words: str) -> None:
    assert run(cells=(cell(**changes),)).reasons == (words,)


def test_a_measured_cell_without_a_record_is_unidentified(run: Make) -> None:
    assert run(cells=()).reasons == ("mac:echo:tiny: no cell record, so engine version and model digest are unknown",)


def test_a_cell_that_was_not_measured_need_not_be_identified(run: Make, cell: Make) -> None:
    assert run(cells=(cell(), cell(cell_id="mac:echo:idle", engine_version=None))).verdict == "valid"


def test_one_failure_of_five_is_a_red_flag_that_states_its_interval(run: Make, meta: Make, call: Make) -> None:
    calls = [call("cold"), *(call("warm", i, error="http_500" if i == 2 else None) for i in range(5))]
    judged = run(meta(steps_planned=6, warm_n={"mac:echo:tiny": 5}), calls=calls)
    assert judged.verdict == "unreliable"
    # 28..99 %: 4 of 5 in the tables of Clopper and Pearson.
    assert judged.reasons == (
        "mac:echo:tiny P-EASY: 1 of 5 warm calls failed (success rate 0.80, 95 % interval 28-99 %); "
        "investigate before publishing",
    )
    assert judged.notes == ("incomplete: 1 failed",)


@pytest.mark.parametrize(("n", "verdict"), [(20, "valid"), (19, "unreliable")])
def test_a_success_rate_of_95_per_cent_is_still_enough(run: Make, meta: Make, call: Make, n: int, verdict: str) -> None:
    calls = [call("cold"), *(call("warm", i, error="gone" if i == 0 else None) for i in range(n))]
    assert run(meta(steps_planned=n + 1), calls=calls).verdict == verdict


def test_a_failed_cold_call_alone_is_a_note(run: Make, call: Make) -> None:
    judged = run(calls=[call("cold", error="gone"), call("warm", 0), call("warm", 1)])
    assert (judged.verdict, judged.notes) == ("valid", ("incomplete: 1 failed",))


def test_a_cold_call_that_was_not_cold_is_a_reason(run: Make, call: Make) -> None:
    calls = [call("cold", cold_proven=False, cold_proof="9 cached tokens"), call("warm", 0), call("warm", 1)]
    assert run(calls=calls).reasons == ("mac:echo:tiny P-EASY: the cold call was not cold: 9 cached tokens",)


def test_a_cold_call_without_proof_is_no_reason(run: Make, call: Make) -> None:
    assert run(calls=[call("cold", cold_proven=None), call("warm", 0), call("warm", 1)]).verdict == "valid"


def test_a_run_of_skipped_cells_measured_nothing(run: Make, call: Make) -> None:
    skipped = call("skipped", prompt_id=None, error="connection refused")
    judged = run(cells=(), calls=[skipped])
    assert judged.reasons == ("no call succeeded",)
    assert judged.notes == ("incomplete: 0 of 3 planned calls recorded, 1 skipped",)


def test_an_attempt_that_was_left_aside_does_not_count_against_the_run(
    run: Make, call: Make, block_calls: list[CallRecord]
) -> None:
    torn_off = [call("cold", error="gone"), call("warm", 0, error="gone")]
    again = [call("cold", attempt=2), call("warm", 0, attempt=2), call("warm", 1, attempt=2)]
    assert run(calls=torn_off + again).verdict == "valid"


def test_a_smoke_run_says_that_it_is_no_baseline(run: Make, meta: Make, call: Make) -> None:
    judged = run(meta(smoke=True, steps_planned=1, warm_n={}), calls=[call("cold")])
    assert judged.verdict == "valid"
    assert judged.notes == ("a smoke run: it shows that the path works, and is no baseline",)


def test_what_the_end_record_holds_against_the_run_is_kept(run: Make, end: Make) -> None:
    judged = run(end_=end(verdict="invalid", reasons=("the runner saw something",)))
    assert (judged.verdict, judged.reasons) == ("invalid", ("the runner saw something",))


def test_a_verdict_without_a_reason_is_given_one(run: Make, end: Make) -> None:
    assert run(end_=end(verdict="invalid")).line == "invalid: the end record says invalid and gives no reason"


def test_judging_again_what_was_judged_changes_nothing(run: Make, meta: Make, end: Make, cell: Make) -> None:
    doubtful = {"meta_": meta(load_avg_start=(9.0, 9.0, 9.0)), "cells": (cell(model_digest=None),)}
    first = run(**doubtful)
    again = run(**doubtful, end_=end(verdict=first.verdict, reasons=first.reasons))
    assert again == first


def test_the_worst_verdict_wins_and_every_reason_is_told(run: Make, meta: Make, end: Make) -> None:
    judged = run(meta(warnings=("noisy",)), end_=end(clock_drift=0.5, interrupted=True))
    assert judged.verdict == "invalid"
    assert len(judged.reasons) == 3
    assert judged.reasons[0].startswith("monotonic")


def test_load_at_the_end_counts_only_above_what_an_engine_of_this_host_explains(
    run: Callable[..., Judgement], meta: Make, end: Make
) -> None:
    two_cores = meta(cpu_count=2)
    assert run(two_cores, end_=end(load_avg_end=(6.0, 1.0, 1.0))).verdict == "valid"
    judged = run(two_cores, end_=end(load_avg_end=(6.01, 1.0, 1.0)))
    assert judged.verdict == "unreliable"
    assert judged.reasons[0].startswith("load average 6.01 at the end is above 6: 4 and the 2 CPUs")


@pytest.mark.parametrize("word", ["client_lag", "client_coalesced"])
def test_a_client_that_was_late_makes_a_run_unreliable(run: Make, call: Make, word: str) -> None:
    flags = [f"{word}: {lag} ms, calibration promises 2.0 ms" for lag in ("12.3", "9.9")]
    calls = [
        call("cold", client_lag_ns=12_300_000, call_flags=(flags[0],)),
        call("warm", 0, client_lag_ns=9_900_000, call_flags=("other: 3", flags[1])),
        call("warm", 1, client_lag_ns=100),
    ]
    judged = run(calls=calls)
    assert judged.verdict == "unreliable"
    assert judged.reasons == (f"the client was late in 2 of 3 calls, at the worst {flags[0]}",)
    assert run(calls=[call("cold"), call("warm", 0), call("warm", 1, call_flags=(f"{word}er: 1",))]).verdict == "valid"
