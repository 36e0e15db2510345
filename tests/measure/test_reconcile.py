from __future__ import annotations

from itertools import accumulate

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.interfaces import EngineTimings, StreamEvent, Usage
from weeyuga_core.measure import reconcile as room
from weeyuga_core.measure.reconcile import checked, impossible_rate, reconcile, reloaded
from weeyuga_core.measure.timing import Timing, time_call
from weeyuga_core.model.plan import RELOAD_NS
from weeyuga_core.testing.fakes import MS, fake_exchange, fake_reply, fake_stream

START = 300 * MS
TOKEN = 50 * MS
N = 40


def engine(**fields: object) -> EngineTimings:
    """An engine that took 250 ms for 30 of 40 prompt tokens, then 50 ms for each of 40 tokens but the first."""
    filled = {
        "load_ns": 0,
        "prompt_ns": 250 * MS,
        "prompt_n": 30,
        "predicted_n": N,
        "predicted_intervals": N - 1,
        "predicted_ns": (N - 1) * TOKEN,
        "tokens_per_sec": 20.0,
    }
    return EngineTimings(**{"ns": 0, **filled, **fields})  # type: ignore[arg-type]  # plain keyword arguments


def call(stamps: list[int], timings: EngineTimings | None, **usage: int) -> tuple[Timing, list[StreamEvent]]:
    counts = {"prompt_tokens": 40, "cached_prompt_tokens": 10, "completion_tokens": N} | usage
    events = fake_stream(stamps, usage=Usage(ns=0, **counts), timings=timings)
    return time_call(fake_exchange(fake_reply()), events), events


def flags(stamps: list[int], timings: EngineTimings | None, **usage: int) -> list[str]:
    """The flags, or only their words where a test cares for no more."""
    return list(reconcile(*call(stamps, timings, **usage)))


def words(found: list[str]) -> list[str]:
    return [flag.partition(":")[0] for flag in found]


EVEN = [START + i * TOKEN for i in range(N)]


def test_an_honest_stream_has_no_flag() -> None:
    timing, events = call(EVEN, engine())
    assert reconcile(timing, events) == ()
    assert impossible_rate(timing, events) is None
    assert checked(timing, events) == timing


def test_nothing_is_said_where_the_engine_says_nothing() -> None:
    assert flags(EVEN, None) == []
    assert flags(EVEN, EngineTimings(ns=0)) == []


@pytest.mark.parametrize(("factor", "flagged"), [(1.15, False), (0.85, False), (1.25, True), (0.75, True)])
def test_decode_rates_may_differ_by_a_fifth(factor: float, flagged: bool) -> None:
    slow = engine(predicted_ns=int((N - 1) * TOKEN * factor), prompt_ns=0)
    found = flags([START * 3 + i * TOKEN for i in range(N)], slow)
    assert ("rate_mismatch" in words(found)) is flagged


