"""A golden server, and a store that keeps what it is sent and finds it again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from weeyuga_brain_routed import adapter
from weeyuga_brain_routed.check import leaves
from weeyuga_core.testing.golden_process import GoldenServer


class FakeStore:
    """Takes bulk requests and answers searches of `terms` clauses; `script` holds statuses to answer with first."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.script: list[int] = []
        self.seen: list[tuple[str, str | None]] = []
        """Path and authorization of each request."""
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
        self.url = ""

    def bulk(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            self.documents.append((action["create"]["_index"], self.change(document)))
        return {"errors": False, "items": []}

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = [clause["terms"].items() for clause in body["query"]["bool"]["should"]]
        marks = {(name, value) for clause in wanted for name, values in clause for value in values}
        found = [document for _, document in self.documents if marks & set(leaves(document))]
        return {"hits": {"hits": [{"_source": document} for document in found]}}


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """A fresh store."""
    kept = FakeStore()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.seen.append((self.path, self.headers["authorization"]))
            status = kept.script.pop(0) if kept.script else 200
            if status != 200:
                answer: dict[str, Any] = {"error": "as the script says"}
            elif self.path == "/_bulk":
                answer = kept.bulk([json.loads(line) for line in body.splitlines()])
            else:
                answer = kept.search(json.loads(body))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to be read by anybody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield kept
        server.shutdown()
        serving.join()


@pytest.fixture(scope="session", autouse=True)
def _patient_probes() -> Iterator[None]:
    """No test measures how soon a router says that it is up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "HEALTH_S", 60.0)
        yield


@pytest.fixture(scope="session")
def golden() -> Iterator[str]:
    """Base URL of an engine."""
    with GoldenServer() as server:
        yield server.url
