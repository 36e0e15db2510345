"""Connections: open them, keep the idle ones by origin, give out the one used last."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import partial

from weeyuga_core.measure import kernel
from weeyuga_core.measure.connection import Connection, Origin


class ConnectFailed(Exception):
    """No connection was had; the message says why. `timed_out` when it is only that nobody answered in time."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Pool:
    """Every connection of one transport, busy or idle. All of them belong to one event loop."""

    def __init__(self, ssl_context: ssl.SSLContext | None, *, kernel_stamps: bool = False) -> None:
        self._ssl_context = ssl_context
        self._witness = kernel.Witness() if kernel_stamps else None
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    def prepare(self, scheme: str) -> None:
        """Load the system's certificates where they will be needed and no others were given."""
        if scheme == "https" and self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()

    def take(self, origin: Origin) -> Connection | None:
        """The idle connection that was used last, or None."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def open(self, origin: Origin, limit_s: float | None) -> Connection:
        """A new connection, its name resolved and its TLS shaken hands within the limit. Raises ConnectFailed."""
        self.prepare(origin.scheme)
        try:
            async with asyncio.timeout(limit_s) as limit:
                connection = await self._connected(origin)
        except (OSError, UnicodeError) as error:
            late = limit.expired()
            words = f"not within {limit_s:g} s" if late else _why(error, origin)
            raise ConnectFailed(f"no connection to {origin}: {words}", timed_out=late) from error
        if self._closed:
            connection.abort()
            raise ConnectFailed(f"no connection to {origin}: the client was closed")
        return connection

    async def _connected(self, origin: Origin) -> Connection:
        make = partial(Connection, self, origin)
        why_not = self._why_not_stamped(origin)
        if self._witness is not None and why_not is None:
            return await kernel.connect(make, origin.host, origin.port)
        tls = self._ssl_context if origin.scheme == "https" else None
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(make, origin.host, origin.port, ssl=tls)
        connection.stamp_note = why_not
        return connection

    def _why_not_stamped(self, origin: Origin) -> str | None:
        """Why a connection cannot have the kernel's stamps, where they were asked for."""
        if self._witness is None:
            return None
        if origin.scheme != "http":
            return "TLS: the kernel stamps encrypted bytes, of which nobody knows yet what they say"
        return self._witness.why_not

    def made(self, connection: Connection) -> None:
        """Know a connection from the moment it is open."""
        self._open.add(connection)

    def free(self, connection: Connection) -> None:
        """Keep the connection for the next request of its origin."""
        self._idle.setdefault(connection.origin, []).append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def aclose(self) -> None:
        """Close every connection and wait until their sockets are freed."""
        self._closed = True
        for connection in tuple(self._open):
            connection.abort("cancelled", "the client was closed")
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
        if self._witness is not None:
            self._witness.close()


def _why(error: OSError | UnicodeError, origin: Origin) -> str:
    """The reason in words a person can act on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed (is the endpoint https?): {error.reason or error}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"the name {origin.host!r} cannot be resolved: {getattr(error, 'strerror', None) or error}"
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
