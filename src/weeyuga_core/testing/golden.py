"""The golden server: streams a scripted reply on a schedule, and remembers when it really wrote each piece.

    python -m weeyuga_core.testing.golden --port 0

prints one JSON line with its port when it can be connected to. `POST` anything, with a script under the key `golden`
of the JSON body or as JSON in the header `x-golden` (fields: `golden_script.GoldenScript`). The reply's header
`x-golden-id` names its log, `GET /golden/log/<id>`. `GET /health` and `GET /props` answer as a ready engine does.

One thread, one selector, one heap of due times, no event loop: what is measured against it must be slower than it is.
Stamps are `time.monotonic_ns` just before each send. That clock is one for all processes of a machine, so they can be
held against a client's directly.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import heapq
import json
import os
import select
import selectors
import signal
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

from weeyuga_core.testing.golden_script import GoldenScript, ScriptError, Write, play

VERSION = "golden-1"
DIGEST = "sha256:" + "60" * 32

STAMPS_KEPT = 1_000_000
"""Oldest logs are dropped beyond this many stamps in all, some 100 MB."""

_RECV_BYTES = 65_536
_BACKLOG = 1_024
_LONGEST_WAIT_S = 60.0


class _Log:
    """One reply: when its request was there, and each write with the data lines it completed."""

    def __init__(self, received_ns: int) -> None:
        self.received_ns = received_ns
        self.writes: list[tuple[int, tuple[str, ...]]] = []
        self.ended = False

    def as_json(self) -> dict[str, Any]:
        return {"received_ns": self.received_ns, "writes": self.writes, "ended": self.ended}


class _Connection:
    """One client: bytes of its next request, and the writes still to come of the reply in progress.

    At most one of its writes is on the heap at a time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.writes: Iterator[Write] | None = None
        self.unsent = memoryview(b"")
        self.log = _Log(0)
        self.close_after = False
        self.closed = False


