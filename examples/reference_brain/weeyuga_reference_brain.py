"""The smallest router that does what weeyuga-bench asks of a brain.

It sends each request on to an engine and the answer back, chunk by chunk as it comes; says in `X-Weeyuga-Backend` who
answered; and emits one telemetry envelope per request to Elasticsearch, in the background, with what the benchmark
headers say copied into `metadata`. It knows the headers by their names and nothing else of the harness.

    python weeyuga_reference_brain.py --port 8090 --upstream engine=http://127.0.0.1:11434 --es http://127.0.0.1:9200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

# --- the convention ----------------------------------------------------------------------------------------------

METADATA = {
    "x-weeyuga-test": "test",
    "x-weeyuga-benchmark-run-id": "benchmark_run_id",
    "x-weeyuga-benchmark-cell-id": "benchmark_cell_id",
    "x-weeyuga-benchmark-prompt-id": "benchmark_prompt_id",
    "x-weeyuga-benchmark-phase": "benchmark_phase",
    "x-weeyuga-benchmark-run-idx": "benchmark_run_idx",
}
"""Header of a request -> its key in `metadata` of every envelope about that request."""
ROUTE = "x-weeyuga-inference-route"
BACKEND = "x-weeyuga-backend"
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

STAYS_HERE = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that belong to one connection."""
FOR_US = {*METADATA, ROUTE, "authorization"}


def metadata_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """What the benchmark headers say; empty for any other traffic."""
    told = {key: headers[name] for name, key in METADATA.items() if name in headers}
    return {key: _typed(key, value) for key, value in told.items()}


def _typed(key: str, value: str) -> Any:
    if key == "test":
        return value.lower() == "true"
    return int(value) if key == "benchmark_run_idx" and value.isdecimal() else value


def envelope(request: Request, backend: str, *, status: int, duration_ns: int, whole: bool) -> dict[str, Any]:
    """One telemetry document. No text of prompt or answer."""
    trace = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return {
        "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": {
            "kind": "event",
            "dataset": "weeyuga.brain.dispatch",
            "duration": duration_ns,
            "outcome": "success" if whole and status < 400 else "failure",
        },
        "service": {"name": "reference-brain"},
        "server": {"address": backend},
        "url": {"path": request.url.path},
        "http": {"response": {"status_code": status}},
        **({"trace": {"id": trace[1]}, "span": {"id": trace[2]}} if trace else {}),
        "metadata": metadata_of(request.headers),
    }


# --- telemetry ---------------------------------------------------------------------------------------------------


