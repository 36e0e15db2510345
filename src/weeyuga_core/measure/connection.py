"""One socket: stamp each read first, follow the framing, keep the bytes; and what one exchange leaves behind."""

from __future__ import annotations

import asyncio
import math
import mmap
from array import array
from typing import Protocol, cast

from attrs import frozen

from weeyuga_core.interfaces import Ending, Read, Reply
from weeyuga_core.measure.clock import CLOSE_NS, now_ns, utc_text, wall_ns
from weeyuga_core.measure.exchange import Exchange, StampPoint
from weeyuga_core.measure.http1 import ResponseFraming
from weeyuga_core.model.plan import Timeouts

RECEIVE_BYTES = 64 * 1024
"""Receive buffer of one connection."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Bound of one response's body: reads are kept in memory until its end, small ones at three times their size."""
ORDER_NS = CLOSE_NS
"""Stamps of two reads may be in the wrong order by as much as two clocks are read apart."""


class Flight:
    """One exchange under way: what has been stamped and read so far, and how it ended.

    `t0_ns` and `last_ns` are clock readings, the other `_ns` durations since `t0_ns`. Timeouts may be infinite.
    """

    def __init__(self, method: str, timeouts: Timeouts, *, streaming: bool = False) -> None:
        self.method = method
        self.timeouts = timeouts
        self.streaming = streaming
        """Wake the waiting task at the head and at each read, and not only at the end."""
        self.asked_ns = self.t0_ns = self.last_ns = now_ns()
        self.started_wall_ns = wall_ns()
        self.stamp_point: StampPoint = "socket"
        self.reused: bool | None = None
        self.retried = False
        self.connection: Connection | None = None
        self.connect_timed_out = False
        self.connect_ns: int | None = None
        self.write_ns: int | None = None
        self.headers_ns: int | None = None
        self.end_ns = 0
        self.status: int | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.reads: list[Read] = []
        self.body_bytes = 0
        self.arrived_ns = self.t0_ns
        """Of the read before, a clock reading."""
        self.receive_lags_ns = array("q")
        """Per read that has the kernel's stamp: how much later this process had it."""
        self.stampless_reads = 0
        self.stamp_note: str | None = None
        self.answered = False
        """At least one byte came back, be it of an interim response."""
        self.ending: Ending | None = None
        self.detail = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the whole call is given up, counted from when it was asked for, connecting included."""
        return self.timeouts.total_s - (now_ns() - self.asked_ns) / 1e9

    @property
    def dead_on_arrival(self) -> bool:
        """A reused connection turned out closed before any byte was answered."""
        return self.ending == "reset" and self.reused is True and not self.answered

    def revive(self) -> None:
        """Forget the attempt on a dead connection: the request goes out once more."""
        self.retried = True
        self.ending = self.reused = self.connection = self.write_ns = None
        self.t0_ns = self.asked_ns
        self.detail = ""

    def arrival(self, stamp_ns: int, kernel_ns: int | None) -> int:
        """When a read's bytes had come, by the kernel's stamp where it has one that can be: one that lies between the
        read before, or the request, and our own stamp."""
        if self.stamp_point != "kernel":
            return stamp_ns
        if kernel_ns is None or not self.arrived_ns - ORDER_NS <= kernel_ns <= stamp_ns:
            self.stampless_reads += 1
            at_ns = stamp_ns
        else:
            at_ns = max(kernel_ns, self.arrived_ns)
            self.receive_lags_ns.append(stamp_ns - at_ns)
        self.arrived_ns = at_ns
        return at_ns

    def end(self, ending: Ending, detail: str, at_ns: int) -> None:
        """Set how it ended, and when; wakes the waiting task."""
        self.ending, self.detail, self.end_ns = ending, detail, at_ns - self.t0_ns
        self.wake()

    def wake(self) -> None:
        """Let the waiting task run."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def progress(self) -> None:
        """Wait until the next wake-up, or return at once when the exchange has ended."""
        if self.ending is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def give_up(self) -> None:
        """Close the connection unless the exchange has ended: it may carry another one by now."""
        if self.ending is None and self.connection is not None:
            self.connection.abort()

    def exchange(self, lag_ns: int) -> Exchange:
        """The finished exchange as a value."""
        if self.ending is None:
            raise RuntimeError("the exchange is still under way")
        reply = Reply(
            status=self.status,
            headers=self.headers,
            reads=tuple(self.reads),
            ending=self.ending,
            detail=self.detail,
        )
        point, note = self.stamp_point, self.stamp_note
        if self.stampless_reads:
            made = self.stampless_reads + len(self.receive_lags_ns)
            point, note = "socket", f"{self.stampless_reads} of {made} reads came without the kernel's stamp"
        return Exchange(
            reply=reply,
            t0_clock_ns=self.t0_ns,
            started_at_utc=utc_text(self.started_wall_ns),
            connection={None: None, True: "reused", False: "new"}[self.reused],
            retried=self.retried,
            stamp_point=point,
            stamp_note=note,
            receive_lags_ns=self.receive_lags_ns,
            connect_ns=self.connect_ns,
            write_ns=self.write_ns,
            headers_ns=self.headers_ns,
            end_ns=self.end_ns,
            lag_ns=lag_ns,
        )


