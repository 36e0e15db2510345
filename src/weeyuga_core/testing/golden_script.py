"""What the golden server is told to play, and the bytes and due times that follow from it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from attrs import evolve, field, fields_dict, frozen, validators

Shape = Literal["openai_sse", "ndjson"]

_US = 1_000
_PING = b":\n\n"
_HTML = b"<html><body>\xff 502 bad gateway \xfe</body></html>\n"
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}
_CONTENT_TYPES = {"openai_sse": "text/event-stream", "ndjson": "application/x-ndjson"}


class ScriptError(ValueError):
    """A script asks for something that the golden server does not know."""


def _count(default: int) -> Any:
    """A field that holds a whole number, zero or more."""
    return field(default=default, validator=[validators.instance_of(int), validators.ge(0)])


def _word(*words: str) -> Any:
    """A field that holds one of the words; the first is the default."""
    return field(default=words[0], validator=validators.in_(words))


def _yes(default: bool = True) -> Any:
    """A field that holds a truth value."""
    return field(default=default, validator=validators.instance_of(bool))


def _optional(kind: type, default: object) -> Any:
    """A field that holds a value of that kind, or null."""
    return field(default=default, validator=validators.optional(validators.instance_of(kind)))


@frozen(kw_only=True)
class GoldenScript:
    """One reply. Times count from the moment the whole request was there; the k-th delta is due at
    `first_delay_us + k * interval_us`, the end right after the last delta."""

    shape: Shape = _word("openai_sse", "ndjson")
    reasoning: int = _count(0)
    """Reasoning deltas, before the answer's."""
    chunks: int = _count(16)
    """Answer deltas."""
    text: str = field(default=" tok", validator=validators.instance_of(str))
    """Text of every delta."""
    first_text_bytes: int = _count(0)
    """Pads the first answer delta with that many letters."""
    interval_us: int = _count(10_000)
    first_delay_us: int = _count(20_000)
    head_delay_us: int = _count(0)
    align_us: int = _count(0)
    """Puts the first delta on the next multiple of this on the machine's monotonic clock, plus `phase_us`, so that
    streams asked for at different moments keep step."""
    phase_us: int = _count(0)
    role_chunk: bool = _yes()
    role_lead_us: int = _count(0)
    """How long before the first delta the role chunk goes out (openai_sse only)."""
    pings: int = _count(0)
    """Comments, spread over the wait for the first delta (blank lines in ndjson)."""
    finish: str | None = _optional(str, "stop")
    usage: bool = _yes()
    timings: bool = _yes()
    """The engine's own clock: what the schedule makes true, nothing for a duration of zero."""
    claims: dict[str, Any] = field(factory=dict, validator=validators.instance_of(dict))
    """Overrides keys of the timings, so that an engine can be made to lie."""
    done: bool = _yes()
    prompt_tokens: int = _count(12)
    cached_tokens: int = _count(0)
    completion_tokens: int | None = _optional(int, None)
    """By default the number of deltas."""
    per_write: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    """Deltas in one write, which is due when the last of them is."""
    split: str = _word("none", "halves", "utf8", "bytes")
    """One write in pieces: in two, inside its first character of several bytes, or byte by byte."""
    split_gap_us: int = _count(0)
    cut: str = _word("none", "stall", "reset", "close", "error", "end")
    """What happens after `cut_after` deltas: silence on an open connection, RST, FIN, an error event, or an end that
    is proper HTTP and nothing else."""
    cut_after: int = _count(0)
    status: int = field(default=200, validator=[validators.instance_of(int), validators.ge(200), validators.lt(600)])
    """Anything but 200 has a JSON body and no stream."""
    body: str = _word("stream", "html", "bad_json", "empty")
    framing: str = _word("chunked", "sized", "close")
    close: bool = _yes(False)
    """Close the connection after the reply, and say so in the head."""
    headers: dict[str, str] = field(factory=dict, validator=validators.instance_of(dict))
    """Additional response headers."""

    @classmethod
    def from_json(cls, wanted: object) -> GoldenScript:
        """The script of that JSON object. Raises ScriptError for what it does not know."""
        if not isinstance(wanted, Mapping):
            raise ScriptError(f"a golden script is an object, not {wanted!r}")
        known = fields_dict(cls)
        if unknown := sorted(set(wanted) - set(known)):
            raise ScriptError(f"unknown in a golden script: {', '.join(unknown)}; known: {', '.join(known)}")
        try:
            return cls(**wanted)
        except (TypeError, ValueError) as wrong:
            raise ScriptError(str(wrong.args[0])) from wrong

    @property
    def tokens(self) -> int:
        """Completion tokens as the engine counts them."""
        return self.reasoning + self.chunks if self.completion_tokens is None else self.completion_tokens


