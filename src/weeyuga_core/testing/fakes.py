"""Values for tests: a target, a call, a reply, an exchange and a stream, each with defaults that make a good call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weeyuga_core.interfaces import (
    Answer,
    Call,
    Done,
    EngineTimings,
    Finish,
    Read,
    Reply,
    Role,
    StreamEvent,
    Target,
    Usage,
)
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.model.plan import Cell, Prompt, Timeouts

MS = 1_000_000
"""Nanoseconds in a millisecond."""


def fake_target(base_url: str = "http://127.0.0.1:9", *, engine: str = "golden", **cell: Any) -> Target:
    """A target on that URL; keyword arguments are fields of its cell."""
    label = cell.pop("label", "model")
    made = Cell(id=f"here:{engine}:{label}", node="here", engine=engine, label=label, endpoint=base_url, **cell)
    return Target(cell=made, base_url=base_url, timeouts=Timeouts())


def fake_call(text: str = "hi\n", *, max_tokens: int = 16, **call: Any) -> Call:
    """A warm call of that prompt; keyword arguments are fields of the call."""
    prompt = Prompt(id="P-TEST", text=text, max_tokens=max_tokens)
    filled: dict[str, Any] = {"run_id": "run", "seq": 1, "cell_id": "here:golden:model", "phase": "warm", "run_idx": 0}
    return Call(prompt=prompt, **filled | call)


def fake_reply(*pieces: bytes, status: int | None = 200, step_ns: int = MS, **reply: Any) -> Reply:
    """A reply whose pieces came `step_ns` apart, the first after one step; ends well unless told otherwise."""
    reads = tuple(Read(i * step_ns, piece) for i, piece in enumerate(pieces, 1))
    filled: dict[str, Any] = {"headers": (), "ending": "eof"} | reply
    return Reply(status=status, reads=reads, **filled)


def fake_exchange(reply: Reply | None = None, **exchange: Any) -> Exchange:
    """A plain exchange around that reply; keyword arguments are fields of the exchange."""
    reply = fake_reply() if reply is None else reply
    filled: dict[str, Any] = {
        "t0_clock_ns": 5_000 * MS,
        "started_at_utc": "2026-01-02T03:04:05.678901Z",
        "connection": "reused",
        "write_ns": MS // 10,
        "headers_ns": MS,
        "end_ns": reply.reads[-1].ns if reply.reads else MS,
    }
    return Exchange(reply=reply, **filled | exchange)


def fake_stream(
    stamps: Sequence[int],
    *,
    usage: Usage | None = None,
    timings: EngineTimings | None = None,
    finish: str | None = "stop",
    done: bool = True,
) -> list[StreamEvent]:
    """The events of a good answer with one one-letter delta at each stamp, and everything else at the last one."""
    last = stamps[-1] if stamps else 0
    counted = usage or Usage(ns=last, prompt_tokens=3, completion_tokens=len(stamps))
    events: list[StreamEvent] = [Role(stamps[0] if stamps else 0), *(Answer(ns, "x") for ns in stamps)]
    events += [Finish(last, finish)] if finish else []
    events += [event for event in (counted, timings) if event is not None]
    return [*events, Done(last)] if done else events
