"""Recorded streams of a real llama-server, and everything else that may stand where they are expected."""

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineTimings,
    Finish,
    Identity,
    Read,
    Reasoning,
    Reply,
    Role,
    StreamError,
    ToolCall,
    Usage,
)
from weeyuga_core.testing.contract import EngineAdapterContract
from weeyuga_core.testing.fakes import fake_reply, fake_target
from weeyuga_llamacpp.adapter import LlamaCppAdapter
from weeyuga_llamacpp.stream import events_of

DATA = Path(__file__).parent / "data"
STREAMS = ("answer", "answer-cached", "length", "reasoning", "reasoning-only")


def recorded(name):
    return (DATA / f"{name}.sse").read_bytes()


def last_chunk(body):
    """The JSON object before `[DONE]`: usage and timings."""
    return json.loads(body.decode().split("data: ")[-2])


def read(*pieces, **reply):
    return list(events_of(fake_reply(*pieces, **reply)))


def one(events, kind):
    """The only event of that kind."""
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


def text(events, kind):
    return "".join(event.text for event in events if isinstance(event, kind))


def chunk(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


class TestTheContractOfEngineAdapters(EngineAdapterContract):
    def adapter(self):
        return LlamaCppAdapter(fake_target(engine="llamacpp"), httpx.AsyncClient())

    def replies(self):
        return [recorded(name) for name in STREAMS]


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_begins_with_its_id_and_role_and_ends_with_done(name):
    body = recorded(name)
    events = read(body)
    assert isinstance(events[0], Identity)
    assert events[0].response_id == last_chunk(body)["id"]
    assert isinstance(events[1], Role)
    assert isinstance(events[-1], Done)
    assert sum(isinstance(event, Identity) for event in events) == 1


@pytest.mark.parametrize("name", STREAMS)
def test_counts_and_timings_are_the_engines_own(name):
    body = recorded(name)
    told = last_chunk(body)
    usage, timings = one(read(body), Usage), one(read(body), EngineTimings)
    assert usage.prompt_tokens == told["usage"]["prompt_tokens"]
    assert usage.completion_tokens == told["usage"]["completion_tokens"]
    assert usage.cached_prompt_tokens == told["timings"]["cache_n"]
    assert timings.prompt_n == told["timings"]["prompt_n"]
    assert timings.predicted_n == told["timings"]["predicted_n"]
    assert timings.predicted_ns == round(told["timings"]["predicted_ms"] * 1e6)
    assert timings.prompt_ns == round(told["timings"]["prompt_ms"] * 1e6)
    assert timings.load_ns is None
    assert timings.raw == told["timings"]


@pytest.mark.parametrize("name", STREAMS)
def test_the_engines_rate_is_intervals_over_its_own_time(name):
    """Which proves that `predicted_ms` spans n - 1 intervals in this engine."""
    timings = one(read(recorded(name)), EngineTimings)
    assert timings.tokens_per_sec == pytest.approx(timings.predicted_intervals / timings.predicted_ns * 1e9, rel=1e-6)


def test_a_repeated_prompt_is_a_cache_hit():
    cold, warm = one(read(recorded("answer")), Usage), one(read(recorded("answer-cached")), Usage)
    assert cold.cached_prompt_tokens == 0
    assert warm.cached_prompt_tokens == warm.prompt_tokens - 1


def test_reasoning_and_answer_are_told_apart():
    events = read(recorded("reasoning"))
    assert text(events, Reasoning).strip()
    assert text(events, Answer).strip()
    kinds = [type(event) for event in events if isinstance(event, Reasoning | Answer)]
    assert kinds.index(Answer) == kinds.count(Reasoning), "all reasoning comes before the answer"


def test_a_budget_spent_on_reasoning_leaves_no_answer():
    events = read(recorded("reasoning-only"))
    assert text(events, Reasoning)
    assert not text(events, Answer)
    assert one(events, Finish).reason == "length"


def test_a_real_refusal_keeps_its_status_and_the_engines_words():
    body = (DATA / "too-long.json").read_bytes()
    (error,) = read(body, status=400)
    assert error == StreamError(1_000_000, "http_400", json.loads(body)["error"]["message"])


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 7000), max_size=30))
def test_any_split_into_reads_gives_the_same_events(name, cuts):
    body = recorded(name)
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    reads = tuple(Read(end, body[start:end]) for start, end in zip(edges, edges[1:], strict=False))
    torn = list(events_of(Reply(status=200, headers=(), reads=reads, ending="eof")))
    assert [strip(event) for event in torn] == [strip(event) for event in read(body)]


