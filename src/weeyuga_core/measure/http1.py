"""HTTP/1.1 on the wire, without I/O: a request as one buffer, a response's framing followed read by read.

Our own framing and not a parser library, because it must know what was asked (HEAD), skip interim responses, bound what
a server can make us hold, and tell the body bytes of each read; on a stream of small chunks it costs 2 us a read.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import cache
from importlib.metadata import version

import httpx

MAX_HEAD_BYTES = 64 * 1024
"""Bound of all heads of one response together (interim ones included), and of its trailers."""
MAX_SIZE_LINE_BYTES = 4 * 1024
"""Bound of a chunk's size line, extensions included."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\n\r?\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_SIZE_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?")
_UNSENDABLE = re.compile(rb"[\r\n\0]")

# --- requests ------------------------------------------------------------------------------------------------


@cache
def user_agent() -> bytes:
    """What the harness calls itself, version included."""
    return f"weeyuga-bench/{version('weeyuga-bench')}".encode()


def encode_request(request: httpx.Request, body: bytes) -> bytes:
    """Head and body as one buffer, the head completed with what every measured request says.

    The body is always sized and compression is never asked for, whatever the request's own headers say: a decoder
    between socket and stamp would hold tokens back. Raises `httpx.LocalProtocolError` for a header that would break
    the head; its value, which may be a secret, is not in the message.
    """
    headers = [
        (name, value)
        for name, value in request.headers.raw
        if name.lower() not in (b"accept-encoding", b"content-length", b"transfer-encoding")
    ]
    names = {name.lower() for name, _ in headers}
    if b"host" not in names:
        headers.insert(0, (b"Host", request.url.netloc))
    if b"user-agent" not in names:
        headers.append((b"User-Agent", user_agent()))
    headers.append((b"Accept-Encoding", b"identity"))
    if body or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"Content-Length", b"%d" % len(body)))
    for name, value in headers:
        if _UNSENDABLE.search(name) or _UNSENDABLE.search(value):
            shown = name.decode("latin-1").strip()
            raise httpx.LocalProtocolError(f"the value of header {shown!r} holds a line break or a zero byte")
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# --- responses -----------------------------------------------------------------------------------------------


class _Stage(Enum):
    HEAD = auto()
    SIZED = auto()
    SIZE_LINE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()


class Malformed(Exception):
    """What the server sent is not HTTP/1.1; the message says why."""


