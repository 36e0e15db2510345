"""What the notes of a cell say, and when they say nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from weeyuga_core.analysis.blocks import blocks
from weeyuga_core.analysis.notes import MAX_WORDS, notes
from weeyuga_core.model.records import CallRecord

Make = Callable[..., Any]
Noted = Callable[..., tuple[str, ...]]


@pytest.fixture
def noted(meta: Make) -> Noted:
    """The notes about these calls, without the one that every clean block has about its cache."""

    def of(*calls: CallRecord, planned: dict[str, int] | None = None) -> tuple[str, ...]:
        found = notes(blocks(meta(warm_n=planned or {}), [], calls))
        return tuple(note for note in found if not note.endswith("found nothing of the prompt in the cache"))

    return of


def test_clean_calls_need_no_note(noted: Noted, call: Make) -> None:
    assert noted(call("cold"), call("warm", 0), call("warm", 1)) == ()


def test_failures_are_counted_by_their_words(noted: Noted, call: Make) -> None:
    found = noted(
        call("cold", error="no route", error_kind="connect"),
        call("warm", 0, error="busy", error_kind="http_503"),
        call("warm", 1, error="busy", error_kind="http_503"),
        call("warm", 2, error="odd"),
    )
    assert found == (
        "P-EASY: the cold call failed: connect: no route",
        "P-EASY: 2 of 3 warm calls failed: http_503: busy",
        "P-EASY: 1 of 3 warm calls failed: odd",
    )


def test_one_finding_about_several_prompts_is_one_note(noted: Noted, call: Make) -> None:
    calls = [call(phase, prompt_id=p, finish_reason="length") for p in ("P-A", "P-B") for phase in ("cold", "warm")]
    assert noted(*calls) == (
        "P-A, P-B: finish_reason length in the cold call",
        "P-A, P-B: finish_reason length in 1 of 1 warm calls",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reasoning_chars": 9, "finish_reason": "length"}, "budget spent on reasoning"),
        ({"reasoning_chars": 9}, "only reasoning came"),
        ({}, "neither answer nor reasoning came"),
    ],
)
def test_an_empty_answer_says_what_came_instead(noted: Noted, call: Make, changes: dict[str, Any], words: str) -> None:
    found = noted(call("cold"), call("warm", 0, answer_chars=0, **changes), call("warm", 1))
    assert f"P-EASY: empty answer in 1 of 2 warm calls: {words}" in found


def test_an_answer_of_tool_calls_is_not_empty(noted: Noted, call: Make) -> None:
    found = noted(call("cold"), call("warm", answer_chars=0, finish_reason="tool_calls"))
    assert not [note for note in found if "empty" in note]


def test_an_answer_of_unknown_length_is_not_called_empty(noted: Noted, call: Make) -> None:
    assert noted(call("cold"), call("warm", answer_chars=None)) == ()


def test_cached_tokens_are_told_as_tokens_of_the_prompt(noted: Noted, call: Make) -> None:
    found = noted(
        call("cold", cached_prompt_tokens=2),
        call("warm", 0, cached_prompt_tokens=9),
        call("warm", 1, cached_prompt_tokens=10),
        call("warm", 2, cached_prompt_tokens=None),
    )
    assert found == (
        "P-EASY: the cold call met cached tokens: 2 of 11 prompt tokens",
        "P-EASY: warm calls hit the prompt cache: 9 to 10 of 11 prompt tokens",
        "P-EASY: the engine does not say what came from its prompt cache in 1 of 3 warm calls",
    )


def test_warm_calls_without_a_cache_hit_say_so(meta: Make, call: Make) -> None:
    found = notes(blocks(meta(), [], [call("cold"), call("warm")]))
    assert "P-EASY: warm calls found nothing of the prompt in the cache" in found


def test_a_missing_rate_and_a_missing_delta_give_their_reason(noted: Noted, call: Make) -> None:
    silent = {"first_delta_ms": None, "first_delta_ns": None}
    found = noted(
        call("cold"), call("warm", tokens_per_sec=None, tokens_per_sec_null_reason="fewer than 2 tokens", **silent)
    )
    assert found == (
        "P-EASY: no delta came in 1 of 1 warm calls",
        "P-EASY: tokens_per_sec is empty in 1 of 1 warm calls: fewer than 2 tokens",
    )


def test_flags_are_told_once_a_word_and_those_of_other_notes_are_left_to_them(noted: Noted, call: Make) -> None:
    found = noted(
        call("cold"),
        call("warm", 0, call_flags=("buffered: 3 bursts", "finish_reason: length", "empty_answer: reasoning only")),
        call("warm", 1, call_flags=("buffered: 4 bursts",)),
        call("warm", 2, call_flags=("no_usage: no completion_tokens",)),
    )
    assert found == (
        "P-EASY: buffered: 3 bursts (the first of several), in 2 of 3 warm calls",
        "P-EASY: no_usage: no completion_tokens, in 1 of 3 warm calls",
    )


@pytest.mark.parametrize(
    ("proven", "words"),
    [
        (False, "P-EASY: the cold call was not cold: 9 cached"),
        (None, "P-EASY: nothing proves that the cold call was cold: 9 cached"),
    ],
)
def test_a_doubtful_cold_call_is_noted(noted: Noted, call: Make, proven: bool | None, words: str) -> None:
    assert noted(call("cold", cold_proven=proven, cold_proof="9 cached")) == (words,)


def test_missing_and_repeated_calls_are_noted(noted: Noted, call: Make) -> None:
    assert noted(call("warm"), planned={"mac:echo:tiny": 5}) == (
        "P-EASY: no cold call recorded",
        "P-EASY: 1 of 5 planned warm calls recorded",
    )
    assert noted(call("cold"), call("cold", 1)) == ("P-EASY: 2 cold calls recorded, the first is shown",)
    assert noted(call("cold"), call("cold", attempt=2)) == ("P-EASY: attempt 2 is shown, 2 were made",)


def test_whose_stamps_they_are_is_noted_where_the_kernel_was_asked(noted: Noted, call: Make) -> None:
    def stamped(p50_ns: int, most_ns: int) -> dict[str, Any]:
        return {"stamp_point": "kernel", "receive_lag_p50_ns": p50_ns, "receive_lag_max_ns": most_ns}

    assert noted(
        call("cold", stamp_note="TLS"),
        call("warm", 0, **stamped(40_000, 900_000)),
        call("warm", 1, **stamped(60_000, 700_000)),
        call("warm", 2, stamp_note="3 of 9 reads came without it"),
    ) == (
        "P-EASY: not stamped by the kernel in the cold call: TLS",
        "P-EASY: stamped by the kernel in 2 of 3 warm calls, read 0.05 ms later (median), 0.90 ms at the most",
        "P-EASY: not stamped by the kernel in 1 of 3 warm calls: 3 of 9 reads came without it",
    )


def test_priming_and_resending_are_noted(noted: Noted, call: Make) -> None:
    found = noted(
        call("cold"),
        call("warm", 0, connection_retried=True),
        call("warm", 2, primed="61 s since the last call"),
        call("warm", 4, primed="61 s since the last call"),
    )
    assert found == (
        "P-EASY: priming call before warm 2, 4: 61 s since the last call",
        "P-EASY: sent again on a new connection in 1 of 3 warm calls, the kept one was dead",
    )


def test_long_words_of_an_engine_are_cut(noted: Noted, call: Make) -> None:
    (note,) = noted(call("cold", error="x" * 10_000))
    assert note == "P-EASY: the cold call failed: " + "x" * (MAX_WORDS - 1) + "…"
