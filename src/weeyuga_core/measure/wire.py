"""Event streams and JSON lines out of timestamped reads. Pure: bytes with stamps in, text with stamps out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO

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
    splitter = _Splitter(universal=True)
    data: list[str] = []
    event: str | None = None
    ns = 0
    for read in reads:
        if not data and event is None and (whole := splitter.whole_event(read.data)) is not None:
            yield SseEvent(read.ns, whole)
            continue
        for line in splitter.lines(read):
            if not line:
                if data:
                    yield SseEvent(ns, "\n".join(data), event)
                data, event = [], None
                continue
            name, value = _field(line)
            if name == "data":
                data.append(value)
                ns = read.ns
            elif name == "event":
                event = value or None
    if data and splitter.between_lines:
        yield SseEvent(ns, "\n".join(data), event)


def ndjson_lines(reads: Iterable[Read]) -> Iterator[JsonLine]:
    """The non-blank lines of an `application/x-ndjson` body; a last line needs no newline.

    Its stamp is then that of the read that brought its last byte. Only LF ends a line: a CR is white space in JSON.
    """
    splitter = _Splitter(universal=False)
    ns = 0
    for read in reads:
        ns = read.ns if read.data else ns
        for line in splitter.lines(read):
            if text := _json_text(line):
                yield JsonLine(ns, text)
    if text := _json_text(splitter.rest()):
        yield JsonLine(ns, text)


def _json_text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip(" \t\r")


class _Splitter:
    """Cut reads into lines ended by LF, or with `universal` by LF, CR or CRLF; a leading byte order mark is dropped.

    Each byte is joined once, so a megabyte that comes in small reads costs linear time.
    """

    def __init__(self, *, universal: bool) -> None:
        self._universal = universal
        self._parts: list[bytes] = []
        self._after_cr = False
        self._begun = False

    @property
    def between_lines(self) -> bool:
        """Nothing is held of a line whose end has not come."""
        return not self._parts

    def lines(self, read: Read) -> Iterator[bytes]:
        """The lines that end in this read, without their ends."""
        data = read.data
        if not data:
            return
        # A CR ended the line when it came; the LF of a CRLF that was torn apart ends nothing more.
        pieces = data[1:] if self._after_cr and data[:1] == b"\n" else data
        self._after_cr = self._universal and data[-1:] == b"\r"
        for piece in pieces.splitlines(keepends=True) if self._universal else BytesIO(pieces).readlines():
            line = piece.rstrip(b"\r\n" if self._universal else b"\n")
            self._parts.append(line)
            if len(line) < len(piece):
                yield self.rest()

    def rest(self) -> bytes:
        """What is held of a line; nothing is held afterwards."""
        line, self._parts = b"".join(self._parts), []
        line, self._begun = (line if self._begun else line.removeprefix(_BOM)), True
        return line

    def whole_event(self, raw: bytes) -> str | None:
        """What the read says when it is one event of one data line and nothing else; None when it is not.

        Nearly every read of a stream is, and asking first halves the time that a stream takes to be parsed.
        """
        if self._parts or raw[:6] != b"data: " or raw[-2:] != b"\n\n" or raw.count(b"\n") != 2 or b"\r" in raw:
            return None
        self._after_cr, self._begun = False, True
        return raw[6:-2].decode("utf-8", "replace")


def _field(raw: bytes) -> tuple[str, str]:
    """Name and value of an event-stream line; a comment has the empty name."""
    name, _, value = raw.decode("utf-8", "replace").partition(":")
    return name, value.removeprefix(" ")
