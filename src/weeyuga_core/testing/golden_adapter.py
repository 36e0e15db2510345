"""The engine adapter of the golden server. No entry point offers it: calibration and tests build it themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from weeyuga_core.interfaces import (
    Answer,
    Call,
    ColdClaim,
    ColdProof,
    Done,
    EngineTimings,
    Finish,
    Health,
    Identity,
    Reasoning,
    Reply,
    Role,
    StreamError,
    StreamEvent,
    Target,
    ToolCall,
    Usage,
)
from weeyuga_core.loose_json import count, items, mapping, message_of, number, parsed, text, words_of
from weeyuga_core.measure.wire import ndjson_lines, sse_events

_HEALTH_S = 1.0
_ANSWER_S = 10.0
_NS_PER_MS = 1_000_000
_PATHS = {"openai_sse": "/v1/chat/completions", "ndjson": "/api/chat"}
_DELTAS: dict[str, Callable[[int, str], StreamEvent]] = {
    "reasoning_content": Reasoning,
    "thinking": Reasoning,
    "content": Answer,
    "tool_calls": ToolCall,
}


class GoldenAdapter:
    """Asks a golden server for the reply that the cell's `options` script; see `golden_script.GoldenScript`."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self._target = target
        self._http = http
        self._shape = target.cell.options.get("shape", "openai_sse")

    async def health(self) -> Health:
        """Ready when the server says so within 1 s."""
        try:
            answer = await self._http.get(f"{self._target.base_url}/health", timeout=_HEALTH_S)
        except httpx.HTTPError as wrong:
            return Health("down", str(wrong) or type(wrong).__name__)
        return Health("ready") if answer.status_code == 200 else Health("loading", f"HTTP status {answer.status_code}")

    async def engine_version(self) -> str | None:
        """What the server says of itself."""
        return await self._prop("version")

    async def model_digest(self) -> str | None:
        """What the server says of its model, which is none."""
        return await self._prop("digest")

    async def make_cold(self) -> ColdClaim:
        """There is nothing to unload."""
        return ColdClaim("process_warm", "a golden server loads nothing")

    def build(self, call: Call) -> httpx.Request:
        """The prompt as one user message, and the script."""
        body = {
            "model": self._target.cell.model_name,
            "messages": [{"role": "user", "content": call.prompt.text}],
            "max_tokens": call.prompt.max_tokens,
            "stream": True,
            "golden": dict(self._target.cell.options),
        }
        url = f"{self._target.base_url}{_PATHS[self._shape]}"
        return httpx.Request("POST", url, json=body, headers={"accept-encoding": "identity"})

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """The events of either shape."""
        if reply.status != 200:
            yield from _refusal(reply)
            return
        if self._shape == "ndjson":
            lines = [(line.ns, line.text) for line in ndjson_lines(reply.reads)]
        else:
            lines = [(event.ns, event.data) for event in sse_events(reply.reads)]
        if not lines and reply.ending == "eof" and reply.body.strip():
            yield StreamError(reply.last_ns, "bad_stream", f"not a stream: {reply.body[:80]!r}")
        named = None
        for ns, line in lines:
            if line == "[DONE]":
                yield Done(ns)
                continue
            chunk = parsed(line)
            if not isinstance(chunk, Mapping):
                yield StreamError(ns, "bad_stream", f"not a JSON object: {line[:80]!r}")
            elif "error" in chunk:
                yield StreamError(ns, "engine_error", words_of(chunk) or "an error without words")
            else:
                name = text(chunk.get("id"))
                if name and name != named:
                    named = name
                    yield Identity(ns=ns, response_id=name)
                yield from _parts(ns, chunk) or (Role(ns),)

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """Cold means that no prompt token was cached, as far as the server says."""
        cached = next((e.cached_prompt_tokens for e in reversed(events) if isinstance(e, Usage)), None)
        if cached is None:
            return ColdProof(None, "cached tokens unknown")
        return ColdProof(cached == 0, f"{cached} cached tokens")

    async def _prop(self, name: str) -> str | None:
        answer = await self._http.get(f"{self._target.base_url}/props", timeout=_ANSWER_S)
        value = answer.raise_for_status().json().get(name)
        return value if isinstance(value, str) else None


def _refusal(reply: Reply) -> Iterator[StreamEvent]:
    """An answer that is no stream."""
    if reply.status is not None:
        words = message_of(reply.body) or f"HTTP status {reply.status}"
        yield StreamError(reply.last_ns, f"http_{reply.status}", words)


def _parts(ns: int, chunk: Mapping[str, Any]) -> list[StreamEvent]:
    """What a chunk carries besides its id."""
    choice = mapping(next(iter(items(chunk.get("choices"))), None))
    message = mapping(choice.get("delta")) or mapping(chunk.get("message"))
    found: list[StreamEvent] = [
        _DELTAS[name](ns, said if isinstance(said, str) else json.dumps(said))
        for name, said in message.items()
        if said and name in _DELTAS
    ]
    finish = choice.get("finish_reason", chunk.get("done_reason"))
    if isinstance(finish, str):
        found.append(Finish(ns, finish))
    if usage := _usage(ns, chunk):
        found.append(usage)
    if timings := _timings(ns, chunk):
        found.append(timings)
    if chunk.get("done") is True:
        found.append(Done(ns))
    return found


def _usage(ns: int, chunk: Mapping[str, Any]) -> Usage | None:
    """Token counts, in either shape."""
    if usage := mapping(chunk.get("usage")):
        return Usage(
            ns=ns,
            prompt_tokens=count(usage, "prompt_tokens"),
            completion_tokens=count(usage, "completion_tokens"),
            cached_prompt_tokens=count(mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
        )
    if "eval_count" in chunk:
        return Usage(
            ns=ns, prompt_tokens=count(chunk, "prompt_eval_count"), completion_tokens=count(chunk, "eval_count")
        )
    return None


def _timings(ns: int, chunk: Mapping[str, Any]) -> EngineTimings | None:
    """The engine's clock, in either shape; it counts n - 1 intervals in both."""
    if told := mapping(chunk.get("timings")):
        return _made_timings(ns, told, "prompt_ms", "predicted_ms", "predicted_n", _NS_PER_MS)
    if "eval_duration" in chunk or "prompt_eval_duration" in chunk:
        told = {name: chunk[name] for name in ("prompt_eval_duration", "eval_duration", "eval_count") if name in chunk}
        return _made_timings(ns, told, "prompt_eval_duration", "eval_duration", "eval_count", 1)
    return None


def _made_timings(ns: int, told: Mapping[str, Any], prompt: str, predicted: str, n: str, unit: int) -> EngineTimings:
    """Timings from those keys, durations in `unit` ns."""
    tokens = count(told, n)
    intervals = None if tokens is None else max(0, tokens - 1)
    predicted_ns = _duration(told, predicted, unit)
    rate = number(told, "predicted_per_second")
    if rate is None and intervals and predicted_ns:
        rate = intervals / (predicted_ns / 1e9)
    return EngineTimings(
        ns=ns,
        prompt_ns=_duration(told, prompt, unit),
        prompt_n=count(told, "prompt_n"),
        predicted_ns=predicted_ns,
        predicted_n=tokens,
        predicted_intervals=intervals,
        tokens_per_sec=rate,
        raw=dict(told),
    )


def _duration(values: Mapping[str, Any], name: str, unit: int) -> int | None:
    """A duration in ns."""
    value = number(values, name)
    return None if value is None else round(value * unit)
