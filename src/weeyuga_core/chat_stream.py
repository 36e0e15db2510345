"""A chat answer that is streamed as JSON objects in server-sent events with `[DONE]` at the end, as most engines do it.

What stands in an object differs from engine to engine, and is the adapter's to read; the rest is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from weeyuga_core.interfaces import Done, Identity, Reply, Role, StreamError, StreamEvent
from weeyuga_core.loose_json import excerpt, parsed, text
from weeyuga_core.measure.wire import sse_events

ReadChunk: TypeAlias = Callable[[int, Mapping[str, Any]], Iterable[StreamEvent]]
"""What one object carries, given the stamp of its line in ns: no event for one that only announces the role."""

_FIELDS = (b"data", b"event", b"id", b"retry")
"""With one of these, or a colon, begins every line of an event stream."""


def chat_events(reply: Reply, read_chunk: ReadChunk) -> Iterator[StreamEvent]:
    """The events of the body of a reply whose status is 200, in order of arrival. Pure, where `read_chunk` is.

    The first `id` of an object is told as an Identity, an object that carries nothing as a Role, and what is no
    object, or no event stream at all, as a StreamError of kind `bad_stream`. A body that was cut off is no error here.
    """
    if stranger := _first_strange_line(reply.body):
        kind = reply.header("content-type") or "no content type"
        found = f"expected an event stream, got {kind}: {excerpt(stranger)}"
        yield StreamError(reply.last_ns, "bad_stream", found)
        return
    identified = False
    for event in sse_events(reply.reads):
        if event.data == "[DONE]":
            yield Done(event.ns)
            continue
        chunk = parsed(event.data)
        if not isinstance(chunk, Mapping):
            yield StreamError(event.ns, "bad_stream", f"expected a JSON object, got {excerpt(event.data)}")
            continue
        if not identified and (response_id := text(chunk.get("id"))):
            identified = True
            yield Identity(ns=event.ns, response_id=response_id)
        yield from tuple(read_chunk(event.ns, chunk)) or (Role(event.ns),)


def _first_strange_line(body: bytes) -> str:
    """The first line, should it be none of an event stream. A line that was cut off may still become one."""
    for line in body.removeprefix(b"\xef\xbb\xbf").splitlines():
        if line and not line.startswith(b":"):
            name = line.partition(b":")[0]
            fits = any(name == known or (name == line and known.startswith(name)) for known in _FIELDS)
            return "" if fits else line.decode("utf-8", "replace")
    return ""
