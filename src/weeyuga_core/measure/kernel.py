"""A socket whose every read says when the kernel had its bytes (`SO_TIMESTAMPNS`): Linux, plain TCP, asked for.

The stamp is made in the kernel's receive path, before any process is woken, so no queue of this one is in it. It is of
the last segment that a read took, as `stamp_point: socket` is of the moment after it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from weeyuga_core.measure.clock import now_ns, together
from weeyuga_core.measure.connection import Connection

SO_TIMESTAMPNS: int = getattr(socket, "SO_TIMESTAMPNS", 35)
"""Linux's number on every architecture that CPython is built for in earnest; younger Pythons know the name."""
WITNESS_S = 1.0
WITNESS_LOOKS = 20
"""Stamps that have not begun by then, and after so many looks, do not come."""
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

T = TypeVar("T", bound=Connection)


class Witness:
    """A pair of connected sockets that keeps the kernel stamping for as long as it is open.

    Linux stamps nothing until a socket asks, begins some time later (it rewrites its own code for that), and ends with
    the last such socket. So one of ours asks before any connection does, and is watched until a byte has a stamp.
    """

    def __init__(self) -> None:
        """Open the pair; returns when stamps come, or it is clear that none do."""
        self.why_not: str | None = None
        self._pair: tuple[socket.socket, ...] = ()
        if not sys.platform.startswith("linux"):
            self.why_not = f"{sys.platform} has no SO_TIMESTAMPNS"
            return
        try:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                here = socket.create_connection(listening.getsockname())
                self._pair = (here, listening.accept()[0])
            self.why_not = _switch_on(here) or self._see_a_stamp()
        except OSError as error:
            self.why_not = f"stamps could not be tried: {error.strerror or error}"

    def _see_a_stamp(self) -> str | None:
        here, there = self._pair
        here.settimeout(10 * WITNESS_S)
        started, looks = time.monotonic(), 0
        while looks < WITNESS_LOOKS or time.monotonic() - started < WITNESS_S:
            there.send(b"?")
            if _stamp_in(here.recvmsg(1, _ANCILLARY_BYTES)[1]) is not None:
                return None
            looks += 1
            time.sleep(0.001)  # between two looks: it is a worker of the kernel that switches stamps on
        return f"this kernel stamped nothing within {WITNESS_S:g} s"

    def close(self) -> None:
        """Let go of the sockets."""
        for sock in self._pair:
            sock.close()


def monotonic_of(stamp_wall_ns: int) -> int:
    """A recent moment of the wall clock as a reading of the monotonic one.

    A wall clock that is set between that moment and now spoils it, which the caller has to notice.
    """
    mono_ns, wall_ns = together()
    return stamp_wall_ns - wall_ns + mono_ns


def unavailable() -> str | None:
    """Why this host gives no stamps, found out by trying; None where it does."""
    witness = Witness()
    witness.close()
    return witness.why_not


async def connect(make: Callable[[], T], host: str, port: int) -> T:
    """A connection whose reads carry the kernel's stamps, as long as a `Witness` is open.

    The addresses of the name are tried in turn. Raises OSError, the last one's, where none can be connected to.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("the name has no address")
    for family, kind, proto, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            sock.setblocking(False)
            # As asyncio does for its own: a request must not wait for the acknowledgement of the one before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            refused = _switch_on(sock)
            await loop.sock_connect(sock, address)
        except OSError as error:
            failure = error
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        else:
            connection = make()
            connection.stamp_note, connection.kernel_stamps = refused, refused is None
            StampedSocket(loop, sock, connection)
            return connection
    raise failure


def _switch_on(sock: socket.socket) -> str | None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError as error:
        return f"this kernel refuses SO_TIMESTAMPNS: {error.strerror or error}"
    return None


class StampedSocket:
    """A connected socket on an event loop: what `Connection` needs of a transport, and the stamps of its reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, connection: Connection) -> None:
        self._loop = loop
        self._sock = sock
        self._connection = connection
        self._closing = False
        self._unsent = bytearray()
        connection.made_on(self)
        loop.add_reader(sock.fileno(), self._readable)

    def write(self, data: bytes) -> None:
        """Send what the socket takes at once, and the rest when it takes more."""
        if self._closing:
            return
        if not self._unsent:
            try:
                data = data[self._sock.send(data) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._close(error)
                return
            if not data:
                return
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._unsent += data

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return len(self._unsent)

    def is_closing(self) -> bool:
        """Whether nothing more is read or sent."""
        return self._closing

    def abort(self) -> None:
        """Close at once; `connection_lost` follows in a turn of its own."""
        self._close(None)

    def _readable(self) -> None:
        connection = self._connection
        try:
            nbytes, ancillary, _, _ = self._sock.recvmsg_into([connection.get_buffer(-1)], _ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._close(error)
            return
        stamp_ns = now_ns()
        if not nbytes:
            connection.eof_received()
            self._close(None)
            return
        connection.took(nbytes, stamp_ns, _stamp_in(ancillary))

    def _writable(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._close(error)
            return
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _close(self, error: OSError | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._unsent.clear()
        # As with asyncio's own transports, whoever aborts is not called back before it is through.
        self._loop.call_soon(partial(self._lost, error))

    def _lost(self, error: OSError | None) -> None:
        try:
            self._connection.connection_lost(error)
        finally:
            self._sock.close()


def _stamp_in(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The kernel's stamp as a reading of the monotonic clock; None where a read came without one."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, ns = _TIMESPEC.unpack_from(data)
            return monotonic_of(seconds * 1_000_000_000 + ns)
    return None
