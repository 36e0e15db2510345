"""What one call's stamps and events say: the timing half of a call record. Pure.

Every `_ns` is a duration from t0, the stamp just before the first send.

    t0 ── write ── headers ── first chunk ── first delta ···· last delta ── total duration ── body end
                              (any data      (first text:                   (last event,
                               line)          reasoning,                     `[DONE]`)
                                              answer, tool)

Failure is decided in this order, and the first that holds names `error_kind`:

1. how the exchange ended: `connect`, `idle_timeout`, `total_timeout`, `reset`, `protocol`, `cancelled`;
2. a `StreamError` among the events: its own kind;
3. a status other than 200: `http_<status>`;
4. no `Finish` or no `Done` among the events: `stream_truncated`.

What was measured before a failure stays beside the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from attrs import asdict, fields_dict, frozen

from weeyuga_core.interfaces import (
    Answer,
    Done,
    EngineTimings,
    Finish,
    Identity,
    Reasoning,
    Reply,
    StreamError,
    StreamEvent,
    ToolCall,
    Usage,
)
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.model.records import CallRecord, ms

MIN_RATE_TOKENS = 2
"""A rate needs an interval between tokens."""

MIN_RATE_WINDOW_NS = 10_000_000
"""Below 10 ms the stamps' own error (some 0.1 ms) and the batching of writes are a visible share of the window."""

RATE_DECIMALS = 3

_ENDINGS = {
    "connect": ("connect", "could not connect"),
    "idle": ("idle_timeout", "no byte came within the idle timeout"),
    "total": ("total_timeout", "the call took longer than the total timeout"),
    "reset": ("reset", "the connection closed before the answer was complete"),
    "protocol": ("protocol", "the answer is not HTTP"),
    "cancelled": ("cancelled", "the call was cancelled"),
}
_EXCERPT_CHARS = 200

Delta = Reasoning | Answer | ToolCall
_DELTAS = (Reasoning, Answer, ToolCall)
_NO_CHUNKS = (Identity, StreamError)
"""Tuples, because `isinstance` is asked about every event, and takes five times as long with a union."""


