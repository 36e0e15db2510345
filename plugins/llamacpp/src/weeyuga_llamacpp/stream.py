"""What the bytes of llama.cpp's chat stream say. Pure: a reply in, events out, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define

from weeyuga_core.chat_stream import chat_events
from weeyuga_core.interfaces import (
    Answer,
    EngineTimings,
    Finish,
    Reasoning,
    Reply,
    StreamError,
    StreamEvent,
    ToolCall,
    Usage,
)
from weeyuga_core.loose_json import count, items, mapping, message_of, number, text, words_of

NS_PER_MS = 1_000_000


def events_of(reply: Reply) -> Iterator[StreamEvent]:
    """The events of a whole reply, in order of arrival."""
    if reply.status == 200:
        yield from chat_events(reply, _Chunks().read)
    elif reply.status is not None:
        words = message_of(reply.body) or "no message came with it"
        yield StreamError(reply.last_ns, f"http_{reply.status}", words)


@define
class _Chunks:
    """Reads the chunks of one stream."""

    cached: int | None = None
    """What the timings said so far: the usage of some versions does not tell."""

    def read(self, ns: int, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """What one chunk carries; nothing for the announcement of the role."""
        timings = mapping(chunk.get("timings"))
        self.cached = count(timings, "cache_n", self.cached)
        if chunk.get("error") is not None:
            yield StreamError(ns, *_failure(chunk))
        for choice in items(chunk.get("choices")):
            yield from _choice(ns, mapping(choice))
        if usage := mapping(chunk.get("usage")):
            yield _usage(ns, usage, self.cached)
        if timings:
            yield _timings(ns, timings)


def _choice(ns: int, choice: Mapping[str, Any]) -> Iterator[StreamEvent]:
    delta = mapping(choice.get("delta"))
    if thought := text(delta.get("reasoning_content")) or text(delta.get("reasoning")):
        yield Reasoning(ns, thought)
    if words := text(delta.get("content")):
        yield Answer(ns, words)
    if calls := "".join(_call_text(mapping(call)) for call in items(delta.get("tool_calls"))):
        yield ToolCall(ns, calls)
    if reason := text(choice.get("finish_reason")):
        yield Finish(ns, reason)


def _call_text(call: Mapping[str, Any]) -> str:
    function = mapping(call.get("function"))
    return text(function.get("name")) + text(function.get("arguments"))


def _usage(ns: int, usage: Mapping[str, Any], cached: int | None) -> Usage:
    return Usage(
        ns=ns,
        prompt_tokens=count(usage, "prompt_tokens"),
        completion_tokens=count(usage, "completion_tokens"),
        cached_prompt_tokens=count(mapping(usage.get("prompt_tokens_details")), "cached_tokens", cached),
        reasoning_tokens=count(mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
    )


def _timings(ns: int, timings: Mapping[str, Any]) -> EngineTimings:
    """The engine starts the clock of `predicted_ms` after the first token: n tokens are n - 1 intervals."""
    predicted_n = count(timings, "predicted_n")
    return EngineTimings(
        ns=ns,
        prompt_ns=_ms(timings, "prompt_ms"),
        prompt_n=count(timings, "prompt_n"),
        predicted_ns=_ms(timings, "predicted_ms"),
        predicted_n=predicted_n,
        predicted_intervals=None if predicted_n is None else max(predicted_n - 1, 0),
        tokens_per_sec=number(timings, "predicted_per_second"),
        raw={name: value for name, value in timings.items() if not isinstance(value, list | Mapping)},
    )


def _failure(chunk: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and message of an error in mid-stream."""
    kind = text(mapping(chunk.get("error")).get("type"))
    known = kind if kind.isidentifier() and len(kind) <= 40 else "engine_error"
    return known, words_of(chunk) or "the engine gave no reason"


def _ms(owner: Mapping[str, Any], name: str) -> int | None:
    """The duration of that name, in ns."""
    value = number(owner, name)
    return None if value is None else round(value * NS_PER_MS)
