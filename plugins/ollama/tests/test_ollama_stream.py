"""Recorded streams of a real Ollama, and everything else that may stand where they are expected."""

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
from weeyuga_core.measure.timing import time_call
from weeyuga_core.testing.contract import EngineAdapterContract
from weeyuga_core.testing.fakes import fake_exchange, fake_reply, fake_target
from weeyuga_ollama.adapter import OllamaAdapter
from weeyuga_ollama.stream import native_events, openai_events

DATA = Path(__file__).parent / "data"
NATIVE = ("answer-cold", "answer-warm", "length", "reasoning", "reasoning-only")
OPENAI = ("answer", "reasoning")


def recorded(name):
    return (DATA / name).read_bytes()


def native(*pieces, **reply):
    return list(native_events(fake_reply(*pieces, **reply), "tiny"))


def openai(*pieces, **reply):
    return list(openai_events(fake_reply(*pieces, **reply), "tiny"))


def one(events, kind):
    """The only event of that kind."""
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


def text(events, kind):
    return "".join(event.text for event in events if isinstance(event, kind))


def error_of(events, **reply):
    """What the core makes of these events."""
    return time_call(fake_exchange(fake_reply(b"x", **reply)), events).error_kind


def line(**fields):
    return json.dumps(fields).encode() + b"\n"


def said(**message):
    return line(message={"role": "assistant", **message}, done=False)


def chunk(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(finish_reason=None, **fields):
    return chunk(id="chatcmpl-1", choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


class TestTheContractOnTheNativeRoute(EngineAdapterContract):
    def adapter(self):
        return OllamaAdapter(fake_target(engine="ollama"), httpx.AsyncClient())

    def replies(self):
        return [recorded(f"{name}.ndjson") for name in NATIVE]


class TestTheContractOnTheOpenAIRoute(EngineAdapterContract):
    def adapter(self):
        return OllamaAdapter(fake_target(engine="ollama", options={"api": "openai"}), httpx.AsyncClient())

    def replies(self):
        return [recorded(f"{name}.sse") for name in OPENAI] + [OLDER_GENERATION]


# --- the native route ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
def test_counts_and_durations_are_those_of_the_last_line(name):
    body = recorded(f"{name}.ndjson")
    told = json.loads(body.splitlines()[-1])
    events = native(body)
    usage, timings = one(events, Usage), one(events, EngineTimings)
    assert (usage.prompt_tokens, usage.completion_tokens) == (told["prompt_eval_count"], told["eval_count"])
    assert usage.cached_prompt_tokens is None
    assert (timings.load_ns, timings.prompt_ns) == (told["load_duration"], told["prompt_eval_duration"])
    assert (timings.predicted_ns, timings.predicted_n) == (told["eval_duration"], told["eval_count"])
    assert timings.total_ns == told["total_duration"]
    assert timings.prompt_n is None
    assert timings.raw.items() <= told.items()
    assert one(events, Finish).reason == told["done_reason"]
    assert isinstance(events[-1], Done)


def test_n_tokens_are_n_minus_1_intervals():
    timings = one(native(recorded("answer-warm.ndjson")), EngineTimings)
    assert timings.predicted_intervals == timings.predicted_n - 1
    assert timings.tokens_per_sec == pytest.approx(timings.predicted_intervals / (timings.predicted_ns / 1e9))


def test_one_token_has_no_rate():
    timings = one(native(line(done=True, done_reason="length", eval_count=1, eval_duration=1000)), EngineTimings)
    assert (timings.predicted_intervals, timings.tokens_per_sec) == (0, None)


def test_reasoning_and_answer_are_told_apart():
    events = native(recorded("reasoning.ndjson"))
    kinds = [type(event) for event in events if isinstance(event, Reasoning | Answer)]
    assert kinds == sorted(kinds, key=[Reasoning, Answer].index)
    assert text(events, Reasoning) == "A greeting.\n"
    assert text(events, Answer) == "Good morning to you!"


def test_a_budget_spent_on_reasoning_leaves_no_answer():
    body = recorded("reasoning-only.ndjson")
    timing = time_call(fake_exchange(fake_reply(body)), native(body))
    assert "empty_answer: budget spent on reasoning" in timing.call_flags


def test_text_on_the_last_line_comes_before_its_end():
    events = native(line(message={"thinking": "a", "content": "b"}, done=True, done_reason="stop", eval_count=2))
    assert [type(event) for event in events] == [Reasoning, Answer, Usage, EngineTimings, Finish, Done]


def test_a_line_without_text_is_a_role():
    assert native(said(content=""))[0] == Role(1_000_000)


def test_a_tool_call_is_told_by_name_and_arguments():
    call = {"id": "call_1", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}
    assert text(native(said(content="", tool_calls=[call])), ToolCall) == 'add{"a": 1}'


def test_an_error_in_mid_stream_is_told_in_the_engines_words():
    events = native(said(content="a"), line(error="an error was encountered while running the model: EOF"))
    assert text(events, Answer) == "a"
    error = one(events, StreamError)
    assert (error.kind, error.ns) == ("engine_error", 2_000_000)
    assert error.message == "an error was encountered while running the model: EOF"
    assert error_of(events) == "engine_error"


@pytest.mark.parametrize(
    "end",
    [b"", line(done=True), line(done=True, done_reason=""), b'{"message": {"content": "cut of'],
    ids=["nothing", "no reason", "empty reason", "half a line"],
)
def test_a_stream_without_its_end_is_truncated(end):
    events = native(said(content="a"), end)
    assert not [event for event in events if isinstance(event, StreamError)]
    assert error_of(events) == "stream_truncated"


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"<html>502</html>", "'<html>502</html>'"),
        (b'{"message": \n{}\n', "'{\"message\":'"),
        (b'data: {"choices": []}\n\n', "'data: {"),
        (b"x" * 1000, "xxx...'"),
        (b'["a", "list"]', '\'["a", "list"]\''),
    ],
)
def test_what_is_no_json_line_is_a_bad_stream_told_with_its_beginning(body, quoted):
    error = next(event for event in native(body) if isinstance(event, StreamError))
    assert error.kind == "bad_stream"
    assert quoted in error.message


