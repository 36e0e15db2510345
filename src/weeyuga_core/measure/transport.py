"""An httpx transport on sockets of our own: it stamps what it sends and every read, and does little else."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator

import httpx

from weeyuga_core.interfaces import Ending
from weeyuga_core.measure.clock import now_ns
from weeyuga_core.measure.connection import Connection, Flight, Origin
from weeyuga_core.measure.http1 import encode_request
from weeyuga_core.measure.pool import ConnectFailed, Pool
from weeyuga_core.measure.turns import LaunchGate
from weeyuga_core.model.plan import Timeouts

_ERRORS: dict[Ending, type[httpx.TransportError]] = {
    "reset": httpx.ReadError,
    "idle": httpx.ReadTimeout,
    "total": httpx.ReadTimeout,
    "cancelled": httpx.ReadError,
    "connect": httpx.ConnectError,
    "protocol": httpx.RemoteProtocolError,
}


class MeasuringTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over TCP and TLS, with keep-alive, for one event loop.

    `launch` measures; as the transport of an ordinary `httpx.AsyncClient` the same path serves whatever is sent.
    A response's body is bounded by `connection.MAX_BODY_BYTES` either way. Without an `ssl_context` the system's
    certificates decide.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, kernel_stamps: bool = False) -> None:
        self._pool = Pool(ssl_context, kernel_stamps=kernel_stamps)
        self.gate = LaunchGate()

    def prepare(self, url: httpx.URL) -> None:
        """Load what connecting to that URL will need: the system's certificates take tens of ms, once."""
        self._pool.prepare(url.scheme)

    async def launch(self, request: httpx.Request, timeouts: Timeouts, *, streaming: bool = False) -> Flight:
        """Send the request; return when the exchange has ended, or where `streaming` when its head is complete.

        Whatever the server does ends as the flight's `ending`. A reused connection that turns out dead before any byte
        was answered is replaced once. Raises `httpx.LocalProtocolError` or `httpx.UnsupportedProtocol` for a request
        that cannot be sent.
        """
        origin = _origin(request.url)
        flight = Flight(request.method, timeouts, streaming=streaming)
        await self.gate.turn()
        payload = encode_request(request, await request.aread())
        if connection := self._pool.take(origin):
            await _fly(flight, connection, payload, reused=True)
            if not flight.dead_on_arrival:
                return flight
            flight.revive()
        await self._fly_anew(flight, origin, payload)
        return flight

    async def _fly_anew(self, flight: Flight, origin: Origin, payload: bytes) -> None:
        connect_s = min(flight.timeouts.connect_s, flight.left_s)
        started_ns = now_ns()
        try:
            connection = await self._pool.open(origin, connect_s if math.isfinite(connect_s) else None)
        except ConnectFailed as failure:
            flight.connect_timed_out = failure.timed_out
            if failure.timed_out and connect_s < flight.timeouts.connect_s:
                flight.end("total", f"not over after {flight.timeouts.total_s:g} s: still connecting", now_ns())
            else:
                flight.end("connect", str(failure), now_ns())
            return
        flight.connect_ns = now_ns() - started_ns
        try:
            # Connections that come about together must not send together.
            await self.gate.turn()
        except BaseException:
            connection.abort()
            raise
        await _fly(flight, connection, payload, reused=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What `httpx.AsyncClient` calls. The read timeout is the idle limit; there is no total one."""
        given = request.extensions.get("timeout", {})
        connect_s, idle_s = (math.inf if given.get(k) is None else given[k] for k in ("connect", "read"))
        timeouts = Timeouts(connect_s=connect_s, idle_s=idle_s, total_s=math.inf)
        flight = await self.launch(request, timeouts, streaming=True)
        if flight.status is None or flight.ending == "protocol":
            raise _error(flight)
        return httpx.Response(
            flight.status,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in flight.headers],
            stream=_Body(flight),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as `cancelled`."""
        await self._pool.aclose()


async def _fly(flight: Flight, connection: Connection, payload: bytes, *, reused: bool) -> None:
    flight.reused = reused
    connection.send(flight, payload)
    try:
        await flight.progress()
    except BaseException:
        flight.give_up()
        raise


class _Body(httpx.AsyncByteStream):
    """The body of a response while it is coming in."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    async def __aiter__(self) -> AsyncIterator[bytes]:
        flight = self._flight
        while True:
            reads, flight.reads = flight.reads, []
            for read in reads:
                yield read.data
            if reads:
                continue
            if flight.ending is not None:
                break
            await flight.progress()
        if flight.ending != "eof":
            raise _error(flight)

    async def aclose(self) -> None:
        self._flight.give_up()


def _origin(url: httpx.URL) -> Origin:
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol(f"{url} is neither http nor https")
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))


def _error(flight: Flight) -> httpx.TransportError:
    if flight.ending == "connect" and flight.connect_timed_out:
        return httpx.ConnectTimeout(flight.detail)
    return _ERRORS[flight.ending or "cancelled"](flight.detail)
