"""One launch in each turn of the loop; what the loop's delays are taken to be; a foreign event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.measure import turns
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.connection import Connection
from weeyuga_core.measure.turns import POLL_GRAIN_NS, TICK_NS, LagMonitor, Largest, LaunchGate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Turns:
    """Counts the turns of the running loop."""

    def __init__(self):
        self.now = 0
        self._count()

    def _count(self):
        self.now += 1
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def stop(self):
        self._handle.cancel()


async def echo(peer):
    while True:
        await peer.request()
        await peer.send(OK)


def test_at_most_one_request_starts_in_a_turn(scripted, monkeypatch):
    started = []

    async def play():
        counted = Turns()
        send = Connection.send

        def noted(connection, flight, request):
            started.append(counted.now)
            send(connection, flight, request)

        monkeypatch.setattr(Connection, "send", noted)
        async with scripted.serve(echo) as server, MeasuringClient() as client:
            for _ in range(2):  # On new connections, then on reused ones.
                await asyncio.gather(*(scripted.ask(client, server) for _ in range(20)))
        counted.stop()

    asyncio.run(play())
    assert len(started) == 40
    assert len(set(started)) == 40


def test_gate_lets_pass_in_order_and_forgets_who_left():
    async def play():
        gate, passed = LaunchGate(), []

        async def enter(name):
            await gate.turn()
            passed.append(name)

        tasks = [asyncio.create_task(enter(name)) for name in range(6)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        await gate.turn()
        return passed

    assert asyncio.run(play()) == [0, 1, 3, 5]


def test_a_blocked_loop_shows_as_lag_of_the_exchange_it_hit(scripted):
    blocked_ns = 200_000_000

    async def play():
        async def script(peer):
            await peer.request()
            time.sleep(blocked_ns / 1e9)  # The server shares the client's loop, and blocks it.
            await peer.send(OK)

        async with scripted.serve(script) as server, MeasuringClient() as client:
            return await scripted.ask(client, server)

    # The tick that was waiting had at most one interval to go when the block began.
    assert asyncio.run(play()).lag_ns >= blocked_ns - TICK_NS - POLL_GRAIN_NS


def test_nothing_is_scheduled_while_nobody_watches():
    async def play():
        monitor = LagMonitor()
        with monitor.watch(), monitor.watch() as largest:
            assert largest() >= 0
            assert monitor._handle is not None
        assert monitor._handle is None

    asyncio.run(play())


def test_a_slow_turn_is_lag_even_where_timers_are_on_time(monkeypatch):
    clock = SimpleNamespace(ns=0)
    monkeypatch.setattr(turns, "now_ns", lambda: clock.ns)

    async def play():
        monitor = LagMonitor()
        with monitor.watch() as largest_lag_ns:
            clock.ns += TICK_NS
            monitor._tick()
            clock.ns += 5_000_000
            monitor._come_round()
            return largest_lag_ns()

    assert asyncio.run(play()) == 5_000_000


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30),
    st.integers(0, 100),
)
def test_largest_since_any_moment(steps, since):
    noted, largest, at = [], Largest(), 0
    for step, value in steps:
        at += step
        noted.append((at, value))
        largest.note(at, value)
    assert largest.since(since) == max((value for at, value in noted if at >= since), default=0)


def test_collector_is_off_while_an_exchange_runs_and_on_after_it(scripted):
    seen = []

    async def play():
        async def script(peer):
            await peer.request()
            seen.append(gc.isenabled())
            await peer.send(OK)

        async with scripted.serve(script) as server, MeasuringClient() as client:
            await asyncio.gather(*(scripted.ask(client, server) for _ in range(5)))

    assert gc.isenabled()
    asyncio.run(play())
    assert seen == [False] * 5
    assert gc.isenabled()


@pytest.mark.parametrize("cancelled", [False, True])
def test_another_event_loop(scripted, cancelled):
    uvloop = pytest.importorskip("uvloop", reason="uvloop, which is optional, is not installed")

    async def play():
        async def script(peer):
            while True:
                await peer.request()
                await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n")
                if cancelled:
                    await peer.gone()
                await peer.send(b"0\r\n\r\n")

        async with scripted.serve(script) as server, MeasuringClient() as client:
            before = scripted.open_files()
            if not cancelled:
                return [await scripted.ask(client, server, body=b"x" * 3_000_000) for _ in range(3)]
            task = asyncio.create_task(scripted.ask(client, server, timeouts=scripted.NEVER))
            await scripted.settled(lambda: server.open > 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await scripted.settled(lambda: server.open == 0)
            await scripted.settled(lambda: scripted.open_files() <= before)
            return []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        calls = runner.run(play())
    assert [(call.reply.ending, call.reply.body) for call in calls] == [("eof", b"ok")] * (0 if cancelled else 3)
    assert [call.connection for call in calls[1:]] == ["reused"] * len(calls[1:])


def test_another_event_loop_sends_the_request_between_its_stamps(scripted, monkeypatch):
    uvloop = pytest.importorskip("uvloop", reason="uvloop, which is optional, is not installed")
    unsent = []
    send = Connection.send

    def noted(connection, flight, request):
        send(connection, flight, request)
        unsent.append(connection._transport.get_write_buffer_size())

    monkeypatch.setattr(Connection, "send", noted)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scripted.ask_once(scripted.answer(OK)))
    assert unsent == [0]