@frozen
class Origin:
    """Where a request goes: connections are shared among requests of one origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Pipe(Protocol):
    """What a connection needs of the transport under it; asyncio's own ones have it."""

    def write(self, data: bytes, /) -> None:
        """Send, or keep to be sent."""

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""

    def is_closing(self) -> bool:
        """Whether nothing more is read or sent."""

    def abort(self) -> None:
        """Close at once."""


class Keeper(Protocol):
    """Whoever owns connections between exchanges."""

    def made(self, connection: Connection) -> None:
        """The connection is open."""

    def free(self, connection: Connection) -> None:
        """The connection may carry another request."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed, its socket freed."""


class Connection(asyncio.BufferedProtocol):
    """An HTTP/1.1 connection that carries one exchange at a time."""

    def __init__(self, keeper: Keeper, origin: Origin) -> None:
        self._keeper = keeper
        self.origin = origin
        # Anonymous pages: only those that a read has touched cost memory, so hundreds of connections stay small.
        self._buffer = mmap.mmap(-1, RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._flight: Flight | None = None
        self._framing = ResponseFraming("")
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Pipe
        self.kernel_stamps = False
        """Its reads carry the kernel's stamps."""
        self.stamp_note: str | None = None
        """Why they do not, where they were asked for."""
        self._fault = ""
        self._fault_ending: Ending = "reset"

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made_on(cast(asyncio.Transport, transport))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.took(nbytes, now_ns())

    def took(self, nbytes: int, stamp_ns: int, kernel_ns: int | None = None) -> None:
        """So many bytes are in the buffer; `kernel_ns` says when the kernel had them, `stamp_ns` when we did."""
        flight = self._flight
        if flight is None:
            self._unasked(nbytes)
            return
        framing = self._framing
        flight.last_ns = stamp_ns
        flight.answered = True
        at_ns = flight.arrival(stamp_ns, kernel_ns)
        body = framing.feed(self._buffer[:nbytes])
        if body:
            flight.reads.append(Read(at_ns - flight.t0_ns, body))
            flight.body_bytes += len(body)
        if flight.headers_ns is None and framing.status is not None:
            flight.status, flight.headers = framing.status, framing.headers
            flight.headers_ns = at_ns - flight.t0_ns
        if framing.error is not None:
            self._finish(flight, "protocol", framing.error, at_ns)
        elif flight.body_bytes > MAX_BODY_BYTES:
            self._finish(flight, "protocol", f"the body is longer than the bound of {MAX_BODY_BYTES} bytes", at_ns)
        elif framing.done:
            self._finish(flight, "eof", "", at_ns)
        elif flight.streaming and flight.headers_ns is not None:
            flight.wake()

    def eof_received(self) -> None:
        stamp_ns = now_ns()
        self._fault = self._fault or "the server closed the connection"
        if self._flight is not None:
            self._closed(self._flight, self._fault, stamp_ns, orderly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        stamp_ns = now_ns()
        self._fault = self._fault or (str(exc) if exc else "the connection was closed")
        if self._flight is not None:
            self._closed(self._flight, self._fault, stamp_ns, orderly=exc is None)
        self._keeper.lost(self)

    # --- what the transport calls ---

    def made_on(self, transport: Pipe) -> None:
        """Know what to send on, and be known to the keeper."""
        self._transport = transport
        self._keeper.made(self)

    @property
    def usable(self) -> bool:
        """Open, and nothing came that was not asked for."""
        return not self._fault and not self._transport.is_closing()

    def send(self, flight: Flight, request: bytes) -> None:
        """Stamp, send the whole request in one write, stamp again. The flight is told of everything that follows."""
        flight.stamp_point = self._stamp_point
        flight.stamp_note = self.stamp_note
        if not self.usable:
            flight.t0_ns = now_ns()
            flight.end(self._fault_ending, self._fault or "the connection is closing", flight.t0_ns)
            return
        self._framing = ResponseFraming(flight.method)
        self._flight, flight.connection = flight, self
        write = self._transport.write
        flight.started_wall_ns = wall_ns()
        flight.t0_ns = flight.last_ns = flight.arrived_ns = now_ns()
        write(request)
        flight.write_ns = now_ns() - flight.t0_ns
        self._watch()

    def abort(self, ending: Ending = "cancelled", detail: str = "") -> None:
        """Close now; an exchange under way ends so."""
        if self._flight is not None:
            self._finish(self._flight, ending, detail, now_ns())
        self._fault = self._fault or "the connection was given up"
        self._transport.abort()

    # --- inside ---

    @property
    def _stamp_point(self) -> StampPoint:
        if self.kernel_stamps:
            return "kernel"
        return "tls" if self.origin.scheme == "https" else "socket"

    def _watch(self) -> None:
        """Give up what is overdue, else look again when the next limit can be reached: one timer, never reset."""
        flight = self._flight
        if flight is None:
            return
        at_ns = now_ns()
        limits = flight.timeouts
        idle_left_s = limits.idle_s - (at_ns - flight.last_ns) / 1e9
        if flight.left_s <= 0:
            self._finish(flight, "total", f"not over after {limits.total_s:g} s", at_ns)
        elif idle_left_s <= 0:
            self._finish(flight, "idle", f"no byte came for {limits.idle_s:g} s", at_ns)
        elif math.isfinite(wait_s := min(flight.left_s, idle_left_s)):
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._watch)

    def _closed(self, flight: Flight, words: str, at_ns: int, *, orderly: bool) -> None:
        if orderly and self._framing.ends_at_close:
            self._finish(flight, "eof", "", at_ns)
        elif flight.headers_ns is not None:
            self._finish(flight, "reset", f"{words} after {flight.body_bytes} body bytes, before the body's end", at_ns)
        else:
            where = "in the middle of the response head" if flight.answered else "without an answer"
            self._finish(flight, "reset", f"{words} {where}", at_ns)

    def _finish(self, flight: Flight, ending: Ending, detail: str, at_ns: int) -> None:
        self._flight = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsent = self._transport.get_write_buffer_size()
        if ending == "eof" and self._framing.reusable and not unsent and self.usable:
            self._keeper.free(self)
        else:
            self._fault = self._fault or "the connection was given up"
            self._transport.abort()
        flight.end(ending, detail, at_ns)

    def _unasked(self, nbytes: int) -> None:
        """Bytes that answer nothing: whatever comes next could not be told from the answer to the next request."""
        self._fault = self._fault or f"the server sent {nbytes} bytes that no request asked for"
        self._fault_ending = "protocol"
        self._transport.abort()
