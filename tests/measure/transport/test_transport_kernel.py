"""The kernel's receive stamps: whose delay is not in them, and what is said where there are none."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from weeyuga_core.measure import kernel
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.clock import now_ns
from weeyuga_core.measure.connection import ORDER_NS, Flight
from weeyuga_core.model.plan import Timeouts

LIMITS = Timeouts(connect_s=10, idle_s=20, total_s=60)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LATE_S = 0.2

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's stamps are Linux's")


@pytest.fixture
def stamp_point() -> None:
    """These tests say themselves whose stamps they want."""


def flight(*, kernel_stamps: bool = True) -> Flight:
    made = Flight("POST", LIMITS)
    made.stamp_point = "kernel" if kernel_stamps else "socket"
    made.t0_ns = made.arrived_ns = 1_000_000
    return made


class Thread(threading.Thread):
    """A server for one request, in a thread: it goes on while the client's event loop does not."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: Callable[[], object] = lambda: None
        """Called when the request is there."""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/"
        self.blocked = threading.Event()
        self.sent = threading.Event()

    def run(self) -> None:
        with self.listening, self.listening.accept()[0] as sock:
            sock.recv(65536)
            self.asked()
            self.blocked.wait()
            sock.sendall(OK)
            self.sent.set()
            sock.recv(1)


def test_a_client_that_is_late_is_not_late_in_the_stamp() -> None:
    server = Thread()
    server.start()

    def block() -> None:
        server.blocked.set()
        server.sent.wait()
        time.sleep(LATE_S)  # being late is the subject

    async def measured() -> tuple[int, int]:
        async with MeasuringClient(kernel_stamps=True) as client:
            server.asked = partial(asyncio.get_running_loop().call_soon_threadsafe, block)
            exchange = await client.exchange(httpx.Request("GET", server.url), LIMITS)
        assert (exchange.stamp_point, exchange.stamp_note) == ("kernel", None)
        ((read, lag),) = zip(exchange.reply.reads, exchange.receive_lags_ns, strict=True)
        assert exchange.headers_ns == exchange.end_ns == read.ns
        return exchange.t0_clock_ns + read.ns, lag

    started_ns = now_ns()
    arrived_ns, lag_ns = asyncio.run(measured())
    # Our own stamp came after the block, the kernel's within it.
    assert lag_ns > LATE_S * 1e9 / 2
    assert started_ns < arrived_ns < now_ns() - LATE_S * 1e9 / 2


def test_a_stamp_counts_where_it_can_be_right() -> None:
    made = flight()
    assert made.arrival(5_000_000, 4_000_000) == 4_000_000
    assert list(made.receive_lags_ns) == [1_000_000]
    assert made.stampless_reads == 0


@pytest.mark.parametrize(
    ("stamp_ns", "kernel_ns"),
    [(5_000_000, None), (5_000_000, 5_000_001), (5_000_000, 1_000_000 - ORDER_NS - 1)],
    ids=["none came", "after our own", "before the request"],
)
def test_where_it_cannot_our_own_stands_in_and_the_call_says_so(stamp_ns: int, kernel_ns: int | None) -> None:
    made = flight()
    made.arrival(3_000_000, 2_000_000)
    assert made.arrival(stamp_ns, kernel_ns) == stamp_ns
    made.end("eof", "", stamp_ns)
    exchange = made.exchange(0)
    assert exchange.stamp_point == "socket"
    assert exchange.stamp_note == "1 of 2 reads came without the kernel's stamp"
    assert list(exchange.receive_lags_ns) == [1_000_000]


def test_reads_never_go_back_in_time() -> None:
    made = flight()
    assert made.arrival(5_000_000, 4_000_000) == 4_000_000
    assert made.arrival(6_000_000, 4_000_000 - ORDER_NS) == 4_000_000
    assert made.arrival(7_000_000, 4_000_000 - ORDER_NS - 1) == 7_000_000


def test_a_connection_without_them_takes_no_notice_of_any() -> None:
    made = flight(kernel_stamps=False)
    assert made.arrival(5_000_000, None) == 5_000_000
    assert (made.stampless_reads, list(made.receive_lags_ns)) == (0, [])


def test_elsewhere_than_on_linux_our_own_stamps_serve_and_the_reason_is_kept(
    scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sys, "platform", "darwin")
    exchange = asyncio.run(exchanged(scripted))
    assert (exchange.stamp_point, exchange.stamp_note) == ("socket", "darwin has no SO_TIMESTAMPNS")
    assert exchange.reply.body == b"ok"
    assert not exchange.receive_lags_ns


def test_a_kernel_that_refuses_is_quoted(scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SO_TIMESTAMPNS", 0x7FFFFFFF)
    exchange = asyncio.run(exchanged(scripted))
    assert exchange.stamp_point == "socket"
    assert exchange.stamp_note == "this kernel refuses SO_TIMESTAMPNS: Protocol not available"
    assert exchange.reply.body == b"ok"


def test_a_kernel_that_takes_the_option_and_stamps_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_switch_on", lambda sock: None)
    monkeypatch.setattr(kernel, "WITNESS_S", 0.01)
    witness = kernel.Witness()
    witness.close()
    assert witness.why_not == "this kernel stamped nothing within 0.01 s"


async def exchanged(scripted):
    async with scripted.serve(scripted.answer(OK)) as server, MeasuringClient(kernel_stamps=True) as client:
        return await scripted.ask(client, server)


def test_a_name_is_tried_at_each_of_its_addresses(scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main():
        async with scripted.serve(scripted.answer(OK)) as server, MeasuringClient(kernel_stamps=True) as client:
            port = int(server.url.rpartition(":")[2])
            nobody = ("127.0.0.1", 9)

            async def addresses(*_, **__):
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in (nobody, ("127.0.0.1", port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
            return await scripted.ask(client, server)

    exchange = asyncio.run(main())
    assert (exchange.reply.body, exchange.stamp_point) == (b"ok", "kernel")


def test_a_request_larger_than_the_socket_takes_is_sent_whole(scripted) -> None:
    body = bytes(range(256)) * 65_536
    got = []

    async def script(peer):
        got.append(await peer.request())
        await peer.send(OK)
        await peer.gone()

    async def main():
        async with scripted.serve(script) as server, MeasuringClient(kernel_stamps=True) as client:
            return await scripted.ask(client, server, body=body)

    exchange = asyncio.run(main())
    assert (exchange.reply.ending, exchange.stamp_point) == ("eof", "kernel")
    assert got[0].endswith(body)


def test_a_server_that_goes_while_a_large_request_is_sent_is_a_reset(scripted) -> None:
    async def script(peer):
        peer.reset()

    async def main():
        async with scripted.serve(script) as server, MeasuringClient(kernel_stamps=True) as client:
            return await scripted.ask(client, server, body=bytes(16_777_216))

    assert asyncio.run(main()).reply.ending == "reset"
