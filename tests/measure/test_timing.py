from __future__ import annotations

import json
import math
from typing import Any

import pytest
from attrs import fields_dict
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineTimings,
    Finish,
    Identity,
    Reasoning,
    Role,
    StreamError,
    StreamEvent,
    ToolCall,
    Usage,
)
from weeyuga_core.measure.timing import MIN_RATE_WINDOW_NS, Timing, time_call
from weeyuga_core.model.records import CallRecord, ms
from weeyuga_core.testing.fakes import MS, fake_exchange, fake_reply, fake_stream


def timed(events: list[StreamEvent], **reply: Any) -> Timing:
    return time_call(fake_exchange(fake_reply(**reply)), events)


def test_role_chunks_and_identities_are_no_delta() -> None:
    timing = timed(
        [
            Identity(ns=MS, response_id="r1"),
            Role(5 * MS),
            Reasoning(20 * MS, "think"),
            Answer(30 * MS, ""),
            Answer(40 * MS, "ab"),
            Answer(60 * MS, "c"),
            Finish(60 * MS, "stop"),
            Usage(ns=61 * MS, prompt_tokens=7, completion_tokens=5),
            Done(62 * MS),
        ]
    )
    assert timing.first_chunk_ns == 5 * MS
    assert timing.first_delta_ns == timing.first_reasoning_ns == 20 * MS
    assert timing.first_answer_ns == 40 * MS
    assert timing.last_delta_ns == 60 * MS
    assert timing.total_duration_ns == 62 * MS
    assert (timing.answer_chars, timing.reasoning_chars, timing.delta_count) == (3, 5, 3)
    assert (timing.response_id, timing.backend, timing.error) == ("r1", None, None)
    assert timing.call_flags == ()


def test_a_tool_call_is_a_first_delta_and_no_empty_answer() -> None:
    timing = timed(fake_stream([], usage=Usage(ns=0, prompt_tokens=1, completion_tokens=1))[:1] + TOOL_TAIL)
    assert timing.first_delta_ns == 9 * MS
    assert timing.first_answer_ns is None
    assert timing.call_flags == ("finish_reason: tool_calls",)


TOOL_TAIL: list[StreamEvent] = [
    ToolCall(9 * MS, '{"a":'),
    Finish(9 * MS, "tool_calls"),
    Usage(ns=9 * MS, prompt_tokens=1, completion_tokens=1),
    Done(9 * MS),
]


def test_rates_follow_their_two_formulas_on_ns() -> None:
    events = fake_stream([100 * MS, 200 * MS, 300 * MS], usage=Usage(ns=0, prompt_tokens=1, completion_tokens=3))
    events[-1] = Done(400 * MS)
    timing = timed(events)
    assert timing.tokens_per_sec == 3 / 0.3
    assert timing.decode_tokens_per_sec == 2 / 0.2
    assert timing.tokens_per_sec_null_reason is None


def test_rates_are_rounded_to_three_decimals() -> None:
    timing = timed(fake_stream([0, 30 * MS, 70 * MS], usage=Usage(ns=0, prompt_tokens=1, completion_tokens=3)))
    assert timing.tokens_per_sec == round(3 / 0.07, 3) != 3 / 0.07


@pytest.mark.parametrize(
    ("stamps", "completion", "reason"),
    [
        ([0, 500 * MS], None, "no completion_tokens"),
        ([], 5, "no delta"),
        ([0, 500 * MS], 1, "fewer than 2 tokens"),
        ([0, 500 * MS], 0, "fewer than 2 tokens"),
        ([0, MIN_RATE_WINDOW_NS - 1], 5, "window under 10 ms"),
    ],
)
def test_no_rate_is_given_that_would_mean_nothing(stamps: list[int], completion: int | None, reason: str) -> None:
    timing = timed(fake_stream(stamps, usage=Usage(ns=0, prompt_tokens=1, completion_tokens=completion)))
    assert (timing.tokens_per_sec, timing.decode_tokens_per_sec) == (None, None)
    assert timing.tokens_per_sec_null_reason == reason


