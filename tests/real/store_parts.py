"""Real stores for the tests: which are there, how a node is started, stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import Server, free_port, start

ROOT = Path(__file__).parents[2]
STORES = ROOT / ".parts" / "stores"
LAUNCHERS = ROOT / "tools" / "stores"
DEFAULT = ("elasticsearch-8.19", "opensearch-3.8")
ONCE_MORE = ("elasticsearch-7.17", "elasticsearch-9.0", "opensearch-2.19")
NEEDS_JAVA_25 = ("elasticsearch-9.0", "opensearch-3.8")
READY_S = 120.0
"""A node takes some seconds to start; a machine that does other work as well takes longer."""
OPENSEARCH_PORTS = range(9210, 9299)
"""Its runner listens one above the port that it is given, and takes nothing above 9299."""


def java(name: str) -> str | None:
    """A Java that runs that store: the one on PATH, or version 25 from the folder where systems keep them."""
    if name not in NEEDS_JAVA_25:
        return shutil.which("java")
    home = os.environ.get("JAVA_25_HOME")
    folders = [Path(home)] if home else sorted(Path("/usr/lib/jvm").glob("*25*"))
    return next((str(folder / "bin" / "java") for folder in folders if (folder / "bin" / "java").is_file()), None)


def lacking(name: str) -> str | None:
    """What is missing to run a store, with what to type; None where nothing is."""
    if not (STORES / name / "complete").is_file():
        return f"the store {name} is not there: python tools/get_stores.py {name}"
    if java(name) is None:
        return f"the store {name} needs Java {'25 (set JAVA_25_HOME)' if name in NEEDS_JAVA_25 else '17'}"
    return None


def require_store(name: str) -> None:
    """Skip with the reason; fail where WEEYUGA_REAL_REQUIRED says that nothing may be missing."""
    missing = lacking(name)
    if missing and os.environ.get("WEEYUGA_REAL_REQUIRED") == "1":
        pytest.fail(f"WEEYUGA_REAL_REQUIRED=1, but {missing}")
    if missing:
        pytest.skip(missing)


class StoreNode:
    """A node of a store with a home of its own, which outlives being killed."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.opensearch = name.startswith("opensearch")
        self.port = _opensearch_port() if self.opensearch else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: Server | None = None
        _prepare(name, home)

    def start(self) -> None:
        """Start the node and wait until it takes documents."""
        program = java(self.name)
        assert program is not None
        spec = LaunchSpec(argv=(program, *self._arguments()))
        log = self.home.parent / f"{self.home.name}.log"
        self._server = asyncio.run(start(spec, port=self.port, log_path=log, health=self._health, ready_s=READY_S))

    def kill(self) -> None:
        """End the node as a power cut would."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End the node."""
        if self._server is not None:
            asyncio.run(self._server.stop())

    def get(self, path: str, **query: object) -> dict:
        """The JSON of an answer."""
        return self.ask("GET", path, **query)

    def ask(self, method: str, path: str, **query: object) -> dict:
        """The JSON of an answer to any request; it must be a good one."""
        response = httpx.request(method, f"{self.url}{path}", json=query.pop("json", None), trust_env=False, timeout=60)
        assert response.is_success, response.text
        return response.json()

    def refresh(self) -> None:
        """Make what was written visible to searches."""
        self.ask("POST", "/_refresh")

    def count(self, pattern: str, query: str | None = None) -> int:
        """How many documents match a query string."""
        self.refresh()
        body = {"query": {"query_string": {"query": query}}} if query else {"query": {"match_all": {}}}
        return self.ask("POST", f"/{pattern}/_count", json=body)["count"]

    def wipe(self) -> None:
        """Remove every index and template of ours."""
        for index in self.get("/_resolve/index/weeyuga-*").get("indices", []):
            self.ask("DELETE", f"/{index['name']}")
        for one in self.get("/_index_template")["index_templates"]:
            if "weeyuga" in one["name"]:
                self.ask("DELETE", f"/_index_template/{one['name']}")
        for one in self.get("/_component_template")["component_templates"]:
            if "weeyuga" in one["name"]:
                self.ask("DELETE", f"/_component_template/{one['name']}")

    def _arguments(self) -> tuple[str, ...]:
        parts = STORES / self.name
        if self.opensearch:
            classes = f"{parts}/lib/*"
            runner = "org.codelibs.opensearch.runner.OpenSearchRunner"
            where = ("-basePath", str(self.home), "-numOfNode", "1", "-baseHttpPort", str(self.port - 1))
            return ("-Xmx768m", "-cp", classes, runner, *where, "-clusterName", self._cluster())
        native = ("--enable-native-access=ALL-UNNAMED",) if self.name in NEEDS_JAVA_25 else ()
        launcher = LAUNCHERS / ("Elasticsearch7.java" if "-7." in self.name else "Elasticsearch8.java")
        where = (str(self.home), str(self.port), self._cluster())
        return ("-Xmx512m", *native, "-cp", f"{parts}/lib/*", str(launcher), *where)

    def _cluster(self) -> str:
        """A name of its own: two nodes of one name on a host would join."""
        return f"weeyuga-{os.getpid()}-{self.port}"

    async def _health(self) -> Health:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
                answer = await http.get(f"{self.url}/_cluster/health")
            status = answer.json().get("status")
        except (httpx.HTTPError, ValueError) as error:
            return Health("loading", str(error))
        return Health("ready" if status in ("green", "yellow") else "loading", str(status))


