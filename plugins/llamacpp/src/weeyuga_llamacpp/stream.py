"""What the bytes of llama.cpp's chat stream say. Pure: a reply in, events out, whatever the bytes are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineTimings,
    Finish,
    Identity,
    Reasoning,
    Reply,
    Role,
    StreamError,
    StreamEvent,
    ToolCall,
    Usage,
)
from weeyuga_core.measure.wire import sse_events

EXCERPT_CHARS = 160
"""How much of a body that makes no sense is quoted."""
MESSAGE_CHARS = 500
NS_PER_MS = 1_000_000
LARGEST = 2**53
"""Larger counts are nonsense, and not exact in every reader of the ledger."""
FIELDS = (b"data", b"event", b"id", b"retry")
"""With one of these, or a colon, begins every line of an event stream."""


def events_of(reply: Reply) -> Iterator[StreamEvent]:
    """The events of a whole reply, in order of arrival."""
    if reply.status is None:
        return
    if reply.status != 200:
        yield StreamError(_last_ns(reply), f"http_{reply.status}", message_of(reply.body) or "no message came with it")
    elif stranger := _first_strange_line(reply.body):
        kind = reply.header("content-type") or "no content type"
        yield StreamError(_last_ns(reply), "bad_stream", f"expected an event stream, got {kind}: {_excerpt(stranger)}")
    else:
        yield from _stream(reply)


def message_of(body: bytes) -> str:
    """The engine's own words in the body of a refusal; its text where it is no JSON; empty where there are none."""
    text = body.decode("utf-8", "replace").strip()
    return (_words_of(_parsed(text)) or text)[:MESSAGE_CHARS]


def _stream(reply: Reply) -> Iterator[StreamEvent]:
    identified = False
    cached: int | None = None
    for event in sse_events(reply.reads):
        if event.data == "[DONE]":
            yield Done(event.ns)
            continue
        chunk = _parsed(event.data)
        if not isinstance(chunk, Mapping):
            yield StreamError(event.ns, "bad_stream", f"expected a JSON object, got {_excerpt(event.data)}")
            continue
        if not identified and (response_id := _text(chunk.get("id"))):
            identified = True
            yield Identity(ns=event.ns, response_id=response_id)
        cached = _count(_object(chunk.get("timings")), "cache_n", cached)
        yield from list(_chunk(event.ns, chunk, cached)) or [Role(event.ns)]


def _chunk(ns: int, chunk: Mapping[str, Any], cached: int | None) -> Iterator[StreamEvent]:
    """What one chunk carries; nothing for the announcement of the role. `cached` is what timings said so far."""
    if chunk.get("error") is not None:
        yield StreamError(ns, *_failure(chunk))
    for choice in _list(chunk.get("choices")):
        yield from _choice(ns, _object(choice))
    if usage := _object(chunk.get("usage")):
        yield _usage(ns, usage, cached)
    if timings := _object(chunk.get("timings")):
        yield _timings(ns, timings)


def _choice(ns: int, choice: Mapping[str, Any]) -> Iterator[StreamEvent]:
    delta = _object(choice.get("delta"))
    if text := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
        yield Reasoning(ns, text)
    if text := _text(delta.get("content")):
        yield Answer(ns, text)
    if text := "".join(_call_text(_object(call)) for call in _list(delta.get("tool_calls"))):
        yield ToolCall(ns, text)
    if reason := _text(choice.get("finish_reason")):
        yield Finish(ns, reason)


def _call_text(call: Mapping[str, Any]) -> str:
    function = _object(call.get("function"))
    return _text(function.get("name")) + _text(function.get("arguments"))


def _usage(ns: int, usage: Mapping[str, Any], cached: int | None) -> Usage:
    return Usage(
        ns=ns,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_prompt_tokens=_count(_object(usage.get("prompt_tokens_details")), "cached_tokens", cached),
        reasoning_tokens=_count(_object(usage.get("completion_tokens_details")), "reasoning_tokens"),
    )


def _timings(ns: int, timings: Mapping[str, Any]) -> EngineTimings:
    """The engine starts the clock of `predicted_ms` after the first token: n tokens are n - 1 intervals."""
    predicted_n = _count(timings, "predicted_n")
    return EngineTimings(
        ns=ns,
        prompt_ns=_ms(timings.get("prompt_ms")),
        prompt_n=_count(timings, "prompt_n"),
        predicted_ns=_ms(timings.get("predicted_ms")),
        predicted_n=predicted_n,
        predicted_intervals=None if predicted_n is None else max(predicted_n - 1, 0),
        tokens_per_sec=_number(timings.get("predicted_per_second")),
        raw={name: value for name, value in timings.items() if not isinstance(value, list | Mapping)},
    )


def _failure(chunk: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and message of an error in mid-stream."""
    kind = _text(_object(chunk.get("error")).get("type"))
    known = kind if kind.isidentifier() and len(kind) <= 40 else "engine_error"
    return known, (_words_of(chunk) or "the engine gave no reason")[:MESSAGE_CHARS]


def _words_of(value: Any) -> str:
    """The message of an error in any of the forms that servers and proxies give it."""
    outer = _object(value)
    inner = _object(outer.get("error"))
    found = (inner.get("message"), outer.get("error"), outer.get("message"), outer.get("detail"))
    return next((words for words in found if isinstance(words, str) and words), "")


def _first_strange_line(body: bytes) -> str:
    """The first line, should it be none of an event stream. A line that was cut off may still become one."""
    for line in body.removeprefix(b"\xef\xbb\xbf").splitlines():
        if line and not line.startswith(b":"):
            name = line.partition(b":")[0]
            fits = any(name == field or (name == line and field.startswith(name)) for field in FIELDS)
            return "" if fits else line.decode("utf-8", "replace")
    return ""


def _parsed(text: str) -> Any:
    """The JSON value, in which no number is infinite or NaN; None for what is not JSON."""
    try:
        return json.loads(text, parse_constant=lambda _name: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if abs(number) != float("inf") else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | float | None:
    """A number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return value


def _count(owner: Mapping[str, Any], name: str, otherwise: int | None = None) -> int | None:
    number = _number(owner.get(name))
    return number if isinstance(number, int) else otherwise


def _ms(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else round(number * NS_PER_MS)


def _last_ns(reply: Reply) -> int:
    return reply.reads[-1].ns if reply.reads else 0


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= EXCERPT_CHARS else f"{text[:EXCERPT_CHARS]}...")