class Telemetry:
    """Sends envelopes in the background; a store that is slow or gone costs envelopes, never a request."""

    def __init__(self, store: str | None, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=10_000)

    def emit(self, document: dict[str, Any]) -> None:
        """Put an envelope by."""
        try:
            self._waiting.put_nowait(document)
        except asyncio.QueueFull:
            _complain("an envelope is dropped: too many wait for the store")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send until the block ends, and then what is left."""
        async with httpx.AsyncClient(headers=_authorization(), trust_env=False, timeout=10) as http:
            sending = asyncio.create_task(self._send_all(http))
            yield
            with suppress(TimeoutError):
                await asyncio.wait_for(self._waiting.join(), 5)
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _send_all(self, http: httpx.AsyncClient) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < 500:
                batch.append(self._waiting.get_nowait())
            await self._send(http, batch)
            for _ in batch:
                self._waiting.task_done()

    async def _send(self, http: httpx.AsyncClient, batch: Sequence[dict[str, Any]]) -> None:
        if self._store is None:
            sys.stdout.write("".join(f"{json.dumps(one)}\n" for one in batch))
            sys.stdout.flush()
            return
        # An id of its own lets a batch be sent again after an answer that never came.
        heads = [{"create": {"_index": self._index(one), "_id": uuid4().hex}} for one in batch]
        lines = [json.dumps(part) for pair in zip(heads, batch, strict=True) for part in pair]
        for pause_s in (0.2, 1, 3, None):
            try:
                answer = await http.post(
                    f"{self._store}/_bulk",
                    content="\n".join(lines) + "\n",
                    headers={"content-type": "application/x-ndjson"},
                )
                wrong = f"HTTP status {answer.status_code}" if answer.status_code != 200 else ""
                if not wrong:
                    if answer.json().get("errors"):
                        _complain(f"the store refused envelopes: {answer.text[:300]}")
                    return
            except (httpx.HTTPError, ValueError) as error:
                wrong = str(error) or type(error).__name__
            if pause_s is None:
                _complain(f"{len(batch)} envelopes are lost: {wrong}")
            else:
                await asyncio.sleep(pause_s)

    def _index(self, document: Mapping[str, Any]) -> str:
        return f"{self._prefix}-{document['@timestamp'][:10].replace('-', '.')}"


def _authorization() -> dict[str, str]:
    """From WEEYUGA_ES_API_KEY, or WEEYUGA_ES_USER and WEEYUGA_ES_PASSWORD."""
    if key := os.environ.get("WEEYUGA_ES_API_KEY"):
        return {"authorization": f"ApiKey {key}"}
    user, password = os.environ.get("WEEYUGA_ES_USER"), os.environ.get("WEEYUGA_ES_PASSWORD")
    if user and password:
        return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}
    return {}


def _complain(words: str) -> None:
    sys.stderr.write(f"{words}\n")


# --- the router --------------------------------------------------------------------------------------------------


class Faults(NamedTuple):
    """What a test may ask for: a worse router."""

    delay_s: float = 0.0
    buffer: bool = False
    drop: frozenset[str] = frozenset()
    """Headers that do not reach the telemetry."""


class Brain:
    """Sends requests on."""

    def __init__(self, upstreams: Mapping[str, str], telemetry: Telemetry, faults: Faults) -> None:
        self._upstreams = upstreams
        self._telemetry = telemetry
        self._faults = faults

    def app(self) -> Starlette:
        """The ASGI application."""
        methods = ["GET", "POST", "PUT", "DELETE", "HEAD"]
        routes = [Route("/", self.hello), Route("/{path:path}", self.dispatch, methods=methods)]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, keepalive_expiry=75)
        timeout = httpx.Timeout(None, connect=5)
        client = httpx.AsyncClient(trust_env=False, timeout=timeout, limits=limits)
        async with client as self._http, self._telemetry.running():
            yield

    async def hello(self, request: Request) -> Response:
        """For health checks: nothing is dispatched, so nothing is emitted."""
        return JSONResponse({"brain": "reference", "routes": list(self._upstreams)})

    async def dispatch(self, request: Request) -> Response:
        """Send the request to the engine that its route header names, or to the first one."""
        started_ns = time.monotonic_ns()
        backend = request.headers.get(ROUTE) or next(iter(self._upstreams))
        if backend not in self._upstreams:
            known = ", ".join(self._upstreams)
            return JSONResponse({"error": {"message": f"no route {backend!r}; there are: {known}"}}, 404)
        if self._faults.delay_s:
            await asyncio.sleep(self._faults.delay_s)
        try:
            answer = await self._http.send(await self._forwarded(request, backend), stream=True)
        except httpx.HTTPError as error:
            self._emit(request, backend, 502, started_ns, whole=False)
            words = f"{backend} cannot be reached: {str(error) or type(error).__name__}"
            return JSONResponse({"error": {"message": words}}, 502, {BACKEND: backend})
        response = StreamingResponse(self._relay(request, answer, backend, started_ns), answer.status_code)
        response.raw_headers = [
            *((name.lower(), value) for name, value in answer.headers.raw if name.lower().decode() not in STAYS_HERE),
            (BACKEND.encode(), backend.encode()),
        ]
        return response

    async def _forwarded(self, request: Request, backend: str) -> httpx.Request:
        query = f"?{request.url.query}" if request.url.query else ""
        url = f"{self._upstreams[backend]}{request.url.path}{query}"
        kept = [(k, v) for k, v in request.headers.items() if k not in STAYS_HERE | FOR_US]
        return self._http.build_request(request.method, url, headers=kept, content=await request.body())

    async def _relay(
        self, request: Request, answer: httpx.Response, backend: str, started_ns: int
    ) -> AsyncIterator[bytes]:
        """The body as it comes: no decoding, no joining, nothing kept back."""
        whole = False
        try:
            if self._faults.buffer:
                yield b"".join([chunk async for chunk in answer.aiter_raw()])
            else:
                async for chunk in answer.aiter_raw():
                    yield chunk
            whole = True
        finally:
            self._emit(request, backend, answer.status_code, started_ns, whole=whole)
            await answer.aclose()

    def _emit(self, request: Request, backend: str, status: int, started_ns: int, *, whole: bool) -> None:
        duration_ns = time.monotonic_ns() - started_ns
        document = envelope(request, backend, status=status, duration_ns=duration_ns, whole=whole)
        for name in self._faults.drop:
            if name == "traceparent":
                document.pop("trace", None), document.pop("span", None)
            document["metadata"].pop(METADATA.get(name), None)
        self._telemetry.emit(document)


# --- the command -------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="weeyuga-reference-brain", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", action="append", required=True, type=_upstream, metavar="NAME=URL")
    parser.add_argument("--es", metavar="URL", help="store for the envelopes; else they are printed")
    parser.add_argument("--index", default="weeyuga-telemetry", help="what the names of the daily indices begin with")
    faults = parser.add_argument_group("faults, for tests")
    faults.add_argument("--delay-ms", type=float, default=0.0, help="wait before each request is sent on")
    faults.add_argument("--buffer", action="store_true", help="hold every answer back until it is whole")
    faults.add_argument("--drop-header", action="append", default=[], metavar="NAME", help="keep it out of telemetry")
    given = parser.parse_args(argv)
    telemetry = Telemetry(given.es.rstrip("/") if given.es else None, given.index)
    drop = frozenset(name.lower() for name in given.drop_header)
    if unknown := drop - {*METADATA, "traceparent"}:
        parser.error(f"--drop-header {', '.join(sorted(unknown))}: no such header; there are: {', '.join(METADATA)}")
    brain = Brain(dict(given.upstream), telemetry, Faults(given.delay_ms / 1000, given.buffer, drop))
    uvicorn.run(
        brain.app(), host=given.host, port=given.port, log_level="warning", access_log=False, timeout_keep_alive=75
    )


def _upstream(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"expected NAME=URL, got {text!r}")
    return name, url.rstrip("/")


if __name__ == "__main__":
    main()
