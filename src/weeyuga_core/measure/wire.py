"""Event streams and JSON lines out of timestamped reads. Pure: bytes with stamps in, text with stamps out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import NamedTuple

from attrs import frozen

from weeyuga_core.interfaces import Read

_BOM = b"\xef\xbb\xbf"


@frozen
class SseEvent:
    """One server-sent event: `ns` is the stamp of the read that brought the newline of its last data line."""

    ns: int
    data: str
    event: str | None = None


@frozen
class JsonLine:
    """One non-blank line of newline-delimited JSON, not yet parsed: `ns` is the stamp of the read that ended it."""

    ns: int
    text: str


def sse_events(reads: Iterable[Read]) -> Iterator[SseEvent]:
    """The events of a `text/event-stream` body, by the WHATWG rules, however the bytes are split over the reads.

    Lines end with LF, CR or CRLF; comments and unknown fields are passed over; broken UTF-8 becomes U+FFFD.

    One departure: at the end of the body the rules drop an event whose blank line is missing. Servers do close
    right after `data: [DONE]` and one newline, so such an event is yielded when the body ends on a whole line, and
    dropped when it ends inside one, since then nobody can tell what was cut off.
    """
    data: list[str] = []
    event: str | None = None
    ns = 0
    for line in _lines(reads, universal=True):
        if not line.ended:
            return
        if not line.raw:
            if data:
                yield SseEvent(ns, "\n".join(data), event)
            data, event = [], None
            continue
        name, value = _field(line.raw)
        if name == "data":
            data.append(value)
            ns = line.ns
        elif name == "event":
            event = value or None
    if data:
        yield SseEvent(ns, "\n".join(data), event)


def ndjson_lines(reads: Iterable[Read]) -> Iterator[JsonLine]:
    """The non-blank lines of an `application/x-ndjson` body; a last line needs no newline.

    Its stamp is then that of the read that brought its last byte. Only LF ends a line: a CR is white space in JSON.
    """
    for line in _lines(reads, universal=False):
        text = line.raw.decode("utf-8", "replace").strip(" \t\r")
        if text:
            yield JsonLine(line.ns, text)


class _Line(NamedTuple):
    """A line without its end; `ended` is False for a last one that has none."""

    ns: int
    raw: bytes
    ended: bool


def _lines(reads: Iterable[Read], *, universal: bool) -> Iterator[_Line]:
    """Lines over any split of the bytes, a leading byte order mark removed.

    Each byte is joined once, so a megabyte that comes in small reads costs linear time.
    """
    start = True
    for line in _split(reads, universal=universal):
        yield line._replace(raw=line.raw.removeprefix(_BOM)) if start else line
        start = False


def _split(reads: Iterable[Read], *, universal: bool) -> Iterator[_Line]:
    """Lines ended by LF, or with `universal` by LF, CR or CRLF."""
    parts: list[bytes] = []
    ns = 0
    after_cr = False
    for read in reads:
        if not read.data:
            continue
        ns = read.ns
        # A CR ended the line when it came; the LF of a CRLF that was torn apart ends nothing more.
        data = read.data[1:] if after_cr and read.data[:1] == b"\n" else read.data
        after_cr = universal and read.data[-1:] == b"\r"
        for piece in data.splitlines(keepends=True) if universal else BytesIO(data).readlines():
            raw = piece.rstrip(b"\r\n" if universal else b"\n")
            parts.append(raw)
            if len(raw) < len(piece):
                yield _Line(ns, b"".join(parts), True)
                parts = []
    if parts:
        yield _Line(ns, b"".join(parts), False)


def _field(raw: bytes) -> tuple[str, str]:
    """Name and value of an event-stream line; a comment has the empty name."""
    name, _, value = raw.decode("utf-8", "replace").partition(":")
    return name, value.removeprefix(" ")
