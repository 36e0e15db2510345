"""What the bytes of Ollama's two chat routes say. Pure: a reply in, events out, whatever the bytes are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from weeyuga_core.chat_stream import chat_events
from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineTimings,
    Finish,
    Reasoning,
    Reply,
    Role,
    StreamError,
    StreamEvent,
    ToolCall,
    Usage,
)
from weeyuga_core.loose_json import count, excerpt, items, mapping, message_of, parsed, text, words_of
from weeyuga_core.measure.wire import ndjson_lines
from weeyuga_ollama.enquiry import FOREIGN_NAME, how_to_get

TIMINGS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)
"""What the last line of a native stream tells, durations in ns. A value of zero is left out."""
NS_PER_S = 1_000_000_000


def native_events(reply: Reply, model: str) -> Iterator[StreamEvent]:
    """The events of a reply of `/api/chat`: JSON lines."""
    if refused := refusal(reply, model):
        yield refused
    elif reply.status is not None:
        lines = list(ndjson_lines(reply.reads))
        for number, line in enumerate(lines, 1):
            chunk = parsed(line.text)
            if isinstance(chunk, Mapping):
                yield from list(_native(line.ns, chunk)) or [Role(line.ns)]
            elif number < len(lines) or not _cut_off(reply, line.text):
                yield StreamError(line.ns, "bad_stream", f"expected a JSON object, got {excerpt(line.text)}")


def openai_events(reply: Reply, model: str) -> Iterator[StreamEvent]:
    """The events of a reply of `/v1/chat/completions`: server-sent events."""
    if refused := refusal(reply, model):
        yield refused
    elif reply.status is not None:
        yield from chat_events(reply, _chunk)


def refusal(reply: Reply, model: str) -> StreamError | None:
    """What an answer other than 200 says, and what to do about it; None for the others."""
    if reply.status is None or reply.status == 200:
        return None
    words = message_of(reply.body)
    advice = ""
    if reply.status == 404 and "model" in words:
        advice = how_to_get(model)
    elif reply.status == 400 and "thinking" in words:
        advice = "; take `think` or `reasoning_effort` out of the cell's options"
    elif reply.status == 403 and not words:
        words = FOREIGN_NAME
    return StreamError(reply.last_ns, f"http_{reply.status}", f"{words or 'no message came with it'}{advice}")


def _native(ns: int, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
    """What one line carries; the last one may still carry text."""
    if chunk.get("error") is not None:
        yield _failure(ns, chunk)
    message = mapping(chunk.get("message"))
    if thought := text(message.get("thinking")):
        yield Reasoning(ns, thought)
    yield from _said(ns, message)
    if chunk.get("done") is True:
        yield Usage(
            ns=ns, prompt_tokens=count(chunk, "prompt_eval_count"), completion_tokens=count(chunk, "eval_count")
        )
        yield _timings(ns, chunk)
        if reason := text(chunk.get("done_reason")):
            yield Finish(ns, reason)
        yield Done(ns)


def _timings(ns: int, chunk: Mapping[str, Any]) -> EngineTimings:
    """Ollama's own clock.

    `eval_duration` starts when the first token is there (one token takes 0.001 ms), so n tokens are n - 1 intervals;
    `ollama run --verbose` divides by n. `prompt_eval_count` is the whole prompt while `prompt_eval_duration` is only
    for what was not cached, so how many tokens were processed is not known.
    """
    predicted_n, predicted_ns = count(chunk, "eval_count"), count(chunk, "eval_duration")
    intervals = None if predicted_n is None else max(predicted_n - 1, 0)
    return EngineTimings(
        ns=ns,
        load_ns=count(chunk, "load_duration"),
        prompt_ns=count(chunk, "prompt_eval_duration"),
        predicted_ns=predicted_ns,
        predicted_n=predicted_n,
        predicted_intervals=intervals,
        total_ns=count(chunk, "total_duration"),
        tokens_per_sec=intervals * NS_PER_S / predicted_ns if intervals and predicted_ns else None,
        raw={name: chunk[name] for name in TIMINGS if isinstance(chunk.get(name), int | float)},
    )


def _chunk(ns: int, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
    """What one chunk carries, in either generation: the finish word comes with the last text, or after it."""
    if chunk.get("error") is not None:
        yield _failure(ns, chunk)
    for choice in map(mapping, items(chunk.get("choices"))):
        delta = mapping(choice.get("delta"))
        if thought := text(delta.get("reasoning")) or text(delta.get("reasoning_content")):
            yield Reasoning(ns, thought)
        yield from _said(ns, delta)
        if reason := text(choice.get("finish_reason")):
            yield Finish(ns, reason)
    if usage := mapping(chunk.get("usage")):
        yield Usage(
            ns=ns, prompt_tokens=count(usage, "prompt_tokens"), completion_tokens=count(usage, "completion_tokens")
        )


def _said(ns: int, message: Mapping[str, Any]) -> Iterator[StreamEvent]:
    if words := text(message.get("content")):
        yield Answer(ns, words)
    if calls := "".join(_call_text(mapping(call)) for call in items(message.get("tool_calls"))):
        yield ToolCall(ns, calls)


def _call_text(call: Mapping[str, Any]) -> str:
    """Name and arguments, which are an object on the native route and its JSON text on the other."""
    function = mapping(call.get("function"))
    arguments = function.get("arguments")
    return text(function.get("name")) + (json.dumps(arguments) if isinstance(arguments, Mapping) else text(arguments))


def _failure(ns: int, chunk: Mapping[str, Any]) -> StreamError:
    return StreamError(ns, "engine_error", words_of(chunk) or "the engine gave no reason")


def _cut_off(reply: Reply, last_line: str) -> bool:
    """Whether the body ends inside a JSON object: a stream that broke off is none of another kind."""
    return last_line.startswith("{") and not reply.body.endswith(b"\n")