def strip(event):
    """The event without its stamp."""
    return type(event), [value for name, value in _fields(event) if name != "ns"]


def _fields(event):
    return [(field.name, getattr(event, field.name)) for field in event.__attrs_attrs__]


@given(st.binary(max_size=300), st.sampled_from([200, 200, 404, 500]))
def test_no_bytes_raise(body, status):
    read(b"data: " + body + b"\n\n", status=status)
    read(body, status=status)


WORDS = """
id choices delta content reasoning_content tool_calls function name arguments finish_reason usage timings error message
prompt_tokens prompt_tokens_details cached_tokens cache_n predicted_ms predicted_n
"""
NAMES = WORDS.split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)


@given(JSON)
def test_no_shape_raises_and_every_data_line_yields_an_event(value):
    events = read(b"data: " + json.dumps(value).encode() + b"\n\n")
    assert any(not isinstance(event, Identity) for event in events)


def test_the_other_spelling_of_reasoning_is_read_once():
    events = read(
        chunk(choices=[{"delta": {"reasoning": "a"}}]), chunk(choices=[{"delta": {"reasoning_content": "b"}}])
    )
    assert text(events, Reasoning) == "ab"
    both = read(chunk(choices=[{"delta": {"reasoning_content": "c", "reasoning": "c"}}]))
    assert text(both, Reasoning) == "c"


def test_tool_calls_are_told_by_name_and_arguments():
    call = {"index": 0, "id": "x", "function": {"name": "add", "arguments": '{"a":'}}
    events = read(
        chunk(choices=[{"delta": {"tool_calls": [call]}}]),
        chunk(choices=[{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}}]),
        chunk(choices=[{"delta": {}, "finish_reason": "tool_calls"}]),
    )
    assert text(events, ToolCall) == 'add{"a":1}'
    assert one(events, Finish).reason == "tool_calls"


def test_cached_tokens_come_from_the_timings_where_usage_does_not_tell():
    events = read(
        chunk(choices=[{"delta": {}, "finish_reason": "stop"}], timings={"cache_n": 7}),
        chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2}),
    )
    assert one(events, Usage).cached_prompt_tokens == 7


def test_an_error_in_mid_stream_is_told_with_its_type_and_words():
    said = {"code": 500, "message": "Compute error.", "type": "server_error"}
    events = read(chunk(choices=[{"delta": {"content": "a"}}]), chunk(error=said))
    assert events[-1] == StreamError(2_000_000, "server_error", "Compute error.")


@pytest.mark.parametrize("error", ["boom", {"message": "boom"}, {"message": "boom", "type": "not one word"}])
def test_an_error_without_a_usable_type_is_an_engine_error(error):
    (found,) = read(chunk(error=error))
    assert found == StreamError(1_000_000, "engine_error", "boom")


def test_a_null_error_is_none():
    assert text(read(chunk(error=None, choices=[{"delta": {"content": "a"}}])), Answer) == "a"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>502</html>", "text/html: '<html>502</html>'"),
        (b'{"choices": [{"message": {"content": "hi"}}]}', 'text/html: \'{"choices"'),
        (b"x" * 1000, "xxx...'"),
    ],
)
def test_a_body_that_is_no_event_stream_is_told_with_its_beginning(body, said):
    (error,) = read(body, headers=(("content-type", "text/html"),))
    assert error.kind == "bad_stream"
    assert said in error.message


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b":\n\n:\n\n", b"da", b"data: {", b"event: x\n\n", b"\xef\xbb\xbfdata: {"]
)
def test_a_stream_that_says_nothing_is_no_error_of_the_adapters(body):
    assert read(body, ending="reset") == []


def test_pings_between_chunks_are_passed_over():
    assert text(read(b":\n\n", chunk(choices=[{"delta": {"content": "a"}}]), b":\n\n"), Answer) == "a"


def test_numbers_that_no_ledger_can_hold_are_unknown():
    body = b'data: {"timings": {"predicted_ms": NaN, "prompt_ms": 1e999, "predicted_n": -1, "prompt_n": true}}\n\n'
    (timings,) = read(body)
    assert (timings.predicted_ns, timings.prompt_ns, timings.predicted_n, timings.prompt_n) == (None,) * 4
    json.dumps(dict(timings.raw), allow_nan=False)