def test_a_window_of_exactly_the_minimum_has_a_rate() -> None:
    timing = timed(fake_stream([0, MIN_RATE_WINDOW_NS], usage=Usage(ns=0, prompt_tokens=1, completion_tokens=2)))
    assert timing.tokens_per_sec == 2 / 0.01


def test_gaps_and_coalesced_deltas_are_counted_between_deltas_only() -> None:
    timing = timed(fake_stream([10, 10, 10, 40, 100]))
    assert timing.coalesced_deltas == 2
    assert timing.gap_p50_ns == 15  # of 0, 0, 30, 60
    assert timing.gap_max_ns == 60


def test_one_delta_has_no_gap() -> None:
    timing = timed(fake_stream([10]))
    assert (timing.gap_p50_ns, timing.gap_max_ns, timing.coalesced_deltas) == (None, None, 0)


def test_the_last_word_on_tokens_holds_and_null_overwrites_nothing() -> None:
    events = fake_stream([1, 2])
    events += [
        Usage(ns=3, prompt_tokens=8, completion_tokens=2, cached_prompt_tokens=4),
        Usage(ns=4, completion_tokens=9, reasoning_tokens=1),
    ]
    timing = timed(events)
    assert (timing.prompt_tokens, timing.completion_tokens) == (8, 9)
    assert (timing.cached_prompt_tokens, timing.reasoning_tokens) == (4, 1)


@pytest.mark.parametrize(
    ("rate", "intervals", "expected"),
    [
        (12.34567, 9, 12.346),
        (12.0, None, 12.0),
        (1e6, 0, None),
        (math.inf, 9, None),
        (math.nan, 9, None),
        (None, 9, None),
    ],
)
def test_the_engines_own_rate_is_kept_where_it_spans_an_interval(
    rate: float | None, intervals: int | None, expected: float | None
) -> None:
    engine = EngineTimings(ns=2, tokens_per_sec=rate, predicted_intervals=intervals)
    assert timed(fake_stream([1, 2], timings=engine)).engine_tokens_per_sec == expected


def test_the_engines_raw_timings_are_kept_as_strict_json_can_hold_them() -> None:
    engine = EngineTimings(ns=2, raw={"a": [1, math.nan], "b": {"c": -math.inf}, "d": 1.5})
    assert timed(fake_stream([1], timings=engine)).engine_timings == {"a": [1, "nan"], "b": {"c": "-inf"}, "d": 1.5}


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("connect", "connect"),
        ("idle", "idle_timeout"),
        ("total", "total_timeout"),
        ("reset", "reset"),
        ("protocol", "protocol"),
        ("cancelled", "cancelled"),
    ],
)
def test_the_ending_of_the_exchange_is_the_first_word_on_errors(ending: str, kind: str) -> None:
    events = [*fake_stream([MS, 2 * MS], finish=None, done=False), StreamError(3 * MS, "overloaded", "try later")]
    timing = timed(events, status=503, ending=ending, detail="the words behind")
    assert timing.error_kind == kind
    assert timing.error is not None
    assert "the words behind" in timing.error
    assert "try later" in timing.error
    assert timing.first_delta_ns == MS, "what was measured stays"
    assert timing.body_end_ns is None, "the body did not end"
    assert timing.finish_reason == "error"


def test_the_engines_error_comes_before_the_status() -> None:
    timing = timed([StreamError(MS, "model_not_found", "no such model")], status=404)
    assert (timing.error_kind, timing.error) == ("model_not_found", "no such model")
    assert (timing.http_status, timing.first_chunk_ns, timing.total_duration_ns) == (404, None, None)


def test_an_error_after_200_fails_the_call_though_the_stream_ends_well() -> None:
    events = [*fake_stream([MS, 2 * MS]), StreamError(2 * MS, "server_error", "out of memory")]
    assert timed(events).error_kind == "server_error"


def test_a_status_without_words_of_the_adapter_is_an_error_with_the_bodys_beginning() -> None:
    timing = time_call(fake_exchange(fake_reply(b"gate", b"way " + b"x" * 5_000, status=502)), [])
    assert timing.error_kind == "http_502"
    assert timing.error is not None
    assert timing.error.startswith("HTTP status 502: gateway xxx")
    assert len(timing.error) < 300