def test_a_rate_flag_gives_both_numbers() -> None:
    assert flags(EVEN, engine(predicted_ns=(N - 1) * TOKEN // 2)) == [
        "rate_mismatch: client 20.0 tokens/s, engine 40.0 tokens/s"
    ]


def test_the_engines_stated_rate_serves_where_its_window_is_unknown() -> None:
    assert flags(EVEN, engine(predicted_ns=None, tokens_per_sec=10.0)) == [
        "rate_mismatch: client 20.0 tokens/s, engine 10.0 tokens/s"
    ]


def test_rates_over_short_windows_are_not_compared() -> None:
    stamps = [START + i * (room.RATE_WINDOW_NS // N) for i in range(N)]
    assert "rate_mismatch" not in words(flags(stamps, engine(predicted_ns=None, tokens_per_sec=10.0)))


def test_a_first_delta_cannot_come_before_the_engine_is_through_the_prompt() -> None:
    early = engine(load_ns=100 * MS)
    assert flags(EVEN, early) == [
        "first_delta_too_early: client 300.0 ms, engine load and prompt 350.0 ms",
        f"total_too_short: client {EVEN[-1] / MS:.1f} ms, engine {EVEN[-1] / MS + 50:.1f} ms",
    ]


def test_rounding_engines_are_given_their_slack() -> None:
    assert flags(EVEN, engine(prompt_ns=START + room.CLOCK_SLACK_NS)) == []


def test_a_total_cannot_be_shorter_than_the_engines() -> None:
    assert flags(EVEN, engine(total_ns=EVEN[-1] * 2)) == [
        f"total_too_short: client {EVEN[-1] / MS:.1f} ms, engine {EVEN[-1] / MS * 2:.1f} ms"
    ]


@pytest.mark.parametrize(
    ("load_ns", "found"),
    [
        (None, ()),
        (2 * MS, ()),
        (RELOAD_NS - 1, ()),
        (RELOAD_NS, ("reloaded: load took 100.0 ms in a warm call",)),
        (812 * MS, ("reloaded: load took 812.0 ms in a warm call",)),
    ],
)
def test_a_load_that_takes_its_time_is_a_reload(load_ns: int | None, found: tuple[str, ...]) -> None:
    assert reloaded([EngineTimings(ns=0, load_ns=load_ns)]) == found


def test_without_the_engines_word_nothing_was_reloaded() -> None:
    assert reloaded([]) == ()


@pytest.mark.parametrize(
    ("usage", "flag"),
    [
        ({"completion_tokens": N + room.TOKEN_SLACK}, None),
        ({"completion_tokens": N + 2}, f"completion_tokens_mismatch: usage {N + 2}, engine {N}"),
        ({"prompt_tokens": 41}, None),
        ({"prompt_tokens": 42}, "prompt_tokens_mismatch: usage 42, engine cached 10 + processed 30"),
        ({"prompt_tokens": 30}, "prompt_tokens_mismatch: usage 30, engine cached 10 + processed 30"),
    ],
)
def test_token_counts_must_agree_to_one(usage: dict[str, int], flag: str | None) -> None:
    assert flags(EVEN, engine(), **usage) == ([flag] if flag else [])


def test_without_a_cached_count_only_more_work_than_prompt_is_a_mismatch() -> None:
    events = fake_stream(EVEN, usage=Usage(ns=0, prompt_tokens=40, completion_tokens=N), timings=engine())
    assert reconcile(time_call(fake_exchange(), events), events) == ()
    events = fake_stream(EVEN, usage=Usage(ns=0, prompt_tokens=28, completion_tokens=N), timings=engine())
    assert reconcile(time_call(fake_exchange(), events), events) == (
        "prompt_tokens_mismatch: usage 28, engine processed 30",
    )


@pytest.mark.parametrize(
    "timings",
    [
        engine(predicted_n=1, predicted_intervals=None, predicted_ns=1_000, tokens_per_sec=None),
        engine(predicted_intervals=2, predicted_ns=0),
        engine(predicted_intervals=2, predicted_ns=-5),
        engine(tokens_per_sec=1_000_000.0),
        engine(prompt_n=500, prompt_ns=999),
    ],
)
def test_rates_that_no_machine_reaches_are_errors(timings: EngineTimings) -> None:
    timing, events = call(EVEN, timings)
    verdict = checked(timing, events)
    assert verdict.error_kind == "impossible_rate"
    assert verdict.error == impossible_rate(timing, events)


@pytest.mark.parametrize(
    "timings",
    [
        engine(predicted_n=1, predicted_intervals=0, predicted_ns=1_000, tokens_per_sec=1_000_000.0),
        engine(predicted_intervals=100, predicted_ns=100 * room.MIN_PASS_NS, tokens_per_sec=room.MAX_TOKENS_PER_SEC),
        engine(prompt_n=0, prompt_ns=0),
    ],
)
def test_rates_over_no_interval_or_at_the_limit_are_no_error(timings: EngineTimings) -> None:
    assert impossible_rate(*call(EVEN, timings)) is None


def test_a_client_rate_that_no_machine_reaches_is_an_error() -> None:
    reason = impossible_rate(*call([START, START + 10 * MS], None, completion_tokens=5_000))
    assert reason == "the client saw 500,000 tokens/s; nothing decodes more than 100,000"


def test_an_earlier_error_is_kept() -> None:
    timing, events = call(EVEN, engine(tokens_per_sec=1e6))
    assert checked(evolve(timing, error_kind="reset", error="gone"), events).error == "gone"


def test_a_whole_answer_in_one_read_is_buffered() -> None:
    end = START + N * TOKEN
    assert flags([end] * N, engine()) == [
        "buffered: 39 of 39 gaps between deltas under 1.0 ms, a token takes 50.0 ms",
    ]


def test_bursts_of_a_full_proxy_buffer_are_buffered_even_without_the_engines_clock() -> None:
    stamps = [START + (i // 16 + 1) * 16 * TOKEN for i in range(64)]
    assert words(flags(stamps, None, completion_tokens=64)) == ["buffered"]


def test_a_stream_that_starts_late_and_catches_up_is_buffered() -> None:
    end = START + N * TOKEN
    stamps = [end - (N - i) * TOKEN // 10 for i in range(N)]
    assert "buffered: median gap 5.0 ms over 195.0 ms, a token takes 50.0 ms over 1950.0 ms" in flags(stamps, engine())


def test_hidden_reasoning_before_the_answer_is_not_buffered() -> None:
    long = engine(predicted_n=10 * N, predicted_intervals=10 * N - 1, predicted_ns=(10 * N - 1) * TOKEN)
    stamps = [START + (9 * N + i) * TOKEN for i in range(N)]
    assert "buffered" not in words(flags(stamps, long, completion_tokens=10 * N))


def test_a_stalled_stream_is_not_buffered() -> None:
    stamps = EVEN[: N // 2] + [ns + 60_000 * MS for ns in EVEN[N // 2 :]]
    assert "buffered" not in words(flags(stamps, engine()))
    assert "buffered" not in words(flags(stamps, None))


@pytest.mark.parametrize("burst", [2, 4, 8])
def test_bursts_of_speculative_decoding_are_not_buffered(burst: int) -> None:
    stamps = [START + (i // burst) * burst * TOKEN for i in range(64)]
    fast = engine(predicted_n=64, predicted_intervals=63, predicted_ns=63 * TOKEN)
    assert "buffered" not in words(flags(stamps, fast, completion_tokens=64))


def test_short_streams_are_never_buffered() -> None:
    few = room.BUFFERED_MIN_DELTAS - 1
    assert "buffered" not in words(flags([START * 9] * few, engine(), completion_tokens=few))
    quick = engine(predicted_ns=room.BUFFERED_MIN_NS - 1)
    assert "buffered" not in words(flags([START * 9] * N, quick))


@given(st.lists(st.floats(0.3, 3.0), min_size=N - 1, max_size=N - 1), st.integers(2 * MS, 500 * MS), st.booleans())
def test_one_delta_a_token_with_ordinary_jitter_is_never_buffered(jitter: list[float], token: int, tells: bool) -> None:
    stamps = list(accumulate((int(share * token) for share in jitter), initial=START))
    made = engine(predicted_ns=stamps[-1] - stamps[0]) if tells else None
    assert "buffered" not in words(flags(stamps, made))