class GoldenLoop:
    """The server: `serve` runs until standard input closes (with `until_eof`) or a signal ends the process."""

    def __init__(self, listener: socket.socket, *, until_eof: bool) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._heap: list[tuple[int, int, _Connection, Write]] = []
        self._turn = 0
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._stamps = 0
        self._count = 0
        self._running = True
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        if until_eof:
            self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._parent_spoke)

    def serve(self) -> None:
        """Write what is due, then sleep until the next due time or the next byte, for ever."""
        while self._running:
            self._write_due(monotonic_ns())
            self._poll(self._wait_s())

    def _wait_s(self) -> float:
        if not self._heap:
            return _LONGEST_WAIT_S
        return min(_LONGEST_WAIT_S, max(0, self._heap[0][0] - monotonic_ns()) / 1e9)

    def _poll(self, wait_s: float) -> None:
        """Handle sockets that are ready. `epoll` sleeps in whole ms; `select` on its own descriptor does not."""
        if hasattr(self._selector, "fileno"):
            if not select.select([self._selector.fileno()], [], [], wait_s)[0]:
                return
            wait_s = 0
        for key, mask in self._selector.select(wait_s):
            if isinstance(key.data, _Connection):
                self._ready(key.data, mask)
            else:
                key.data()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _parent_spoke(self) -> None:
        """Standard input is readable: our parent never writes, so it has gone."""
        self._running = bool(os.read(sys.stdin.fileno(), _RECV_BYTES))

    # --- requests -----------------------------------------------------------------------------------------------

    def _ready(self, connection: _Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and not connection.closed:
            self._resume(connection)
        if mask & selectors.EVENT_READ and not connection.closed:
            self._receive(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        self._next_request(connection)

    def _next_request(self, connection: _Connection) -> None:
        """Start the reply to the next request, when all of it is there and the one before has been answered."""
        if connection.writes is not None:
            return
        try:
            parsed = _parse(connection.received)
        except ValueError:
            # Not HTTP: nothing that could be answered.
            self._close(connection)
            return
        if parsed is None:
            return
        method, path, headers, body, length = parsed
        del connection.received[:length]
        connection.log = _Log(monotonic_ns())
        connection.close_after = headers.get("connection", "").lower() == "close"
        connection.writes = self._reply(connection, method, path, headers, body)
        self._advance(connection)

    def _reply(
        self, connection: _Connection, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Iterator[Write]:
        if method == "GET":
            return _whole(*self._get(path))
        try:
            script = _script(headers, body)
        except ScriptError as wrong:
            return _whole(400, {"error": {"code": 400, "message": str(wrong)}})
        self._count += 1
        ident = f"golden-{self._count:08d}"
        self._logs[ident] = connection.log
        connection.close_after |= script.close or script.framing == "close"
        return play(script, ident, connection.log.received_ns)

    def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the small routes."""
        if path == "/health":
            return 200, {"status": "ok"}
        if path == "/props":
            return 200, {"version": VERSION, "digest": DIGEST}
        log = self._logs.get(path.removeprefix("/golden/log/"))
        return (404, {"error": {"code": 404, "message": f"nothing at {path}"}}) if log is None else (200, log.as_json())

    # --- replies ------------------------------------------------------------------------------------------------

    def _write_due(self, now_ns: int) -> None:
        """All writes that were due when this turn began; later ones wait until sockets have been looked at."""
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            _, _, connection, write = heapq.heappop(heap)
            if not connection.closed:
                self._write(connection, write.data, write.marks)

    def _write(self, connection: _Connection, data: bytes, marks: tuple[str, ...]) -> None:
        """Make the write that is due, and put the next one on the heap."""
        if not data:
            self._act(connection, marks[0])
            return
        connection.log.writes.append((monotonic_ns(), marks))
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.unsent = memoryview(data)[sent:]
            self._selector.modify(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        else:
            self._advance(connection)

    def _resume(self, connection: _Connection) -> None:
        """Send what the kernel had no room for."""
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        if not connection.unsent:
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
            self._advance(connection)

    def _advance(self, connection: _Connection) -> None:
        """Put the next write on the heap, or end the reply."""
        upcoming = next(connection.writes or iter(()), None)
        if upcoming is None:
            self._end(connection)
            return
        self._turn += 1
        heapq.heappush(self._heap, (upcoming.due_ns, self._turn, connection, upcoming))

    def _act(self, connection: _Connection, action: str) -> None:
        """What a script does in place of a write."""
        if action == "stall":
            return
        if action == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if action == "end":
            self._advance(connection)
        else:
            self._close(connection)

    def _end(self, connection: _Connection) -> None:
        """The reply is written: forget old logs, and read on or close."""
        connection.log.ended = True
        connection.writes = None
        self._stamps += len(connection.log.writes)
        while self._stamps > STAMPS_KEPT and len(self._logs) > 1:
            self._stamps -= len(self._logs.popitem(last=False)[1].writes)
        if connection.close_after:
            self._close(connection)
        else:
            self._next_request(connection)

    def _close(self, connection: _Connection) -> None:
        connection.closed = True
        self._selector.unregister(connection.sock)
        connection.sock.close()


def _parse(received: bytearray) -> tuple[str, str, dict[str, str], bytes, int] | None:
    """Method, path, headers, body and length of the first request, or None while it is not whole."""
    head, found, _ = bytes(received).partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    start = len(head) + len(found)
    length = start + int(headers.get("content-length", "0"))
    return (method, path, headers, bytes(received[start:length]), length) if len(received) >= length else None


def _script(headers: dict[str, str], body: bytes) -> GoldenScript:
    """The script that came with a request; without one, the default script."""
    try:
        if "x-golden" in headers:
            return GoldenScript.from_json(json.loads(headers["x-golden"]))
        asked = json.loads(body or b"{}")
    except ValueError as wrong:
        if isinstance(wrong, ScriptError):
            raise
        raise ScriptError(f"not JSON: {wrong}") from wrong
    return GoldenScript.from_json(asked.get("golden", {}) if isinstance(asked, dict) else asked)


def _whole(status: int, value: dict[str, Any]) -> Iterator[Write]:
    """A small JSON reply, now."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\ncontent-type: application/json\r\n"
    yield Write(0, f"{head}content-length: {len(body)}\r\n\r\n".encode() + body, ("end",))


def main(argv: list[str] | None = None) -> None:
    """Listen, say so in one line on standard output, and serve."""
    parser = argparse.ArgumentParser(prog="python -m weeyuga_core.testing.golden", description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--until-eof", action="store_true", help="exit when standard input closes")
    parser.add_argument("--cpu", type=int, help="run on this core only (Linux)")
    asked = parser.parse_args(argv)
    if asked.cpu is not None:
        if not hasattr(os, "sched_setaffinity"):
            parser.error("--cpu: this system cannot bind a process to a core")
        os.sched_setaffinity(0, {asked.cpu})
    if asked.until_eof:
        # Ctrl-C reaches the whole foreground group; our parent decides when we end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    try:
        listener = socket.create_server((asked.host, asked.port), family=family, backlog=_BACKLOG)
    except OSError as wrong:
        parser.error(f"cannot listen on {asked.host} port {asked.port}: {wrong.strerror}")
    ready = {"ready": True, "host": asked.host, "port": listener.getsockname()[1], "pid": os.getpid()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    # Replies make no cycles, and a collection in the middle of a schedule would be a late write.
    gc.freeze()
    gc.disable()
    GoldenLoop(listener, until_eof=asked.until_eof).serve()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
