"""How an exchange ends: in order, short, early, too long, late."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import httpx
import pytest

from weeyuga_core.errors import CallError
from weeyuga_core.measure import connection as connection_module
from weeyuga_core.measure import kernel
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.model.plan import Timeouts

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECES = 20


@pytest.mark.parametrize("after", ["close", "reset"])
@pytest.mark.parametrize(
    "sent", [(CHUNKED, b"3\r\nabc\r\n"), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"abc")]
)
def test_body_that_stops_short_ends_as_reset(scripted, bytes_read, sent, after):
    async def script(peer):
        await peer.request()
        await peer.send(*sent)
        if after == "reset":
            # A reset may overtake bytes that have not been read yet.
            await scripted.settled(lambda: bytes_read() == len(b"".join(sent)))
            peer.reset()

    got = asyncio.run(scripted.ask_once(script))
    assert (got.reply.ending, got.reply.status) == ("reset", 200)
    assert got.reply.body == b"abc"
    assert "after 3 body bytes, before the body's end" in got.reply.detail


def test_reset_of_a_body_of_no_stated_size_is_not_its_end(scripted, bytes_read):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await scripted.settled(lambda: bytes_read() > 0)
        peer.reset()

    assert asyncio.run(scripted.ask_once(script)).reply.ending == "reset"


def test_half_closed_connection_ends_a_whole_reply_and_is_not_reused(scripted):
    async def play():
        async def script(peer):
            await peer.request()
            await peer.send(OK)
            peer.half_close()
            await peer.gone()

        async with scripted.serve(script) as server, MeasuringClient() as client:
            return [await scripted.ask(client, server) for _ in range(2)]

    assert [(got.reply.ending, got.connection) for got in asyncio.run(play())] == [("eof", "new")] * 2


def test_half_closed_connection_in_mid_body_is_a_reset(scripted):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        peer.half_close()
        await peer.gone()

    assert asyncio.run(scripted.ask_once(script)).reply.ending == "reset"


def test_answer_that_comes_before_the_request_is_sent_is_taken(scripted):
    async def play():
        both_answered = asyncio.Event()

        async def script(peer):
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
            await both_answered.wait()  # The body, larger than every buffer on the way, is never read.

        async with scripted.serve(script) as server, MeasuringClient() as client:
            first = await scripted.ask(client, server, body=b"x" * (32 << 20))
            second = await scripted.ask(client, server)
            both_answered.set()
            return first, second

    first, second = asyncio.run(play())
    assert (first.reply.ending, first.reply.status, first.reply.body) == ("eof", 413, b"no")
    assert second.connection == "new"


def test_large_request_arrives_whole(scripted):
    async def play():
        got = []

        async def script(peer):
            got.append(await peer.request())
            await peer.send(OK)

        async with scripted.serve(script) as server, MeasuringClient() as client:
            await scripted.ask(client, server, body=bytes(range(256)) * 40_000)
        return got[0].partition(b"\r\n\r\n")[2]

    assert asyncio.run(play()) == bytes(range(256)) * 40_000


def test_body_over_the_bound_ends_as_protocol(scripted, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_BODY_BYTES", 1000)
    endless = [CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 50]
    got = asyncio.run(scripted.ask_once(scripted.answer(*endless)))
    assert got.reply.ending == "protocol"
    assert "1000 bytes" in got.reply.detail


def test_nobody_listens(scripted):
    async def play():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with MeasuringClient() as client:
            return await client.exchange(httpx.Request("GET", f"http://127.0.0.1:{port}/"), scripted.LIMITS), port

    got, port = asyncio.run(play())
    assert (got.reply.ending, got.reply.status, got.connection, got.write_ns) == ("connect", None, None, None)
    assert got.reply.detail == f"no connection to 127.0.0.1:{port}: Connection refused"


def test_name_that_does_not_exist(scripted):
    async def play():
        async with MeasuringClient() as client:
            return await client.exchange(httpx.Request("GET", "http://no-such-host.invalid/"), scripted.LIMITS)

    got = asyncio.run(play())
    assert got.reply.ending == "connect"
    assert "'no-such-host.invalid' cannot be resolved" in got.reply.detail


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [("ftp://h.example/", {}, "neither http nor https"), ("http://h.example/", {"A": "b\r\nc"}, "'A' holds")],
)
def test_request_that_cannot_be_sent_is_a_call_error(scripted, url, headers, words):
    async def play():
        async with MeasuringClient() as client:
            await client.exchange(httpx.Request("GET", url, headers=headers), scripted.LIMITS)

    with pytest.raises(CallError, match=words) as raised:
        asyncio.run(play())
    assert raised.value.kind == "request"


# --- timeouts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The clock of connections, which the test moves: no limit is reached before the bytes have come."""
    held = SimpleNamespace(ns=0)
    for module in (connection_module, kernel):
        monkeypatch.setattr(module, "now_ns", lambda: held.ns)
    return held


@pytest.mark.parametrize(("sent", "status"), [((), None), ((b"HTTP/1.1 2",), None), ((CHUNKED, b"1\r\na\r\n"), 200)])
def test_silence_ends_as_idle(scripted, bytes_read, clock, sent, status):
    async def script(peer):
        await peer.request()
        clock.ns += 50_000_000
        await peer.send(*sent)
        await scripted.settled(lambda: bytes_read() == len(b"".join(sent)))
        clock.ns += 200_000_000
        await peer.gone()

    limits = Timeouts(connect_s=10, idle_s=0.2, total_s=60)
    got = asyncio.run(scripted.ask_once(script, timeouts=limits))
    assert (got.reply.ending, got.reply.detail) == ("idle", "no byte came for 0.2 s")
    assert got.reply.status == status
    assert got.end_ns == 250_000_000


def test_any_byte_restarts_the_idle_limit_but_not_the_total_one(scripted, bytes_read, clock):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        await scripted.settled(lambda: bytes_read() == len(CHUNKED))
        for _ in range(PIECES):
            before = bytes_read()
            await peer.send(piece)
            await scripted.settled(lambda before=before: bytes_read() == before + len(piece))
            clock.ns += 15_000_000
        await peer.gone()

    # Each piece comes within the idle limit of 20 ms, and the last one lies at the total limit.
    piece, limits = b"1\r\na\r\n", Timeouts(connect_s=10, idle_s=0.02, total_s=0.015 * PIECES)
    got = asyncio.run(scripted.ask_once(script, timeouts=limits))
    assert (got.reply.ending, got.reply.detail) == ("total", "not over after 0.3 s")
    assert [read.data for read in got.reply.reads] == [b"a"] * PIECES
    assert got.end_ns == 300_000_000


async def silent(peer):
    await peer.gone()


@pytest.mark.parametrize(
    ("limits", "ending"),
    [(Timeouts(connect_s=0.1, total_s=60), "connect"), (Timeouts(connect_s=60, total_s=0.1), "total")],
)
def test_connecting_takes_too_long(scripted, limits, ending):
    async def play():
        async with scripted.serve(silent) as server, MeasuringClient() as client:
            server.url = server.url.replace("http:", "https:")
            return await scripted.ask(client, server, timeouts=limits)

    got = asyncio.run(play())
    assert (got.reply.ending, got.connection) == (ending, None)
    assert "0.1 s" in got.reply.detail
