"""The part of a chat stream that is the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from weeyuga_core.chat_stream import chat_events
from weeyuga_core.interfaces import Answer, Done, Identity, Role, StreamError, StreamEvent
from weeyuga_core.testing.fakes import fake_reply

MS = 1_000_000


def say(ns: int, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
    if chunk.get("say"):
        yield Answer(ns, chunk["say"])


def read(*pieces: bytes, **reply: Any) -> list[StreamEvent]:
    """The events of those reads, which come a millisecond apart."""
    return list(chat_events(fake_reply(*pieces, **reply), say))


def test_a_stream_is_its_id_its_chunks_and_its_end() -> None:
    pieces = (b'data: {"id": "x"}\n\n', b'data: {"id": "x", "say": "hi"}\n\n', b"data: [DONE]\n\n")
    assert read(*pieces) == [
        Identity(ns=MS, response_id="x"),
        Role(MS),
        Answer(2 * MS, "hi"),
        Done(3 * MS),
    ]


def test_an_id_that_comes_late_is_told_once() -> None:
    pieces = [b'data: {"id": %s}\n\n' % ident for ident in (b'""', b"5", b'"a"', b'"b"')]
    assert [event for event in read(*pieces) if isinstance(event, Identity)] == [Identity(ns=3 * MS, response_id="a")]


@pytest.mark.parametrize("data", ["[1]", "null", "hi", '{"cut'])
def test_what_is_no_object_is_an_error_and_the_rest_is_read(data: str) -> None:
    events = read(f"data: {data}\n\n".encode(), b'data: {"say": "hi"}\n\n')
    assert events == [StreamError(MS, "bad_stream", f"expected a JSON object, got {data!r}"), Answer(2 * MS, "hi")]


@pytest.mark.parametrize("first", ["<html>", '{"say": "hi"}', "database: x"])
def test_a_body_of_another_kind_is_told_with_its_type_and_beginning(first: str) -> None:
    (error,) = read(f"\n{first}\nmore".encode(), headers=(("content-type", "text/html"),))
    assert error == StreamError(MS, "bad_stream", f"expected an event stream, got text/html: {first!r}")


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b":\n\n:\n\n", b"da", b"data", b"data: {", b"event: x\n\n", b"\xef\xbb\xbfdata: {"]
)
def test_a_body_that_was_cut_off_is_no_error_here(body: bytes) -> None:
    assert read(body, ending="reset") == []