def _prepare(name: str, home: Path) -> None:
    if name.startswith("opensearch"):
        config = home / "node_1" / "config"
        config.mkdir(parents=True)
        (config / "opensearch.yml").write_text(
            "discovery.type: single-node\ncluster.routing.allocation.disk.threshold_enabled: false\n"
        )
        return
    for folder in ("config", "plugins"):
        (home / folder).mkdir(parents=True)
    if (STORES / name / "modules").is_dir():
        shutil.copytree(STORES / name / "modules", home / "modules")


def _opensearch_port() -> int:
    for port in OPENSEARCH_PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free below 9299")


@contextmanager
def running(name: str, folder: Path) -> Iterator[StoreNode]:
    """A node of that store; skips or fails where it is not there."""
    require_store(name)
    node = StoreNode(name, folder / name)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="module", params=DEFAULT)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreNode]:
    """One store after the other: two at a time would not fit beside everything else."""
    with running(request.param, tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture
def store(node: StoreNode, monkeypatch: pytest.MonkeyPatch) -> StoreNode:
    """The store, empty, and the variable that points at it."""
    node.wipe()
    monkeypatch.setenv("WEEYUGA_ES_URL", node.url)
    return node


# --- ledgers to send ------------------------------------------------------------------------------------------------

GOLDEN = ROOT / "tests" / "golden" / "ledger_v1.jsonl"
TOO_LARGE = 1 << 70
"""No whole number of a store: a document that holds it is refused."""


def write_ledger(path: Path, calls: int, *, refused_every: int = 0) -> int:
    """Write a ledger with that many calls over two days, made from the golden one; the number of its lines.

    Every n-th call holds a number that no store takes.
    """
    lines = [json.loads(line) for line in GOLDEN.read_bytes().splitlines()]
    meta, cell, call, end = lines[0], lines[2], lines[4], lines[-1]
    meta["benchmark_run_id"] = end["benchmark_run_id"] = str(uuid.uuid4())
    began = datetime(2026, 4, 29, 12, tzinfo=UTC)
    with path.open("w") as file:
        file.write(_line(meta | {"seq": 0}) + _line(cell | {"seq": 1}))
        for n in range(calls):
            at = f"{began + timedelta(days=1) * n / calls:%Y-%m-%dT%H:%M:%S}.{n % 1000:03d}Z"
            own = {"seq": n + 2, "run_idx": n, "started_at_utc": at, "first_delta_ms": 100 + n % 400}
            refused = {"answer_chars": TOO_LARGE} if refused_every and n % refused_every == 0 else {}
            file.write(_line(call | own | refused))
        file.write(_line(end | {"seq": calls + 2, "record_count": calls + 2, "ledger_sha256": None}))
    return calls + 3


def _line(record: dict) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


# --- a wire that fails ----------------------------------------------------------------------------------------------


class FaultProxy:
    """Stands before a store and spoils bulk requests: `faults` says how many of a hundred, and `seed` which.

    Kinds: refused with 429 or 503, unanswered before the store saw it, and cut in the middle of the answer.
    """

    def __init__(self, upstream: str, *, faults: int, seed: int = 7) -> None:
        self.counts = Counter[str]()
        self.faults = faults
        self._upstream = upstream
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *why: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> str:
        self._http = httpx.AsyncClient(base_url=self._upstream, trust_env=False, timeout=60)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        self._server.close()
        await self._http.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, httpx.HTTPError):
            self.counts["broken"] += 1
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        length = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
        kind = re.search(r"(?i)^content-type: (\S+)", head, re.MULTILINE)
        body = await reader.readexactly(int(length[1])) if length else b""
        fault = self._fault() if path.startswith("/_bulk") else "none"
        self.counts[fault] += 1
        if fault in ("429", "503"):
            writer.write(f"HTTP/1.1 {fault} Busy\r\ncontent-length: 0\r\n\r\n".encode())
            return True
        if fault == "unanswered":
            return False
        headers = {"content-type": kind[1]} if kind else {}
        answer = await self._http.request(method, path, content=body, headers=headers)
        head_out = f"HTTP/1.1 {answer.status_code} X\r\ncontent-length: {len(answer.content)}\r\n"
        head_out += f"content-type: {answer.headers.get('content-type', 'application/json')}\r\n\r\n"
        cut = len(answer.content) // 2 if fault == "cut" else None
        writer.write(head_out.encode() + answer.content[:cut])
        await writer.drain()
        return fault != "cut"

    def _fault(self) -> str:
        if self._rng.randrange(100) >= self.faults:
            return "none"
        return self._rng.choice(["429", "429", "503", "unanswered", "cut", "cut"])
