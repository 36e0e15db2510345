"""A server that plays raw bytes, and ways to run the client against it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.connection import Connection
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.kernel import unavailable
from weeyuga_core.measure.transport import MeasuringTransport
from weeyuga_core.model.plan import Timeouts


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """1 for the first connection of the server, 2 for the next."""

    async def request(self) -> bytes:
        """One whole request, head and sized body. Raises EOFError (IncompleteReadError) when the client has gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own, in a turn of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed."""
        while await self.reader.read(65536):
            pass

    def half_close(self) -> None:
        """Send no more, but go on reading."""
        self.writer.write_eof()

    def close(self) -> None:
        """Close in order."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset instead of an end."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """A listening server and what it has seen."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.url = ""
        self.stop: Callable[[], None] = lambda: None
        """Listen no more; open connections stay."""
        self.connections = 0
        self.open = 0
        self.failures: list[Exception] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.script(Peer(reader, writer, self.connections))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has gone: what the tests look at is the client's side.
        except Exception as failure:
            self.failures.append(failure)
            raise
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serve(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[Server]:
    """Play the script on every connection until the context closes; `name` stands for the host in the URL."""
    played = Server(script)
    listening = await asyncio.start_server(played.handle, host, 0, ssl=tls, limit=1 << 20)
    port = listening.sockets[0].getsockname()[1]
    shown = name or (f"[{host}]" if ":" in host else host)
    played.stop = listening.close
    played.url = f"http{'s' if tls else ''}://{shown}:{port}"
    try:
        yield played
    finally:
        listening.close()
        await settled(lambda: not played.open)
        assert not played.failures


LIMITS = Timeouts(connect_s=10, idle_s=20, total_s=60)
NEVER = Timeouts(connect_s=3600, idle_s=3600, total_s=3600)
"""Longer than a test may take: nothing is freed by a timeout."""


async def ask(
    client: MeasuringClient,
    server: Server,
    *,
    method: str = "POST",
    body: bytes = b"{}",
    timeouts: Timeouts = LIMITS,
    headers: dict[str, str] | None = None,
) -> Exchange:
    """One exchange with that server."""
    request = httpx.Request(method, f"{server.url}/v1/x?y=1", content=body, headers=headers)
    return await client.exchange(request, timeouts)


async def ask_once(script: Script, **options: Any) -> Exchange:
    """One exchange of a new client with a server that plays the script."""
    async with serve(script) as server, MeasuringClient() as client:
        return await ask(client, server, **options)


def answer(*pieces: bytes, after: str = "wait") -> Script:
    """A script: read the request, send the pieces, then `wait` for the client to go, `close` or `reset`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if after == "wait":
            await peer.gone()
        elif after == "reset":
            peer.reset()

    return script


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; the test's own time limit ends a wait that never does."""
    while not condition():
        await asyncio.sleep(0.001)


def open_files() -> int:
    """How many file descriptors this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


WHY_NO_STAMPS = unavailable()
NO_STAMPS = pytest.mark.skipif(WHY_NO_STAMPS is not None, reason=str(WHY_NO_STAMPS))


@pytest.fixture(params=["socket", pytest.param("kernel", marks=NO_STAMPS)], autouse=True)
def stamp_point(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything that holds of the transport holds on both kinds of socket: clients of a test ask for one of them."""
    for made in (MeasuringClient.__init__, MeasuringTransport.__init__):
        monkeypatch.setitem(made.__kwdefaults__, "kernel_stamps", request.param == "kernel")
    return str(request.param)


@pytest.fixture
def scripted() -> SimpleNamespace:
    """The tools of this module: test files cannot import one another."""
    return SimpleNamespace(
        Peer=Peer,
        settled=settled,
        serve=serve,
        ask=ask,
        ask_once=ask_once,
        answer=answer,
        open_files=open_files,
        LIMITS=LIMITS,
        NEVER=NEVER,
    )


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tell how many bytes connections have read since the test began."""
    counts: list[int] = []
    took = Connection.took

    def counted(connection: Connection, nbytes: int, *stamps: int | None) -> None:
        took(connection, nbytes, *stamps)
        counts.append(nbytes)

    monkeypatch.setattr(Connection, "took", counted)
    return lambda: sum(counts)
