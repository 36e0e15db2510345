"""Every shape of response, through a real socket; and every way to cut one into reads."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.http1 import MAX_HEAD_BYTES, ResponseFraming, encode_request

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_chunked_body_is_joined_and_each_read_is_stamped_in_order(scripted, stamp_point):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")
        await peer.gone()

    got = asyncio.run(scripted.ask_once(script))
    assert (got.reply.status, got.reply.ending, got.reply.detail) == (200, "eof", "")
    assert got.reply.body == b"onetwo"
    assert got.reply.header("content-type") == "text/event-stream"
    stamps = [got.write_ns, got.headers_ns, *(read.ns for read in got.reply.reads), got.end_ns]
    assert stamps[0] > 0
    assert stamps[1:] == sorted(stamps[1:])
    assert got.connection == "new"
    assert got.connect_ns > 0
    assert got.stamp_point == stamp_point
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", got.started_at_utc)


def test_chunks_of_one_read_are_one_read(scripted):
    whole = CHUNKED + chunk(b"a") + chunk(b"b") + b"0\r\n\r\n"
    got = asyncio.run(scripted.ask_once(scripted.answer(whole)))
    assert [read.data for read in got.reply.reads] == [b"ab"]
    assert got.headers_ns == got.reply.reads[0].ns == got.end_ns


@pytest.mark.parametrize(
    ("sent", "status", "body", "reused"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True, id="sized"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True, id="no reason, empty"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True, id="204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True, id="304 with a length"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED + b"0\r\n\r\n",
            200,
            b"",
            True,
            id="two interim responses",
        ),
        pytest.param(CHUNKED + b"2;a=b\r\nhi\r\n0;c\r\nX-Sum: 1\r\nY: 2\r\n\r\n", 200, b"hi", True, id="trailers"),
        pytest.param(CHUNKED + b"0A\t\r\n0123456789\r\n000\r\n\r\n", 200, b"0123456789", True, id="odd sizes"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: ends in 0\r\nTransfer-Encoding: Chunked\r\n\r\n"
            + chunk(b"0\r\n\r\n")
            + b"0\r\n\r\n",
            200,
            b"0\r\n\r\n",
            True,
            id="a body that looks like an end",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False, id="1.0"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True, id="1.0 kept"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi",
            200,
            b"hi",
            False,
            id="close said",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            200,
            b"",
            False,
            id="both codings",
        ),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, b"hi", True, id="bare newlines"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n  c\r\nContent-Length: 0\r\n\r\n", 200, b"", True, id="folded line"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi",
            200,
            b"hi",
            True,
            id="length twice",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 0\r\n\r\n", 200, b"", True, id="identity"
        ),
        pytest.param(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503, b"busy", True, id="error status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi more", 200, b"hi", False, id="bytes too many"),
    ],
)
def test_valid_responses(scripted, sent, status, body, reused):
    async def play():
        async def script(peer):
            while True:
                await peer.request()
                await peer.send(sent)

        async with scripted.serve(script) as server, MeasuringClient() as client:
            return [await scripted.ask(client, server) for _ in range(2)]

    first, second = asyncio.run(play())
    for got in (first, second):
        assert (got.reply.status, got.reply.ending, got.reply.body) == (status, "eof", body)
        assert not got.retried
    assert second.connection == ("reused" if reused else "new")
    assert (second.connect_ns is None) == reused


def test_body_of_no_stated_size_ends_with_the_connection(scripted):
    script = scripted.answer(b"HTTP/1.1 200 OK\r\n\r\n", b"all of ", b"it", after="close")
    got = asyncio.run(scripted.ask_once(script))
    assert (got.reply.ending, got.reply.body) == ("eof", b"all of it")
    assert got.end_ns >= got.reply.reads[-1].ns


def test_answer_to_head_has_no_body_whatever_its_length_says(scripted):
    script = scripted.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    got = asyncio.run(scripted.ask_once(script, method="HEAD", body=b""))
    assert (got.reply.ending, got.reply.reads) == ("eof", ())


def test_line_of_a_megabyte(scripted):
    line = b"data: " + b"x" * (1 << 20) + b"\n\n"
    got = asyncio.run(scripted.ask_once(scripted.answer(CHUNKED, chunk(line), b"0\r\n\r\n")))
    assert got.reply.ending == "eof"
    assert got.reply.body == line


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        pytest.param(b"220 mail.example ESMTP\r\n", "not HTTP/1.1", id="another protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x28", "is the endpoint https?", id="tls alert"),
        pytest.param(b"HTTP/2 200\r\n\r\n", "not HTTP/1.1", id="version"),
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", "not a status line", id="no status"),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", "101", id="upgrade"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not a header line", id="header line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "one number", id="lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "one number", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "'gzip'", id="compressed"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "'gzip, chunked'", id="coding"),
        pytest.param(CHUNKED + b"zz\r\n", "chunk's size", id="size"),
        pytest.param(CHUNKED + b"-1\r\n", "chunk's size", id="negative size"),
        pytest.param(CHUNKED + b"0x1\r\na\r\n", "chunk's size", id="size with a prefix"),
        pytest.param(CHUNKED + b"1\r\nab\r\n", "chunk should end", id="chunk too long"),
        pytest.param(CHUNKED + b"1;" + b"x" * 5000, "size line is longer", id="endless extension"),
        pytest.param(CHUNKED + b"0\r\n: bad\r\n\r\n", "not a header line", id="trailer"),
        pytest.param(CHUNKED + b"0\r\nA: " + b"x" * MAX_HEAD_BYTES, "trailers are longer", id="endless trailers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES, "head is longer", id="endless head"),
        pytest.param(b"HTTP/1.1 100 Go on\r\n\r\n" * 4000, "head is longer", id="endless interim responses"),
    ],
)
def test_what_is_not_http_ends_as_protocol_with_words(scripted, sent, words):
    got = asyncio.run(scripted.ask_once(scripted.answer(sent)))
    assert got.reply.ending == "protocol"
    assert words in got.reply.detail
    assert got.end_ns > 0


def test_bytes_before_a_fault_are_kept(scripted):
    got = asyncio.run(scripted.ask_once(scripted.answer(CHUNKED + chunk(b"good") + b"worse")))
    assert (got.reply.ending, got.reply.status, got.reply.body) == ("protocol", 200, b"good")


# --- any cut ------------------------------------------------------------------------------------------------------

INTERIM = [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: </0>\r\n\r\n"]


@st.composite
def responses(draw) -> tuple[bytes, bytes]:
    """A valid response and the body it carries."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    body = b"".join(pieces)
    head = draw(st.sampled_from(INTERIM)) + b"HTTP/1.1 200 OK\r\nX-Ends-In: 0\r\n"
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    extension = draw(st.sampled_from([b"", b";a=b", b' ;q="0"']))
    trailers = draw(st.sampled_from([b"", b"X-Sum: 0\r\n", b"A: 1\r\nB: 0\r\n"]))
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0" + extension + b"\r\n" + trailers + b"\r\n", body


