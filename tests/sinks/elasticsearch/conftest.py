"""A store in memory behind an httpx transport, with faults to order: a script says what each bulk request meets."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from weeyuga_core.sinks.elasticsearch import sender, server, sink
from weeyuga_core.sinks.elasticsearch.bulk import Item
from weeyuga_core.sinks.elasticsearch.sender import Sender, Sent
from weeyuga_core.sinks.elasticsearch.settings import Settings

URL = "http://store.invalid:9200"
Meets = Callable[["FakeStore", httpx.Request], httpx.Response]
"""What a bulk request meets."""


class FakeStore:
    """Keeps documents by index and id, as `create` does; `script` holds what the next bulk requests meet."""

    def __init__(self, *script: Meets) -> None:
        self.script = list(script)
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.created = 0
        """How often a document came to be; more than the documents there are would mean that one came twice."""
        self.refused: dict[str, int] = {}
        """id -> the status that its item always meets."""
        self.streams: list[str] = []
        self.templates: list[dict[str, Any]] = []
        self.cluster_uuid = "cluster-1"
        self.front: int = 200
        """The status of `GET /`: some stores have no front."""

    @property
    def bulks(self) -> list[list[str]]:
        """The identities in each bulk request."""
        return [_ids(request) for request in self.requests if request.url.path == "/_bulk"]

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What the store says."""
        self.requests.append(request)
        path = request.url.path
        if path == "/_bulk":
            return (self.script.pop(0) if self.script else taken)(self, request)
        if path == "/_mget":
            return httpx.Response(200, json={"docs": [self._got(one) for one in json.loads(request.content)["docs"]]})
        if path.startswith("/_resolve/index/"):
            return httpx.Response(200, json={"data_streams": [{"name": name} for name in self.streams]})
        if path == "/_index_template":
            return httpx.Response(200, json={"index_templates": self.templates})
        if path == "/":
            version = {"number": "8.19.4"}
            return httpx.Response(self.front, json={"version": version, "cluster_uuid": self.cluster_uuid})
        if path == "/_nodes/_local":
            return httpx.Response(200, json={"nodes": {"n": {"version": "8.19.4"}}})
        if path == "/_cluster/state/version":
            return httpx.Response(200, json={"cluster_uuid": self.cluster_uuid})
        return httpx.Response(404, json={})

    def take(self, request: httpx.Request) -> list[dict[str, Any]]:
        """Create what a bulk request asks for; the items of the answer."""
        lines = request.content.splitlines()
        return [
            self._create(json.loads(a)["create"], json.loads(d)) for a, d in zip(lines[::2], lines[1::2], strict=True)
        ]

    def _create(self, action: dict[str, str], document: dict[str, Any]) -> dict[str, Any]:
        where = action["_index"], action["_id"]
        status = self.refused.get(action["_id"]) or (409 if where in self.documents else 201)
        if status == 201:
            self.documents[where] = document
            self.created += 1
        error = {} if status == 201 else {"error": {"type": f"type_{status}", "reason": "because"}}
        return {"create": {"_index": where[0], "_id": where[1], "status": status} | error}

    def _got(self, wanted: dict[str, Any]) -> dict[str, Any]:
        found = self.documents.get((wanted["_index"], wanted["_id"]))
        return {"_id": wanted["_id"], "found": found is not None} | ({"_source": found} if found else {})


def _ids(request: httpx.Request) -> list[str]:
    return [json.loads(line)["create"]["_id"] for line in request.content.splitlines()[::2]]


# --- what a bulk request may meet ---------------------------------------------------------------------------------


def taken(store: FakeStore, request: httpx.Request) -> httpx.Response:
    """A good answer."""
    return httpx.Response(200, json={"items": store.take(request)})


def status(code: int, *, headers: dict[str, str] | None = None, body: Any = None) -> Meets:
    """Nothing is taken; the request as a whole is answered so."""
    return lambda store, request: httpx.Response(code, json=body or {}, headers=headers)


def lost(*, before: bool) -> Meets:
    """The connection breaks, before the store took the request or after."""

    def meets(store: FakeStore, request: httpx.Request) -> httpx.Response:
        if not before:
            store.take(request)
        raise httpx.ReadError("reset", request=request)

    return meets


def garbled(change: Callable[[list[dict[str, Any]]], Any]) -> Meets:
    """The request is taken, and its answer is not what it should be."""

    def meets(store: FakeStore, request: httpx.Request) -> httpx.Response:
        answer = change(store.take(request))
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer)
        return httpx.Response(200, json={"items": answer})

    return meets


def partly(code: int) -> Meets:
    """Every other item meets that status, the others are taken."""

    def meets(store: FakeStore, request: httpx.Request) -> httpx.Response:
        lines = request.content.splitlines(keepends=True)
        pairs = [first + second for first, second in zip(lines[::2], lines[1::2], strict=True)]
        luck = store.take(httpx.Request("POST", URL, content=b"".join(pairs[1::2])))
        refused = [
            {"create": json.loads(pair.splitlines()[0])["create"] | {"status": code, "error": {"type": f"type_{code}"}}}
            for pair in pairs[::2]
        ]
        items = [one for two in zip(refused, luck, strict=False) for one in two]
        return httpx.Response(200, json={"items": items + refused[len(luck) :]})

    return meets


# --- a sender without a clock -----------------------------------------------------------------------------------------


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def items(count: int, *, index: str = "weeyuga-telemetry-2026.04.29") -> list[Item]:
    """That many items of a run, one after the other."""
    return [Item(f"run:{n}", index, b'{"n":%d}' % n, 10 * n, b"x" * 10, f"sha-{n}") for n in range(count)]


def send(store: FakeStore, batch: list[Item], *, deadline_s: float = 100.0, clock: Clock | None = None) -> Sent:
    """Send a batch to the store, on a clock of its own."""

    async def run() -> Sent:
        time = clock or Clock()
        async with httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(store.answer)) as http:
            return await Sender(http, rng=random.Random(1), sleep=time.sleep, now=time.now).send(
                batch, deadline_s=deadline_s
            )

    return asyncio.run(run())


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """This module: helpers cannot be imported from beside a test."""
    return sys.modules[__name__]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """A store that every client of every setting talks to."""
    made = FakeStore()

    def client(self: Settings) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, transport=httpx.MockTransport(made.answer))

    monkeypatch.setattr(Settings, "client", client)
    monkeypatch.setattr(sender, "BACKOFF_S", 0.001)
    # No test measures how long an attempt takes; those that wait for its end set limits of their own.
    monkeypatch.setattr(sink, "FLUSH_S", 60.0)
    monkeypatch.setattr(sink, "CLOSE_S", 60.0)
    monkeypatch.setattr(server, "PAUSE_S", 0.001)
    monkeypatch.setenv("WEEYUGA_ES_URL", URL)
    return made