@frozen(kw_only=True)
class Timing:
    """The fields of a call record that follow from the exchange and its events, under the record's names."""

    started_at_utc: str
    http_status: int | None
    stamp_point: str
    connection: str | None
    connection_retried: bool
    connect_ns: int | None
    write_ns: int | None
    headers_ns: int | None
    first_chunk_ns: int | None
    first_delta_ns: int | None
    first_reasoning_ns: int | None
    first_answer_ns: int | None
    last_delta_ns: int | None
    total_duration_ns: int | None
    body_end_ns: int | None
    """Null unless the body ended as HTTP says it should."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_prompt_tokens: int | None
    reasoning_tokens: int | None
    tokens_per_sec: float | None
    tokens_per_sec_null_reason: str | None
    decode_tokens_per_sec: float | None
    engine_tokens_per_sec: float | None
    finish_reason: str
    response_id: str | None
    backend: str | None
    answer_chars: int
    reasoning_chars: int
    delta_count: int
    read_count: int
    coalesced_deltas: int
    gap_p50_ns: int | None
    gap_max_ns: int | None
    engine_timings: Mapping[str, Any] | None
    client_lag_ns: int
    stamp_note: str | None
    receive_lag_p50_ns: int | None
    receive_lag_max_ns: int | None
    error_kind: str | None
    error: str | None
    call_flags: tuple[str, ...] = ()

    def record_fields(self) -> dict[str, Any]:
        """Keyword arguments for `CallRecord`: these fields, and the `_ms` twin of each `_ns` that has one."""
        fields = asdict(self, recurse=False)
        twins = {name: f"{name.removesuffix('_ns')}_ms" for name in fields if name.endswith("_ns")}
        return fields | {twin: ms(fields[name]) for name, twin in twins.items() if twin in fields_dict(CallRecord)}


def time_call(exchange: Exchange, events: Sequence[StreamEvent]) -> Timing:
    """Join an exchange and the events its adapter read in it.

    `first_chunk_ns` and `total_duration_ns` count every event of the stream but `Identity`, which may come from a
    header, and `StreamError`, which may stand for a whole body.
    """
    reply = exchange.reply
    chunks = [event.ns for event in events if not isinstance(event, _NO_CHUNKS)]
    deltas = deltas_of(events)
    stamps = [delta.ns for delta in deltas]
    gaps = gaps_of(deltas)
    reasoning = [delta for delta in deltas if isinstance(delta, Reasoning)]
    answer = [delta for delta in deltas if isinstance(delta, Answer)]
    usage = _usage(events)
    engine = engine_timings_of(events)
    first, last, total = _at(stamps, 0), _at(stamps, -1), _at(chunks, -1)
    rate, why_not = _rate(usage.completion_tokens, usage.completion_tokens, first, total)
    intervals = None if usage.completion_tokens is None else usage.completion_tokens - 1
    kind, words = _error(reply, events)
    return Timing(
        started_at_utc=exchange.started_at_utc,
        http_status=reply.status,
        stamp_point=exchange.stamp_point,
        connection=exchange.connection,
        connection_retried=exchange.retried,
        connect_ns=exchange.connect_ns,
        write_ns=exchange.write_ns,
        headers_ns=exchange.headers_ns,
        first_chunk_ns=_at(chunks, 0),
        first_delta_ns=first,
        first_reasoning_ns=_at([delta.ns for delta in reasoning], 0),
        first_answer_ns=_at([delta.ns for delta in answer], 0),
        last_delta_ns=last,
        total_duration_ns=total,
        body_end_ns=exchange.end_ns if reply.ending == "eof" else None,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        tokens_per_sec=rate,
        tokens_per_sec_null_reason=why_not,
        decode_tokens_per_sec=_rate(usage.completion_tokens, intervals, first, last)[0],
        engine_tokens_per_sec=_engine_rate(engine),
        finish_reason=_finish(events) or "error",
        response_id=_identity(events, "response_id"),
        backend=_identity(events, "backend"),
        answer_chars=sum(len(delta.text) for delta in answer),
        reasoning_chars=sum(len(delta.text) for delta in reasoning),
        delta_count=len(deltas),
        read_count=len(reply.reads),
        coalesced_deltas=gaps.count(0),
        gap_p50_ns=round(median(gaps)) if gaps else None,
        gap_max_ns=max(gaps) if gaps else None,
        engine_timings=None if engine is None else _plain(engine.raw),
        client_lag_ns=exchange.lag_ns,
        stamp_note=exchange.stamp_note,
        receive_lag_p50_ns=round(median(exchange.receive_lags_ns)) if exchange.receive_lags_ns else None,
        receive_lag_max_ns=max(exchange.receive_lags_ns, default=None),
        error_kind=kind,
        error=words,
        call_flags=_flags(events, deltas, usage, failed=kind is not None),
    )


def deltas_of(events: Sequence[StreamEvent]) -> list[Delta]:
    """The non-empty pieces of text, in order of arrival."""
    return [event for event in events if isinstance(event, _DELTAS) and event.text]


def gaps_of(deltas: Sequence[Delta]) -> list[int]:
    """Times in ns between consecutive deltas: 0 where two share a read, and so its stamp."""
    return [after.ns - before.ns for before, after in pairwise(deltas)]


def engine_timings_of(events: Sequence[StreamEvent]) -> EngineTimings | None:
    """The engine's last word about its own clock: engines that repeat it count upwards."""
    return next((event for event in reversed(events) if isinstance(event, EngineTimings)), None)


def _usage(events: Sequence[StreamEvent]) -> Usage:
    """The last value of each count."""
    known: dict[str, int] = {}
    for event in events:
        if isinstance(event, Usage):
            known |= {name: count for name, count in asdict(event).items() if count is not None}
    return Usage(**{"ns": 0, **known})


