"""An engine that makes each delta only when the client has read the one before.

However long a busy machine stops any process, two deltas come together only where something between engine and client
holds them back; and what holds one back gets no other, so that its call ends in a timeout.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from weeyuga_core.measure.connection import Connection
from weeyuga_core.testing.golden_script import GoldenScript, Write, play


class Step:
    """What the client has read of the answer under way."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._read = bytearray()
        self._over = False

    def begin(self) -> None:
        """A new answer: nothing of it has been read."""
        with self._news:
            self._read.clear()

    def had(self, data: bytes) -> None:
        """The client has read these bytes."""
        with self._news:
            self._read += data
            self._news.notify_all()

    def end(self) -> None:
        """Nobody waits any longer."""
        with self._news:
            self._over = True
            self._news.notify_all()

    def wait_for(self, deltas: int, text: bytes) -> None:
        """Return when the client has read so many deltas, each of which holds the text."""
        with self._news:
            self._news.wait_for(lambda: self._over or self._read.count(text) >= deltas)


@contextmanager
def lockstep_engine() -> Iterator[str]:
    """Base URL of an engine that plays golden scripts so, for one call at a time of the measuring client."""
    step = Step()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = json.dumps({"version": "lockstep-1"}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            step.begin()
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            script = GoldenScript.from_json(body["golden"])
            self.close_connection = script.framing == "close"
            for write in in_step(step, script):
                self.wfile.write(write.data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to be read by anybody."""

    with reads_told_to(step), ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            step.end()
            server.shutdown()
            serving.join()


def in_step(step: Step, script: GoldenScript) -> Iterator[Write]:
    """The writes of the script; each delta but the first takes its interval from when the one before was read."""
    text = json.dumps(script.text).encode()
    made = 0
    for write in play(script, "lockstep", time.monotonic_ns()):
        if made and "answer" in write.marks:
            step.wait_for(made, text)
            time.sleep(script.interval_us / 1e6)
        made += write.marks.count("answer")
        yield write


@contextmanager
def reads_told_to(step: Step) -> Iterator[None]:
    """Let it know what measuring clients read."""
    took = Connection.took

    def told(connection: Connection, nbytes: int, stamp_ns: int, kernel_ns: int | None = None) -> None:
        data = bytes(connection.get_buffer(-1)[:nbytes])
        took(connection, nbytes, stamp_ns, kernel_ns)
        step.had(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "took", told)
        yield