def test_numbers_that_no_ledger_can_hold_are_unknown():
    body = b'{"done": true, "load_duration": NaN, "eval_count": -1, "eval_duration": 1e999, "total_duration": true}\n'
    timings = one(native(body), EngineTimings)
    assert (timings.load_ns, timings.predicted_n, timings.predicted_ns, timings.total_ns) == (None,) * 4
    json.dumps(dict(timings.raw), allow_nan=False)


# --- the OpenAI-style route ------------------------------------------------------------------------------------------

OLDER_GENERATION = b"".join(
    [
        delta(role="assistant", content="Red"),
        delta(role="assistant", content="dish"),
        delta(role="assistant", content="", finish_reason="stop"),
        chunk(id="chatcmpl-1", choices=[], usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}),
        b"data: [DONE]\n\n",
    ]
)
"""Before 0.32.6: the role on every chunk, and the finish word on the last one that has a content."""


@pytest.mark.parametrize("name", OPENAI)
def test_the_openai_route_tells_usage_and_identity_but_no_timings(name):
    body = recorded(f"{name}.sse")
    told = json.loads(body.decode().split("data: ")[-2])
    events = openai(body)
    assert one(events, Identity).response_id == told["id"]
    usage = one(events, Usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        told["usage"]["prompt_tokens"],
        told["usage"]["completion_tokens"],
    )
    assert not [event for event in events if isinstance(event, EngineTimings)]
    assert isinstance(events[-1], Done)


def test_both_routes_tell_the_same_text():
    for route, kinds in (("answer", [Answer]), ("reasoning", [Reasoning, Answer])):
        of_native = native(recorded(f"{route}-warm.ndjson" if route == "answer" else f"{route}.ndjson"))
        of_openai = openai(recorded(f"{route}.sse"))
        assert [text(of_native, kind) for kind in kinds] == [text(of_openai, kind) for kind in kinds]


