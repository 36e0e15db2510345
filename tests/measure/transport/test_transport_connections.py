"""Connections: kept, reused, found dead, given up and freed."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from types import SimpleNamespace

import pytest

from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.clock import now_ns
from weeyuga_core.measure.connection import Connection, Flight, Origin
from weeyuga_core.measure.pool import Pool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(peer):
    """Answer every request of a connection with the connection's number."""
    while True:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % peer.number)


async def silent(peer):
    await peer.gone()


# --- keep-alive ---------------------------------------------------------------------------------------------------


def test_connection_is_kept_and_reused(scripted):
    async def play():
        async with scripted.serve(echo) as server, MeasuringClient() as client:
            return [await scripted.ask(client, server) for _ in range(3)], server.connections

    calls, connections = asyncio.run(play())
    assert connections == 1
    assert [call.connection for call in calls] == ["new", "reused", "reused"]
    assert calls[0].connect_ns > 0
    assert [call.connect_ns for call in calls[1:]] == [None, None]


def test_connection_used_last_is_taken_first(scripted):
    async def play():
        turns = {1: asyncio.Event(), 2: asyncio.Event()}

        async def script(peer):
            await peer.request()
            await turns[peer.number].wait()
            await peer.send(OK)
            await echo(peer)

        async with scripted.serve(script) as server, MeasuringClient() as client:
            first = asyncio.create_task(scripted.ask(client, server))
            await scripted.settled(lambda: server.connections == 1)
            second = asyncio.create_task(scripted.ask(client, server))
            await scripted.settled(lambda: server.connections == 2)
            turns[2].set()
            await second
            turns[1].set()
            await first
            return (await scripted.ask(client, server)).reply.body

    assert asyncio.run(play()) == b"1"


def test_origins_do_not_share_connections(scripted):
    async def play():
        async with scripted.serve(echo) as one, scripted.serve(echo) as other, MeasuringClient() as client:
            return [(await scripted.ask(client, server)).connection for server in (one, other, one, other)]

    assert asyncio.run(play()) == ["new", "new", "reused", "reused"]


def test_server_that_closes_after_each_reply_without_saying_so(scripted):
    async def play():
        async with scripted.serve(scripted.answer(OK, after="close")) as server, MeasuringClient() as client:
            return [await scripted.ask(client, server) for _ in range(20)]

    calls = asyncio.run(play())
    assert {call.reply.ending for call in calls} == {"eof"}
    assert {call.connection for call in calls} == {"new"}


def test_bytes_on_an_idle_connection_end_it(scripted):
    async def play():
        seen_off = asyncio.Event()

        async def script(peer):
            await peer.request()
            await peer.send(OK)
            if peer.number == 1:
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                await peer.gone()
                seen_off.set()

        async with scripted.serve(script) as server, MeasuringClient() as client:
            await scripted.ask(client, server)
            await seen_off.wait()
            return await scripted.ask(client, server)

    got = asyncio.run(play())
    assert (got.reply.status, got.connection, got.retried) == (200, "new", False)


class Idle:
    """An idle connection, as far as the pool looks at it."""

    def __init__(self, *, usable):
        self.origin = Origin("http", "h.example", 80)
        self.usable = usable


def test_connection_that_is_closing_is_not_given_out():
    pool = Pool(None)
    good, closing = Idle(usable=True), Idle(usable=False)
    for connection in (good, closing):
        pool.made(connection)
        pool.free(connection)
    assert pool.take(good.origin) is good
    assert pool.take(good.origin) is None


def test_connection_that_was_lost_is_forgotten():
    pool = Pool(None)
    lost = Idle(usable=True)
    pool.made(lost)
    pool.free(lost)
    pool.lost(lost)
    assert pool.take(lost.origin) is None


def test_bytes_before_the_request_end_the_exchange_before_it_is_sent(scripted):
    class Transport:
        def abort(self):
            pass

    connection = Connection(Pool(None), Origin("http", "h.example", 80))
    connection.connection_made(Transport())
    connection.buffer_updated(5)
    flight = Flight("GET", scripted.LIMITS)
    connection.send(flight, b"never written: the transport has no write")
    assert (flight.ending, flight.write_ns) == ("protocol", None)
    assert flight.detail == "the server sent 5 bytes that no request asked for"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_ipv6(scripted):
    async def play():
        async with scripted.serve(echo, host="::1") as server, MeasuringClient() as client:
            assert "[::1]" in server.url
            return await scripted.ask(client, server)

    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as missing:
        pytest.skip(f"this host has no IPv6 loopback: {missing}")
    assert asyncio.run(play()).reply.ending == "eof"


def test_name_is_resolved(scripted):
    async def play():
        async with scripted.serve(echo, name="localhost") as server, MeasuringClient() as client:
            return await scripted.ask(client, server)

    assert asyncio.run(play()).reply.body == b"1"


# --- dead connections ---------------------------------------------------------------------------------------------


def dying(*last_words: bytes, lives: int = 1, how: str = "close"):
    """Answer once on each connection, then end it under the next request; from connection `lives` + 1 on, live."""

    async def script(peer):
        await peer.request()
        if peer.number == 1:
            await peer.send(OK)
            await peer.request()
        if peer.number > lives:
            await peer.send(OK)
            await echo(peer)
        await peer.send(*last_words)
        if how == "reset":
            peer.reset()

    return script