def fleet(n: int, script: GoldenScript, *, aligned: bool) -> list[GoldenScript]:
    """Scripts for n streams at once: all writing at the same moments, or spread evenly over one interval."""
    step = script.interval_us
    return [evolve(script, align_us=step, phase_us=0 if aligned else i * step // n) for i in range(n)]


class Write(NamedTuple):
    """One write: when it is due (ns of the monotonic clock), its bytes, and the data lines it completes.

    With no bytes, `marks` holds what to do instead: stall, reset or close.
    """

    due_ns: int
    data: bytes
    marks: tuple[str, ...]


def play(script: GoldenScript, ident: str, now_ns: int) -> Iterator[Write]:
    """The writes of one reply, in order of time; bytes are encoded before the first is asked for."""
    if script.status != 200 or script.body in ("html", "empty"):
        return iter([Write(now_ns + script.head_delay_us * _US, _plain_reply(script, ident), ("head", "end"))])
    encoder = _Encoder(script, ident)
    return _torn(script, _stream(script, encoder, now_ns))


def _plain_reply(script: GoldenScript, ident: str) -> bytes:
    """A whole reply with a length: an error's JSON, a page of HTML, or nothing."""
    message = f"scripted {script.status}"
    error: Any = {"code": script.status, "message": message} if script.shape == "openai_sse" else message
    body = {"html": _HTML, "empty": b""}.get(script.body, _json({"error": error}))
    if script.status != 200:
        return _head(script, ident, "application/json", length=len(body)) + body
    return _head(script, ident, _CONTENT_TYPES[script.shape], length=len(body)) + body


def _stream(script: GoldenScript, encoder: _Encoder, now_ns: int) -> Iterator[Write]:
    """The writes of a stream, each whole."""
    head_ns = now_ns + script.head_delay_us * _US
    base_ns = max(head_ns, _first_due(script, now_ns))
    yield Write(head_ns, encoder.head(), ("head",))
    for i in range(script.pings):
        yield Write(head_ns + (base_ns - head_ns) * (i + 1) // (script.pings + 1), encoder.ping, ())
    if encoder.role:
        yield Write(max(head_ns, base_ns - script.role_lead_us * _US), encoder.role, ("role",))
    last_ns = base_ns
    for last_ns, data, marks in _deltas(script, encoder, base_ns):
        yield Write(last_ns, data, marks)
    for data, mark in encoder.tail():
        yield Write(last_ns, data, (mark,))


def _first_due(script: GoldenScript, now_ns: int) -> int:
    """When the first delta is due."""
    due = now_ns + script.first_delay_us * _US
    if not script.align_us:
        return due
    step = script.align_us * _US
    return -(-due // step) * step + script.phase_us * _US


def _deltas(script: GoldenScript, encoder: _Encoder, base_ns: int) -> Iterator[Write]:
    """The deltas that are not cut off, `per_write` to a write."""
    total = _shown(script)
    for start in range(0, total, script.per_write):
        stop = min(start + script.per_write, total)
        yield Write(base_ns + (stop - 1) * script.interval_us * _US, *encoder.deltas(start, stop))


def _shown(script: GoldenScript) -> int:
    """How many deltas go out."""
    total = script.reasoning + script.chunks
    return total if script.cut == "none" else min(script.cut_after, total)


def _torn(script: GoldenScript, writes: Iterator[Write]) -> Iterator[Write]:
    """The writes after the head in pieces; the last piece bears the marks."""
    if script.split == "none":
        return writes
    return (piece for write in writes for piece in _pieces(script, write))


def _pieces(script: GoldenScript, write: Write) -> Iterator[Write]:
    """One write, torn as the script says."""
    if not write.data or write.marks == ("head",):
        yield write
        return
    cuts = [0, *_cuts(script.split, write.data), len(write.data)]
    for i, (start, stop) in enumerate(zip(cuts, cuts[1:], strict=False)):
        marks = write.marks if stop == len(write.data) else ()
        yield Write(write.due_ns + i * script.split_gap_us * _US, write.data[start:stop], marks)


def _cuts(split: str, data: bytes) -> list[int]:
    """Where to tear."""
    if split == "bytes":
        return list(range(1, len(data)))
    if split == "halves":
        return [len(data) // 2] if len(data) > 1 else []
    # Inside the first character of several bytes: after its leading byte.
    return [next(i for i, byte in enumerate(data) if byte >= 0xC0) + 1] if not data.isascii() else []


class _Encoder:
    """The bytes of one reply, made once: what repeats is the same object at every write."""

    def __init__(self, script: GoldenScript, ident: str) -> None:
        self._script = script
        self._ident = ident
        self._reasoning = self._line(self._delta(reasoning=True, text=script.text))
        self._answer = self._line(self._delta(reasoning=False, text=script.text))
        self._padded = self._line(self._delta(reasoning=False, text=script.text + "x" * script.first_text_bytes))
        self._framed: dict[tuple[int, int, bool], tuple[bytes, tuple[str, ...]]] = {}
        self.ping = self._frame(_PING if script.shape == "openai_sse" else b"\n")
        with_role = script.role_chunk and script.shape == "openai_sse"
        self.role = self._frame(self._line(self._chunk({"role": "assistant", "content": None}))) if with_role else b""

    def head(self) -> bytes:
        """Status line and headers."""
        script = self._script
        length = None if script.framing != "sized" else self._length()
        return _head(script, self._ident, _CONTENT_TYPES[script.shape], length=length)

    def deltas(self, start: int, stop: int) -> tuple[bytes, tuple[str, ...]]:
        """One write that carries the deltas from start up to stop, and their marks."""
        script = self._script
        reasoning = max(0, min(stop, script.reasoning) - start)
        padded = bool(script.first_text_bytes) and start <= script.reasoning < stop
        key = (reasoning, stop - start - reasoning, padded)
        if key not in self._framed:
            answers = [self._padded] * padded + [self._answer] * (key[1] - padded)
            self._framed[key] = (
                self._frame(b"".join([self._reasoning] * reasoning + answers)),
                ("reasoning",) * reasoning + ("answer",) * key[1],
            )
        return self._framed[key]

    def tail(self) -> Iterator[tuple[bytes, str]]:
        """What follows the last delta, each with its mark."""
        script = self._script
        if script.cut in ("stall", "reset", "close"):
            yield b"", script.cut
            return
        for line, mark in self._last_lines():
            yield self._frame(line), mark
        if script.framing == "chunked":
            yield b"0\r\n\r\n", "end"
        elif script.framing == "close":
            yield b"", "end"

    def _last_lines(self) -> list[tuple[bytes, str]]:
        """The lines after the last delta."""
        script = self._script
        if script.cut == "error":
            return [(self._line({"error": {"code": 500, "message": "scripted error"}}), "error")]
        if script.cut == "end":
            return []
        if script.shape == "ndjson":
            return [(self._line(self._done_line()), "done")] if script.done else []
        lines = []
        if script.finish is not None:
            lines.append((self._line(self._chunk({}, finish=script.finish)), "finish"))
        if script.usage or script.timings:
            lines.append((self._line(self._chunk(None) | self._usage() | self._timings()), "usage"))
        return [*lines, (b"data: [DONE]\n\n", "done")] if script.done else lines

    def _length(self) -> int:
        """Length of the whole body; one more than will come where the stream is to break off."""
        whole = _stream(evolve(self._script, framing="close"), _Encoder(self._framing_off(), self._ident), 0)
        broken = self._script.cut in ("stall", "reset", "close")
        return sum(len(write.data) for write in whole if write.marks != ("head",)) + broken

    def _framing_off(self) -> GoldenScript:
        return evolve(self._script, framing="close")

    def _frame(self, data: bytes) -> bytes:
        """The bytes as one chunk of HTTP's chunked coding, where that is in use."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._script.framing == "chunked" else data

    def _line(self, value: Mapping[str, Any]) -> bytes:
        """One data line."""
        broken = b"{" if self._script.body == "bad_json" else b""
        return (
            b"data: " + broken + _json(value) + b"\n\n"
            if self._script.shape == "openai_sse"
            else (broken + _json(value) + b"\n")
        )

    def _delta(self, *, reasoning: bool, text: str) -> dict[str, Any]:
        """The JSON of one delta."""
        if self._script.shape == "openai_sse":
            return self._chunk({"reasoning_content" if reasoning else "content": text})
        message = (
            {"role": "assistant", "content": "", "thinking": text}
            if reasoning
            else {"role": "assistant", "content": text}
        )
        return {"model": "golden", "id": self._ident, "message": message, "done": False}

    def _chunk(self, delta: Mapping[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        """The JSON of one openai_sse chunk; without a delta it has no choices."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return {"id": self._ident, "object": "chat.completion.chunk", "model": "golden", "choices": choices}

    def _usage(self) -> dict[str, Any]:
        script = self._script
        if not script.usage:
            return {}
        details = {"cached_tokens": script.cached_tokens}
        counts = {"prompt_tokens": script.prompt_tokens, "completion_tokens": script.tokens}
        return {"usage": counts | {"prompt_tokens_details": details}}

    def _timings(self) -> dict[str, Any]:
        """The schedule as an engine would tell it: the prompt until the first delta, then n - 1 intervals."""
        script = self._script
        if not script.timings:
            return {}
        told: dict[str, Any] = {
            "cache_n": script.cached_tokens,
            "prompt_n": script.prompt_tokens - script.cached_tokens,
        }
        if script.first_delay_us:
            told["prompt_ms"] = script.first_delay_us / 1e3
        if script.interval_us and script.tokens > 1:
            told |= {
                "predicted_n": script.tokens,
                "predicted_ms": (script.tokens - 1) * script.interval_us / 1e3,
                "predicted_per_second": 1e6 / script.interval_us,
            }
        return {"timings": told | script.claims}

    def _done_line(self) -> dict[str, Any]:
        """The last line of ndjson, durations in ns."""
        script = self._script
        line: dict[str, Any] = {"model": "golden", "id": self._ident, "done": True}
        if script.finish is not None:
            line["done_reason"] = script.finish
        if script.usage:
            line |= {"prompt_eval_count": script.prompt_tokens, "eval_count": script.tokens}
        if script.timings:
            predicted = max(0, script.tokens - 1) * script.interval_us * _US
            spent = {"prompt_eval_duration": script.first_delay_us * _US, "eval_duration": predicted}
            line |= {name: ns for name, ns in spent.items() if ns} | script.claims
        return line


def _head(script: GoldenScript, ident: str, content_type: str, *, length: int | None) -> bytes:
    """Status line and headers, with a length or the script's framing."""
    headers = {"content-type": content_type, "x-golden-id": ident} | script.headers
    if length is not None:
        headers["content-length"] = str(length)
    elif script.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    if script.close or script.framing == "close":
        headers["connection"] = "close"
    lines = [f"HTTP/1.1 {script.status} {_REASONS.get(script.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _json(value: Mapping[str, Any]) -> bytes:
    """Compact JSON that keeps characters of several bytes as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