def followed(reads: list[bytes]) -> tuple[int | None, tuple[tuple[str, str], ...], bytes, bool, str | None]:
    framing = ResponseFraming("POST")
    body = b"".join([framing.feed(read) for read in reads])
    return framing.status, framing.headers, body, framing.reusable, framing.error


@given(responses(), st.lists(st.integers(min_value=0, max_value=700)))
@example((CHUNKED + chunk(b"0\r\n\r\n") + b"0\r\n\r\n", b"0\r\n\r\n"), list(range(700)))
def test_any_cut_of_a_response_reads_the_same(response, cuts):
    sent, body = response
    at = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    reads = [sent[a:b] for a, b in zip(at, at[1:], strict=False)]
    whole = followed([sent])
    assert followed(reads) == whole
    assert whole[0] == 200
    assert whole[2:] == (body, True, None)


@given(responses(), st.integers(min_value=1, max_value=700))
def test_a_response_cut_short_is_never_taken_for_whole(response, missing):
    sent, body = response
    framing = ResponseFraming("POST")
    part = framing.feed(sent[: max(0, len(sent) - missing)])
    assert not framing.done
    assert framing.error is None
    assert body.startswith(part)


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_followed_without_an_exception(noise):
    framing = ResponseFraming("POST")
    framing.feed(noise)
    framing = ResponseFraming("POST")
    framing.feed(CHUNKED)
    framing.feed(noise)


# --- requests ---------------------------------------------------------------------------------------------------


def test_request_is_one_buffer_with_what_every_measured_call_says():
    request = httpx.Request("POST", "http://h.example:81/a%20b?c=d", json={"a": 1}, headers={"X-Y": "z"})
    head, _, body = encode_request(request, request.content).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    assert first == b"POST /a%20b?c=d HTTP/1.1"
    assert body == request.content
    assert headers.pop(b"user-agent").startswith(b"weeyuga-bench/")
    assert headers == {
        b"host": b"h.example:81",
        b"x-y": b"z",
        b"content-type": b"application/json",
        b"accept-encoding": b"identity",
        b"content-length": b"%d" % len(body),
    }


def test_compression_is_not_asked_for_even_where_the_request_does():
    request = httpx.Request("GET", "http://h.example/", headers={"Accept-Encoding": "gzip, br", "User-Agent": "mine"})
    sent = encode_request(request, b"").lower()
    assert sent.count(b"accept-encoding: identity") == 1
    assert b"gzip" not in sent
    assert b"user-agent: mine" in sent
    assert b"content-length" not in sent


def test_header_that_would_break_the_head_is_refused_without_showing_its_value():
    request = httpx.Request("GET", "http://h.example/", headers={"Authorization": "Bearer secret\n"})
    with pytest.raises(httpx.LocalProtocolError, match="Authorization") as refused:
        encode_request(request, b"")
    assert "secret" not in str(refused.value)