class ResponseFraming:
    """Follow one response through reads of any size.

    `feed` takes each read and returns the body bytes in it. After every call: `status` is None until the head is
    complete, `done` says that the body has ended, `error` holds words once the bytes stop being HTTP.
    """

    __slots__ = (
        "_headless",
        "_held",
        "_keep_alive",
        "_left",
        "_seen",
        "_stage",
        "error",
        "excess",
        "headers",
        "status",
    )

    def __init__(self, method: str) -> None:
        self.status: int | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.error: str | None = None
        self.excess = False
        """Bytes came after the end of the response."""
        self._headless = method == "HEAD"
        self._stage = _Stage.HEAD
        self._held = b""
        self._seen = 0
        self._left = 0
        self._keep_alive = False

    @property
    def done(self) -> bool:
        """The body has ended as its framing says."""
        return self._stage is _Stage.DONE

    @property
    def ends_at_close(self) -> bool:
        """Only the end of the connection ends this body."""
        return self._stage is _Stage.UNTIL_CLOSE

    @property
    def reusable(self) -> bool:
        """The connection may carry another request."""
        return self.done and self._keep_alive and not self.excess and self.error is None

    def feed(self, data: bytes) -> bytes:
        """Body bytes of this read, transfer coding removed. After an error, those before the fault."""
        parts: list[bytes] = []
        try:
            self._follow(data, parts)
        except Malformed as fault:
            self.error = str(fault)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _follow(self, data: bytes, parts: list[bytes]) -> None:
        while data:
            stage = self._stage
            if stage is _Stage.SIZE_LINE:
                data = self._size_line(data, parts)
            elif stage is _Stage.CHUNK or stage is _Stage.SIZED:
                data = self._counted(data, parts)
            elif stage is _Stage.UNTIL_CLOSE:
                parts.append(data)
                return
            elif stage is _Stage.HEAD:
                data = self._head(data)
            elif stage is _Stage.CHUNK_END:
                data = self._chunk_end(data)
            elif stage is _Stage.TRAILERS:
                data = self._trailers(data)
            else:
                self.excess = True
                return

    # --- head ---

    def _head(self, data: bytes) -> bytes:
        fresh = max(0, len(self._held) - 2)
        held = self._held + data
        if not held.startswith(b"HTTP/1."[: len(held)]):
            raise Malformed(f"the answer begins with {held[:24]!r}, which is not HTTP/1.1{_tls_hint(held)}")
        end = _HEAD_END.search(held, fresh)
        if self._seen + (end.end() if end else len(held)) > MAX_HEAD_BYTES:
            raise Malformed(f"the response head is longer than {MAX_HEAD_BYTES} bytes")
        if end is None:
            self._held = held
            return b""
        self._held = b""
        self._seen += end.end()
        self._begin(*_parse_head(held[: end.start() + 1]))
        return held[end.end() :]

    def _begin(self, minor: int, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        if status == 101:
            raise Malformed("the server switched protocols (status 101) without being asked to")
        if status < 200:
            return
        length = _content_length(headers)
        coding = ",".join(value for name, value in headers if name == "transfer-encoding").strip().lower()
        packing = ",".join(value for name, value in headers if name == "content-encoding").strip().lower()
        tokens = {t.strip().lower() for name, value in headers if name == "connection" for t in value.split(",")}
        self.status, self.headers = status, headers
        # Both length and coding: a proxy on the way may have read the length, so nothing after this body is ours.
        clear = not (coding and length is not None)
        self._keep_alive = clear and ("close" not in tokens if minor else "keep-alive" in tokens)
        if self._headless or status in (204, 304):
            self._stage = _Stage.DONE
        elif packing not in ("", "identity"):
            raise Malformed(f"the body came as content-encoding {packing!r} though only identity was asked for")
        elif coding == "chunked":
            self._stage = _Stage.SIZE_LINE
        elif coding:
            raise Malformed(f"the body came as transfer-encoding {coding!r} though only chunked is understood")
        elif length is None:
            self._stage = _Stage.UNTIL_CLOSE
        else:
            self._left = length
            self._stage = _Stage.SIZED if length else _Stage.DONE

    # --- body ---

    def _counted(self, data: bytes, parts: list[bytes]) -> bytes:
        taken = data[: self._left]
        parts.append(taken)
        self._left -= len(taken)
        if not self._left:
            self._stage = _Stage.CHUNK_END if self._stage is _Stage.CHUNK else _Stage.DONE
        return data[len(taken) :]

    def _size_line(self, data: bytes, parts: list[bytes]) -> bytes:
        """Take whole chunks as long as there are any: nearly every read of a stream is one or more of them."""
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and (line := _SIZE_LINE.match(data, at)):
            size = int(line[1], 16)
            start = line.end()
            stop = start + size
            if not size:
                self._stage = _Stage.TRAILERS
                return data[start:]
            if data[stop : stop + 2] != b"\r\n":
                self._left = size
                self._stage = _Stage.CHUNK
                return data[start:]
            parts.append(data[start:stop])
            at = stop + 2
        rest = data[at:]
        if rest and not _SIZE_LINE_BEGUN.fullmatch(rest):
            raise Malformed(f"{rest[:24]!r} stands where a chunk's size should be")
        if len(rest) > MAX_SIZE_LINE_BYTES:
            raise Malformed(f"a chunk's size line is longer than {MAX_SIZE_LINE_BYTES} bytes")
        self._held = rest
        return b""

    def _chunk_end(self, data: bytes) -> bytes:
        held = self._held + data
        if not held.startswith(b"\r\n"[: len(held)]):
            raise Malformed(f"{held[:24]!r} stands where a chunk should end")
        if len(held) < 2:
            self._held = held
            return b""
        self._held = b""
        self._stage = _Stage.SIZE_LINE
        return held[2:]

    def _trailers(self, data: bytes) -> bytes:
        fresh = max(0, len(self._held) - 2)
        held = self._held + data
        end = _LINE_END.match(held) or _HEAD_END.search(held, fresh)
        if (end.end() if end else len(held)) > MAX_HEAD_BYTES:
            raise Malformed(f"the trailers are longer than {MAX_HEAD_BYTES} bytes")
        if end is None:
            self._held = held
            return b""
        self._held = b""
        _parse_fields(held[: end.start() + 1] if end.start() else b"")
        self._stage = _Stage.DONE
        return held[end.end() :]


def _parse_head(head: bytes) -> tuple[int, int, tuple[tuple[str, str], ...]]:
    """Minor version, status and headers of a head that ends in its last line's newline."""
    line, _, fields = head.partition(b"\n")
    first = _STATUS_LINE.fullmatch(line.removesuffix(b"\r"))
    if first is None:
        raise Malformed(f"{line[:40]!r} is not a status line of HTTP/1.1")
    return int(first[1]), int(first[2]), _parse_fields(fields)


def _parse_fields(fields: bytes) -> tuple[tuple[str, str], ...]:
    """Names in lower case and values of lines that each end in a newline; folded lines are joined."""
    headers = []
    for line in _LINE_END.split(_FOLD.sub(b" ", fields))[:-1]:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise Malformed(f"{line[:40]!r} is not a header line")
        headers.append((found[1].decode("ascii").lower(), found[2].decode("latin-1")))
    return tuple(headers)


def _content_length(headers: tuple[tuple[str, str], ...]) -> int | None:
    said = {part.strip() for name, value in headers if name == "content-length" for part in value.split(",")}
    if not said:
        return None
    if len(said) > 1 or not re.fullmatch("[0-9]{1,18}", word := said.pop()):
        raise Malformed("the content-length is not one number")
    return int(word)


def _tls_hint(answer: bytes) -> str:
    return " (it looks like TLS: is the endpoint https?)" if answer[:2] == b"\x15\x03" else ""
