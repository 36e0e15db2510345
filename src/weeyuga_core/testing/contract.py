"""What every engine adapter owes the harness, as a test class that a plugin subclasses.

    class TestMyAdapter(EngineAdapterContract):
        def adapter(self):
            return MyAdapter(fake_target(), httpx.AsyncClient())

        def replies(self):
            return [recorded_body_1, recorded_body_2]

Each recorded body is that of one good streamed answer, as bytes. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import httpx
from attrs import asdict

from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineAdapter,
    Finish,
    Identity,
    Read,
    Reasoning,
    Reply,
    StreamError,
    StreamEvent,
    ToolCall,
)
from weeyuga_core.measure.timing import time_call
from weeyuga_core.measure.wire import ndjson_lines, sse_events
from weeyuga_core.testing.fakes import fake_call, fake_exchange, fake_reply

AWKWARD_PROMPT = ' two  spaces, a tab\t, "quotes", \\ and žluťoučký kůň 😀\n\n'
"""Whatever touches a prompt on its way shows in one of these."""

GARBAGE = (
    b"",
    b"\n\n\n",
    b"\x00\xff\xfe" * 50,
    b"<html><body>502 bad gateway</body></html>",
    b"data: {\n\n",
    b'data: null\n\ndata: 7\n\ndata: []\n\ndata: "word"\n\n',
    b'data: {"choices": 5}\n\ndata: {"choices": [null]}\n\ndata: {"choices": [{"delta": [1]}]}\n\n',
    b'data: {"choices": [{"delta": {"content": 5}}], "usage": "many", "timings": [1]}\n\n',
    b'data: {"usage": {"prompt_tokens": "x", "completion_tokens": -1, "prompt_tokens_details": 3}}\n\n',
    b'data: {"timings": {"predicted_ms": NaN, "prompt_ms": 1e999, "predicted_n": 1e400}}\n\n',
    b'data: {"error": 5}\n\ndata: {"error": {"message": {}}}\n\ndata: [DONE]\n\n',
    b"null\n7\n[]\n{\n",
    b'{"message": 5}\n{"message": {"content": 5}}\n{"done": "yes"}\n',
    b'{"done": 1, "eval_count": "x", "eval_duration": 1e999, "load_duration": {}}\n',
    b"[" * 100_000,
)
"""Bodies that no adapter should trust."""

_STEP_NS = 1_000_000


class EngineAdapterContract:
    """Subclass it in a test module, with a name that your test runner collects, and say what follows."""

    __test__ = False

    def __init_subclass__(cls) -> None:
        """Collected are the subclasses, not the contract that they import."""
        super().__init_subclass__()
        cls.__test__ = True

    def adapter(self) -> EngineAdapter:
        """A fresh adapter."""
        raise LookupError(f"{type(self).__name__} has to say what its adapter is")

    def replies(self) -> Sequence[bytes]:
        """Bodies of good answers that this adapter understands."""
        raise LookupError(f"{type(self).__name__} has to give recorded replies")

    # --- build ------------------------------------------------------------------------------------------------------

    def test_build_is_pure(self) -> None:
        """The same call gives the same request."""
        adapter = self.adapter()
        first, second = (adapter.build(fake_call(AWKWARD_PROMPT)) for _ in range(2))
        assert (first.method, first.url, first.headers.raw) == (second.method, second.url, second.headers.raw)
        assert first.content == second.content

    def test_build_asks_for_identity_encoding(self) -> None:
        """A compressed stream cannot be stamped piece by piece."""
        assert self.adapter().build(fake_call()).headers.get("accept-encoding") == "identity"

    def test_build_sends_the_prompt_verbatim_and_once(self) -> None:
        """Frozen prompts are compared by their bytes."""
        body = json.loads(self.adapter().build(fake_call(AWKWARD_PROMPT)).content)
        sent = [text for text in _strings(body) if text.strip() == AWKWARD_PROMPT.strip()]
        assert sent == [AWKWARD_PROMPT]

    def test_build_sends_the_token_budget(self) -> None:
        """Two budgets make two requests."""
        adapter = self.adapter()
        few, many = (adapter.build(fake_call(max_tokens=n)).content for n in (17, 23_456))
        assert few != many

    def test_build_states_the_length_of_its_body(self) -> None:
        """The transport writes head and body in one send, and knows where they end."""
        request: httpx.Request = self.adapter().build(fake_call(AWKWARD_PROMPT))
        assert request.headers.get("content-length") == str(len(request.content))

    # --- events -----------------------------------------------------------------------------------------------------

    def test_good_replies_are_understood(self) -> None:
        """A recorded answer ends well, with text, a finish word and a last word."""
        for body in self._good():
            events = self._events(fake_reply(body))
            assert not [event for event in events if isinstance(event, StreamError)]
            for kind in (Answer | Reasoning | ToolCall, Finish, Done):
                assert any(isinstance(event, kind) for event in events), f"no {kind} in {events}"
            assert time_call(fake_exchange(fake_reply(body)), events).error is None

    def test_events_are_pure(self) -> None:
        """Reading a reply twice with one adapter, or once each with two, gives the same events."""
        for body in self._good():
            adapter, reply = self.adapter(), fake_reply(body)
            first, second = list(adapter.events(reply)), list(adapter.events(reply))
            assert first == second == list(self.adapter().events(reply))

    def test_splits_change_nothing_but_stamps(self) -> None:
        """Bytes may come in any pieces."""
        for body in self._good():
            whole = _without_ns(self._events(fake_reply(body)))
            for size in (1, 2, 3, 7, 61, 1_000):
                reply = _cut(body, size)
                torn = self._events(reply)
                assert _without_ns(torn) == whole, f"pieces of {size} bytes read differently"
                stamps = [event.ns for event in torn]
                assert stamps == sorted(stamps), "events are not in order of arrival"
                assert set(stamps) <= {0, *(read.ns for read in reply.reads)}, "a stamp of no read"

    def test_every_data_line_yields_an_event_with_its_stamp(self) -> None:
        """The first chunk and the last one are found by their stamps."""
        for body in self._good():
            reply = _cut(body, 1)
            seen = {event.ns for event in self._events(reply) if not isinstance(event, Identity)}
            assert seen == set(_data_line_stamps(reply)), "a data line without an event, or an event off its line"

    def test_a_reply_cut_anywhere_never_raises_and_never_ends_well(self) -> None:
        """An engine may die in any byte; only a line's own end may be missing from a whole answer."""
        for body in self._good():
            whole = _without_ns(self._events(fake_reply(body)))
            for length in range(0, len(body), max(1, len(body) // 300)):
                events = self._events(fake_reply(body[:length], ending="reset"))
                if _without_ns(events) != whole:
                    assert time_call(fake_exchange(fake_reply(body[:length])), events).error is not None

    def test_garbage_never_raises_and_never_ends_well(self) -> None:
        """What an engine sends is a value, never an exception, and nonsense is never a good call."""
        for body in GARBAGE:
            for reply in (fake_reply(body), _cut(body[:5_000], 7)):
                assert time_call(fake_exchange(reply), self._events(reply)).error is not None

    def test_an_error_status_is_a_stream_error(self) -> None:
        """Whatever its body is."""
        for status in (400, 401, 404, 429, 500, 503):
            for body in (b'{"error": {"message": "no", "code": 1}}', b'{"error": "no"}', *GARBAGE):
                events = self._events(fake_reply(body, status=status))
                assert any(isinstance(event, StreamError) for event in events), f"status {status}, body {body[:40]!r}"

    def test_no_answer_at_all_never_raises(self) -> None:
        """The connection failed, or broke before the head."""
        for ending in ("connect", "reset", "idle", "total", "cancelled", "protocol"):
            self._events(fake_reply(status=None, ending=ending))

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _good(self) -> Sequence[bytes]:
        replies = self.replies()
        assert replies, "give at least one recorded reply"
        return replies

    def _events(self, reply: Reply) -> list[StreamEvent]:
        return list(self._adapter.events(reply))

    @cached_property
    def _adapter(self) -> EngineAdapter:
        """One adapter for all readings of a test: `events` is pure, and a client is slow to make."""
        return self.adapter()


def _cut(body: bytes, size: int) -> Reply:
    """The body in pieces of that size, a millisecond apart."""
    return fake_reply(*(body[i : i + size] for i in range(0, len(body), size)), step_ns=_STEP_NS)


def _without_ns(events: Sequence[StreamEvent]) -> list[Any]:
    """The events, stamps aside."""
    return [(type(event), {**asdict(event), "ns": 0}) for event in events]


def _data_line_stamps(reply: Reply) -> list[int]:
    """Where the data lines of a body end, in whichever of the two framings it is."""
    reads: tuple[Read, ...] = reply.reads
    events = [event.ns for event in sse_events(reads)]
    return events or [line.ns for line in ndjson_lines(reads)]


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