def _rate(tokens: int | None, units: int | None, start: int | None, end: int | None) -> tuple[float | None, str | None]:
    """`units` per second from `start` to `end`, or None and the reason."""
    if tokens is None or units is None:
        return None, "no completion_tokens"
    if start is None or end is None:
        return None, "no delta"
    if tokens < MIN_RATE_TOKENS:
        return None, f"fewer than {MIN_RATE_TOKENS} tokens"
    if end - start < MIN_RATE_WINDOW_NS:
        return None, f"window under {MIN_RATE_WINDOW_NS // 1_000_000} ms"
    return round(units / ((end - start) / 1e9), RATE_DECIMALS), None


def _engine_rate(engine: EngineTimings | None) -> float | None:
    """The engine's own rate; null where its window spans no interval, since any figure would divide by nothing."""
    if engine is None or engine.tokens_per_sec is None or not math.isfinite(engine.tokens_per_sec):
        return None
    if engine.predicted_intervals is not None and engine.predicted_intervals < 1:
        return None
    return round(engine.tokens_per_sec, RATE_DECIMALS)


def _finish(events: Sequence[StreamEvent]) -> str | None:
    """The engine's own finish word."""
    return next((event.reason for event in reversed(events) if isinstance(event, Finish) and event.reason), None)


def _identity(events: Sequence[StreamEvent], name: str) -> str | None:
    """The first value that any `Identity` gives."""
    values = (getattr(event, name) for event in events if isinstance(event, Identity))
    return next((value for value in values if value is not None), None)


def _error(reply: Reply, events: Sequence[StreamEvent]) -> tuple[str | None, str | None]:
    """Kind and words of what went wrong; see the table at the top."""
    told = next((event for event in events if isinstance(event, StreamError)), None)
    if reply.ending != "eof":
        kind, words = _ENDINGS[reply.ending]
        engine = f"; the engine said: {told.message}" if told else ""
        return kind, _with(words, reply.detail) + engine
    if told:
        return told.kind, told.message
    if reply.status != 200:
        excerpt = reply.body.decode("utf-8", "replace")[:_EXCERPT_CHARS].strip()
        return f"http_{reply.status}", _with(f"HTTP status {reply.status}", excerpt)
    if missing := _missing(events):
        words = f"the stream ended without {' and '.join(missing)}"
        return "stream_truncated", words if reply.reads else "the answer was empty"
    return None, None


def _missing(events: Sequence[StreamEvent]) -> list[str]:
    """What a stream that is whole would have had."""
    finished = _finish(events) is not None
    done = any(isinstance(event, Done) for event in events)
    return ["a finish reason"] * (not finished) + ["its end marker"] * (not done)


def _with(words: str, detail: str) -> str:
    """The words, and the detail where there is one."""
    return f"{words}: {detail}" if detail else words


def _flags(events: Sequence[StreamEvent], deltas: Sequence[Delta], usage: Usage, *, failed: bool) -> tuple[str, ...]:
    """What a reader must know before believing the row. A failed call says why in its error instead."""
    flags = []
    finish = _finish(events)
    if finish not in (None, "stop"):
        flags.append(f"finish_reason: {finish}")
    if failed:
        return tuple(flags)
    if not any(isinstance(delta, Answer | ToolCall) for delta in deltas):
        flags.append(f"empty_answer: {_why_empty(finish, reasoned=bool(deltas))}")
    if missing := [name for name in ("prompt_tokens", "completion_tokens") if getattr(usage, name) is None]:
        flags.append(f"no_usage: the engine gave no {' and no '.join(missing)}")
    return tuple(flags)


def _why_empty(finish: str | None, *, reasoned: bool) -> str:
    """How an answer came to be empty."""
    if not reasoned:
        return "no text came"
    return "reasoning only" if finish == "stop" else "budget spent on reasoning"


def _at(stamps: Sequence[int], index: int) -> int | None:
    """The stamp at that index, or None where there are none."""
    return stamps[index] if stamps else None


def _plain(value: Any) -> Any:
    """The value as strict JSON can hold it: NaN and the infinities, which some engines send, as words."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
