"""The least that a client can do: sockets, `selectors`, a stamp per `recv`; framing and JSON after everything is over.

No event loop, no HTTP library, no time limits and no faults handled: it shows what the machine and Python leave.
"""

from __future__ import annotations

import gc
import json
import selectors
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from common import PATH, Seen, Task, delta_text, main

END = b"\r\n0\r\n\r\n"


class Stream:
    """One connection and the answers that came on it."""

    def __init__(self, address: tuple[str, int], request: bytes, calls: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = calls
        self.request = request
        self.answers: list[tuple[int, list[tuple[int, bytes]]]] = []
        self.tail = b""

    def send(self) -> None:
        """Ask for the next answer."""
        self.left -= 1
        self.tail = b""
        self.answers.append((time.monotonic_ns(), []))
        self.socket.sendall(self.request)


def load(task: Task) -> list[Seen]:
    """All streams."""
    where = urlsplit(task.url)
    address = (where.hostname or "", where.port or 80)
    body = json.dumps(task.body).encode()
    request = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
    streams = [Stream(address, request, task.calls) for _ in range(task.streams)]
    gc.disable()
    exchange(streams)
    return [parsed(start, reads) for stream in streams for start, reads in stream.answers]


def exchange(streams: list[Stream]) -> None:
    """Send, and stamp what comes until every stream is through."""
    waiting = list(reversed(streams))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            if waiting:
                waiting[-1].send()
                selector.register(waiting[-1].socket, selectors.EVENT_READ, waiting.pop())
            for key, _ in selector.select(0 if waiting else None):
                stream: Stream = key.data
                data = stream.socket.recv(65_536)
                stream.answers[-1][1].append((time.monotonic_ns(), data))
                if not data:
                    raise ConnectionError("the server closed the connection")
                # The last chunk may come in a read of its own, or torn.
                stream.tail = (stream.tail + data)[-len(END) :]
                if stream.tail == END:
                    if stream.left:
                        stream.send()
                    else:
                        selector.unregister(stream.socket)
                        stream.socket.close()


def parsed(start_ns: int, reads: list[tuple[int, bytes]]) -> Seen:
    """The answer in those reads: each data line, stamped by the read that ended it."""
    deltas: list[int] = []
    end_ns = 0
    held = b""
    head = b""
    for at_ns, data in reads:
        held += data
        if not head:
            head, _, held = held.partition(b"\r\n\r\n")
        *lines, held = held.split(b"\n\n")
        for line in lines:
            text = line[line.index(b"data: ") + 6 :].decode()
            end_ns = at_ns
            if text != "[DONE]" and delta_text(text):
                deltas.append(at_ns)
    ident = next(line[13:] for line in head.decode().split("\r\n") if line.startswith("x-golden-id: "))
    return Seen(ident, start_ns, deltas, end_ns)


if __name__ == "__main__":
    main(load)