@pytest.mark.parametrize(
    ("finish", "done", "missing"),
    [
        (None, True, "a finish reason"),
        ("stop", False, "its end marker"),
        (None, False, "a finish reason and its end marker"),
        ("", True, "a finish reason"),
    ],
)
def test_a_stream_must_prove_its_end(finish: str | None, done: bool, missing: str) -> None:
    timing = time_call(fake_exchange(fake_reply(b"data: x\n\n")), fake_stream([MS], finish=finish, done=done))
    assert timing.error_kind == "stream_truncated"
    assert timing.error == f"the stream ended without {missing}"
    assert timing.finish_reason == (finish or "error")


def test_an_empty_answer_is_a_truncated_stream() -> None:
    timing = timed([])
    assert (timing.error_kind, timing.error) == ("stream_truncated", "the answer was empty")


def test_an_empty_finish_word_is_none() -> None:
    events = [*fake_stream([MS], finish=None), Finish(MS, "")]
    assert timed(events).error_kind == "stream_truncated"


COUNTED = Usage(ns=0, prompt_tokens=1, completion_tokens=4)


@pytest.mark.parametrize(
    ("events", "flags"),
    [
        (fake_stream([1, 2], finish="length"), ("finish_reason: length",)),
        (fake_stream([], usage=COUNTED), ("empty_answer: no text came",)),
        (
            [Reasoning(1, "hm"), *fake_stream([], usage=COUNTED, finish="length")],
            ("finish_reason: length", "empty_answer: budget spent on reasoning"),
        ),
        ([Reasoning(1, "hm"), *fake_stream([], usage=COUNTED)], ("empty_answer: reasoning only",)),
        (
            fake_stream([1, 2], usage=Usage(ns=0)),
            ("no_usage: the engine gave no prompt_tokens and no completion_tokens",),
        ),
        (
            fake_stream([1], usage=Usage(ns=0, prompt_tokens=1)),
            ("no_usage: the engine gave no completion_tokens",),
        ),
    ],
)
def test_flags_say_what_a_reader_must_know(events: list[StreamEvent], flags: tuple[str, ...]) -> None:
    assert timed(events).call_flags == flags


def test_a_failed_call_is_not_flagged_for_what_its_failure_explains() -> None:
    assert timed([], ending="connect", status=None).call_flags == ()


def test_record_fields_fill_a_call_record() -> None:
    timing = timed(fake_stream([MS, 3 * MS]))
    fields = timing.record_fields()
    assert set(fields) <= set(fields_dict(CallRecord))
    record = CallRecord(cell_id="a:b:c", prompt_id="P", phase="warm", run_idx=0, **fields)
    assert record.first_delta_ms == 1
    assert json.loads(json.dumps(fields, allow_nan=False))["call_flags"] == []
    twins = {name for name in fields_dict(CallRecord) if name.endswith("_ms")} - {"engine_ready_ms"}
    assert {name: fields[name] for name in twins} == {
        name: ms(fields[f"{name.removesuffix('_ms')}_ns"]) for name in twins
    }


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=30).map(sorted), st.integers(0, 10**6))
def test_stamps_and_rates_keep_their_order_whatever_comes(stamps: list[int], tokens: int) -> None:
    timing = timed(fake_stream(stamps, usage=Usage(ns=0, prompt_tokens=1, completion_tokens=tokens)))
    assert timing.first_delta_ns == stamps[0]
    assert timing.last_delta_ns == timing.total_duration_ns == stamps[-1]
    assert timing.coalesced_deltas == len(stamps) - len(set(stamps))
    assert (timing.tokens_per_sec is None) == (timing.tokens_per_sec_null_reason is not None)
    if timing.gap_p50_ns is not None and timing.gap_max_ns is not None:
        assert 0 <= timing.gap_p50_ns <= timing.gap_max_ns <= stamps[-1] - stamps[0]
