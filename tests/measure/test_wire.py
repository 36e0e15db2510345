from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.interfaces import Read
from weeyuga_core.measure.wire import JsonLine, SseEvent, ndjson_lines, sse_events


def reads_of(*pieces: bytes) -> list[Read]:
    """Reads stamped 10, 20, 30, ..."""
    return [Read(10 * i, piece) for i, piece in enumerate(pieces, 1)]


def bytewise(body: bytes) -> list[Read]:
    """One read a byte, stamped with the byte's offset."""
    return [Read(i, body[i : i + 1]) for i in range(len(body))]


def cut(body: bytes, cuts: Iterable[int]) -> list[Read]:
    """The body in pieces, each stamped with the offset of its last byte; empty pieces are kept."""
    edges = [0, *sorted(min(c, len(body)) for c in cuts), len(body)]
    return [Read(b - 1, body[a:b]) for a, b in zip(edges, edges[1:], strict=False)]


def data_of(body: bytes) -> list[str]:
    return [event.data for event in sse_events([Read(0, body)])]


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\n", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\ndata\ndata\n\n", ["", "\n"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", ["a", "b", "c"]),
        (b": ping\n\ndata: a\n: ping\n\n", ["a"]),
        (b":\n\n:\n\n", []),
        (b"id: 7\nretry: 9\nwhat: ever\ndata: a\n\n", ["a"]),
        (b"event: only\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
        ("data: a\u2028b\x0bc\n\n".encode(), ["a\u2028b\x0bc"]),
        (b"data: \xff\xc3\n\n", ["\ufffd\ufffd"]),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_event_streams_are_read_by_the_published_rules(body: bytes, data: list[str]) -> None:
    assert data_of(body) == data


def test_event_names_are_kept_for_their_event_only() -> None:
    body = b"event: error\ndata: a\n\ndata: b\n\nevent:\ndata: c\n\n"
    assert [e.event for e in sse_events([Read(0, body)])] == ["error", None, None]


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\ndata: [DONE]\n", ["a", "[DONE]"]),
        (b"data: a\n\ndata: [DON", ["a"]),
        (b"data: a\ndata: b", []),
        (b"data: a\n: pi", []),
    ],
)
def test_a_body_that_ends_early_loses_the_line_that_was_cut(body: bytes, data: list[str]) -> None:
    assert data_of(body) == data


def test_an_event_bears_the_stamp_of_the_newline_of_its_last_data_line() -> None:
    reads = reads_of(b"data: a", b"\n", b"\ndata: b\nda", b"ta: c", b"\n", b"id: 1\n\n")
    assert list(sse_events(reads)) == [SseEvent(20, "a"), SseEvent(50, "b\nc")]


def test_a_carriage_return_ends_its_line_before_the_line_feed_comes() -> None:
    assert list(sse_events(reads_of(b"data: a\r", b"\n\r", b"\n"))) == [SseEvent(10, "a")]


def test_events_of_one_read_share_its_stamp() -> None:
    assert [e.ns for e in sse_events(reads_of(b"data: a\n\ndata: b\n\ndata: c\n\n"))] == [10, 10, 10]


def test_characters_torn_over_reads_are_whole_again() -> None:
    assert list(sse_events(bytewise("data: žß€😀\n\n".encode())))[0].data == "žß€😀"


def test_json_lines_skip_blanks_and_need_no_last_newline() -> None:
    reads = reads_of(b'{"a":1}\n\n \r\n{"b"', b':"\xc5', b'\xbe"}\r\n{"c":', b"3}", b"")
    assert list(ndjson_lines(reads)) == [
        JsonLine(10, '{"a":1}'),
        JsonLine(30, '{"b":"ž"}'),
        JsonLine(40, '{"c":3}'),
    ]


def test_a_carriage_return_does_not_end_a_json_line() -> None:
    assert [line.text for line in ndjson_lines(reads_of(b'{"a":\r1}\n'))] == ['{"a":\r1}']


def test_json_lines_drop_a_byte_order_mark() -> None:
    assert [line.text for line in ndjson_lines(reads_of(b'\xef\xbb\xbf{"a":1}\n'))] == ['{"a":1}']


def test_a_megabyte_line_in_single_byte_reads_is_joined_once() -> None:
    """A joiner that copied what it has at every read would move half a terabyte here, and never end."""
    line = b"x" * 1_000_000
    body = b"data: " + line + b"\n"
    (event,) = sse_events(bytewise(body))
    assert event == SseEvent(len(body) - 1, line.decode())
    assert [len(one.text) for one in ndjson_lines(bytewise(line))] == [len(line)]


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:\xc5\xbe",
        b"data",
        b": ping",
        b"",
        b"",
        b"event: e",
        b"id: 1",
        b"\xf0\x9f\x98",
        b"\xef\xbb\xbf",
        b"x",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
BODIES = st.one_of(
    st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda pairs: b"".join(a + b for a, b in pairs)),
    st.lists(st.sampled_from([b"data: a", b"\n", b"\r", b":", b" ", b"\xc3"]), max_size=20).map(b"".join),
    st.binary(max_size=60),
)
CUTS = st.lists(st.integers(0, 120), max_size=12)


@given(BODIES, CUTS)
def test_no_split_changes_events_and_each_bears_the_right_reads_stamp(body: bytes, cuts: list[int]) -> None:
    reads = cut(body, cuts)
    exact = list(sse_events(bytewise(body)))
    torn = list(sse_events(reads))
    assert [(e.data, e.event) for e in torn] == [(e.data, e.event) for e in exact]
    assert [e.ns for e in torn] == [read_end(reads, e.ns) for e in exact]


@given(BODIES, CUTS)
def test_no_split_changes_json_lines_and_each_bears_the_right_reads_stamp(body: bytes, cuts: list[int]) -> None:
    reads = cut(body, cuts)
    exact = list(ndjson_lines(bytewise(body)))
    torn = list(ndjson_lines(reads))
    assert [line.text for line in torn] == [line.text for line in exact]
    assert [line.ns for line in torn] == [read_end(reads, line.ns) for line in exact]


def read_end(reads: list[Read], offset: int) -> int:
    """The stamp of the read that brought the byte at that offset."""
    return next(read.ns for read in reads if read.ns >= offset and read.data)


PIECES = st.lists(
    st.sampled_from(
        [
            b"data: a\n\n",
            b"data: b\r\n\r\n",
            b"data: ",
            b"c",
            b"\n",
            b"\r",
            b"\xef\xbb\xbf",
            b": d\n",
            b"event: e\n",
            b"",
        ]
    ),
    max_size=12,
)


@given(PIECES)
def test_reads_that_are_whole_events_read_as_any_others_do(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert data_and_names(reads_of(*pieces)) == data_and_names(bytewise(body))


def data_and_names(reads: list[Read]) -> list[tuple[str, str | None]]:
    return [(event.data, event.event) for event in sse_events(reads)]