def test_the_older_generation_is_understood():
    events = openai(OLDER_GENERATION)
    assert text(events, Answer) == "Reddish"
    assert one(events, Finish).reason == "stop"
    assert one(events, Usage).completion_tokens == 3


def test_tool_calls_of_the_openai_route_are_told_by_name_and_arguments():
    call = {"id": "call_1", "index": 0, "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    assert text(openai(delta(tool_calls=[call])), ToolCall) == 'add{"a":1}'


def test_an_error_that_this_route_lost_on_its_way_is_a_truncated_stream():
    """A mid-stream error comes out as an empty chunk, and the stream ends."""
    events = openai(delta(content="a"), chunk(id="chatcmpl-1", model="", choices=[{"index": 0, "delta": {}}]))
    assert error_of(events) == "stream_truncated"


def test_an_error_event_is_told():
    assert one(openai(chunk(error={"message": "boom", "type": "api_error"})), StreamError).message == "boom"


def test_what_is_no_event_stream_is_told_with_its_beginning():
    error = one(openai(b'{"choices": []}'), StreamError)
    assert (error.kind, error.message) == (
        "bad_stream",
        "expected an event stream, got no content type: '{\"choices\": []}'",
    )


# --- refusals, on both ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [native, openai])
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"error":"model \'tiny\' not found"}', "model 'tiny' not found; to get it, type: ollama pull tiny"),
        (404, b"404 page not found", "404 page not found"),
        (
            400,
            b'{"error":{"message":"\\"tiny\\" does not support thinking","type":"invalid_request_error"}}',
            '"tiny" does not support thinking; take `think` or `reasoning_effort` out of the cell\'s options',
        ),
        (503, b'{"error":"server busy, please try again."}', "server busy, please try again."),
        (500, b"", "no message came with it"),
    ],
)
def test_a_refusal_speaks_in_the_engines_words_and_says_what_to_do(read, status, body, message):
    assert read(body, status=status) == [StreamError(1_000_000, f"http_{status}", message)]


def test_a_refused_host_name_is_explained():
    (error,) = native(status=403)
    assert error.kind == "http_403"
    assert "refuses this endpoint's host name" in error.message


@pytest.mark.parametrize("read", [native, openai])
def test_no_answer_yields_nothing(read):
    assert read(status=None, ending="connect") == []


# --- whatever the bytes are ------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.sampled_from([200, 200, 404, 500]))
def test_no_bytes_raise(body, status):
    for read in (native, openai):
        read(body, status=status)
        read(b"data: " + body + b"\n\n", status=status)


WORDS = """
id choices delta content reasoning tool_calls function name arguments finish_reason usage error message thinking done
done_reason prompt_tokens eval_count eval_duration load_duration prompt_eval_count
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=6),
    max_leaves=12,
)


@given(JSON)
def test_no_shape_raises_and_every_data_line_yields_an_event(value):
    body = json.dumps(value).encode()
    assert native(body + b"\n")
    assert any(not isinstance(event, Identity) for event in openai(b"data: " + body + b"\n\n"))


@pytest.mark.parametrize(
    ("read", "name"), [(native_events, "reasoning.ndjson"), (openai_events, "reasoning.sse")], ids=["native", "openai"]
)
@given(cuts=st.sets(st.integers(min_value=1, max_value=1500)))
def test_reads_may_split_anywhere(read, name, cuts):
    body = recorded(name)
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    reads = tuple(Read(end, body[start:end]) for start, end in zip(edges, edges[1:], strict=False))
    torn = read(Reply(status=200, headers=(), reads=reads, ending="eof"), "tiny")
    assert [strip(event) for event in torn] == [strip(event) for event in read(fake_reply(body), "tiny")]


def strip(event):
    """The event without its stamp."""
    return type(event), [getattr(event, field.name) for field in event.__attrs_attrs__ if field.name != "ns"]