async def two_calls(scripted, script):
    async with scripted.serve(script) as server, MeasuringClient() as client:
        first = await scripted.ask(client, server)
        assert (first.reply.ending, first.connection, first.retried) == ("eof", "new", False)
        return await scripted.ask(client, server), server.connections


@pytest.mark.parametrize("how", ["close", "reset"])
def test_reused_connection_that_is_dead_is_replaced_once_and_told(scripted, how):
    got, connections = asyncio.run(two_calls(scripted, dying(how=how)))
    assert (got.reply.ending, got.reply.body, got.connection, got.retried) == ("eof", b"ok", "new", True)
    assert got.connect_ns > 0
    assert connections == 2


def test_a_request_goes_out_twice_at_most(scripted):
    got, connections = asyncio.run(two_calls(scripted, dying(lives=9)))
    assert (got.reply.ending, got.reply.status, got.retried) == ("reset", None, True)
    assert "without an answer" in got.reply.detail
    assert connections == 2


def test_no_second_try_once_a_byte_was_answered(scripted):
    got, connections = asyncio.run(two_calls(scripted, dying(b"H")))
    assert (got.reply.ending, got.connection, got.retried) == ("reset", "reused", False)
    assert "in the middle of the response head" in got.reply.detail
    assert connections == 1


def test_no_second_try_on_a_new_connection(scripted):
    got = asyncio.run(scripted.ask_once(scripted.answer(after="close")))
    assert (got.reply.ending, got.connection, got.retried) == ("reset", "new", False)


def test_second_try_that_finds_no_server_says_both(scripted):
    async def play():
        async def script(peer):
            await peer.request()
            await peer.send(OK)
            await peer.request()
            server.stop()

        async with MeasuringClient() as client, scripted.serve(script) as server:
            await scripted.ask(client, server)
            return await scripted.ask(client, server)

    got = asyncio.run(play())
    assert (got.reply.ending, got.connection, got.retried) == ("connect", None, True)
    assert "Connection refused" in got.reply.detail


# --- nothing is left behind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancelling_frees_the_socket(scripted, scheme):
    async def play():
        async with scripted.serve(silent) as server:
            client = MeasuringClient()
            before = scripted.open_files()
            server.url = server.url.replace("http:", f"{scheme}:")
            task = asyncio.create_task(scripted.ask(client, server, timeouts=scripted.NEVER))
            await scripted.settled(lambda: server.open == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)
            await client.aclose()

    asyncio.run(play())


def test_cancelling_while_waiting_for_a_turn_frees_the_new_connection(scripted):
    async def play():
        async with scripted.serve(echo) as server, MeasuringClient() as client:
            tasks = [asyncio.create_task(scripted.ask(client, server)) for _ in range(30)]
            await scripted.settled(lambda: server.connections > 10)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            done = sum(not task.cancelled() for task in tasks)
            await scripted.settled(lambda: server.open <= done)

    asyncio.run(play())


def test_cancelling_what_has_ended_leaves_the_connection_to_the_next(scripted):
    flight = Flight("GET", scripted.LIMITS)
    aborted = []
    flight.connection = SimpleNamespace(abort=lambda: aborted.append(True))
    flight.end("eof", "", now_ns())
    flight.give_up()
    assert not aborted


def test_closing_the_client_ends_what_is_under_way_and_frees_everything(scripted):
    async def play():
        asked = []

        async def script(peer):
            asked.append(await peer.request())
            await peer.gone()

        async with scripted.serve(script) as server:
            before = scripted.open_files()
            client = MeasuringClient()
            tasks = [asyncio.create_task(scripted.ask(client, server)) for _ in range(3)]
            await scripted.settled(lambda: len(asked) == 3)
            await client.aclose()
            got = [await task for task in tasks]
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)
            return got

    for call in asyncio.run(play()):
        assert (call.reply.ending, call.reply.detail) == ("cancelled", "the client was closed")


def test_closed_client_connects_no_more(scripted):
    async def play():
        async with scripted.serve(echo) as server:
            before = scripted.open_files()
            client = MeasuringClient()
            await client.aclose()
            got = await scripted.ask(client, server)
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)
            return got

    got = asyncio.run(play())
    assert (got.reply.ending, got.connection) == ("connect", None)
    assert "the client was closed" in got.reply.detail


def test_thousands_of_calls_leave_files_and_memory_flat(scripted):
    calls = 10_000

    async def play():
        async with scripted.serve(echo) as server, MeasuringClient() as client:

            async def many(n):
                for _ in range(n):
                    got = await scripted.ask(client, server)
                    assert got.reply.ending == "eof"
                gc.collect()
                return scripted.open_files(), sys.getallocatedblocks()

            await many(500)
            before = await many(10)
            after = await many(calls)
            return before, after, server.connections

    (files, blocks), (files_after, blocks_after), connections = asyncio.run(play())
    assert connections == 1
    assert files_after == files
    # One block kept for each call would be 10,000; caches of the interpreter move by a few.
    assert blocks_after - blocks < calls / 10


def test_receive_buffer_is_one_view_for_the_life_of_a_connection():
    connection = Connection(SimpleNamespace(), SimpleNamespace())
    assert len(connection.get_buffer(-1)) >= 65536
    assert connection.get_buffer(1) is connection.get_buffer(1 << 20)
