"""A real Ollama with small models, for the tests of its plugin: where it is, how it starts, and calls to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from conditions import wait_until

from weeyuga_core.interfaces import Call, LaunchSpec, StreamEvent, Target
from weeyuga_core.launch import Server, free_port, start
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.model.plan import Cell, Prompt, Timeouts
from weeyuga_ollama.adapter import OllamaAdapter

ROOT = Path(__file__).parents[2]
PARTS = ROOT / ".parts" / "ollama"
THINKING_TEMPLATE = ROOT / "plugins" / "ollama" / "tests" / "data" / "think.gotmpl"
"""Shows one example of thinking and opens the tag: the small model then thinks, and answers."""

PLAIN = "smollm2:135m"
THINKING = "smollm2:think"
"""The same weights as PLAIN: the two share one loaded model."""
OTHER = "other:latest"
"""Weights of its own."""
CONTEXT = 1024
TIMEOUTS = Timeouts(connect_s=10, idle_s=120, total_s=280, ready_s=120)
"""A test run shares the machine with others: a call that hangs is found, one that is slow is let be."""


class Ollama:
    """A server of ours and calls to it. Usable from any event loop."""

    def __init__(self, store: Path, home: Path, **env: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._program = str(PARTS / "bin" / "ollama")
        self._home = home
        self._env = {
            "HOME": str(home),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(store),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_CONTEXT_LENGTH": str(CONTEXT),
            "OLLAMA_KEEP_ALIVE": "5m",
            "OLLAMA_MAX_LOADED_MODELS": "3",
            "OLLAMA_NUM_PARALLEL": "1",
            **env,
        }
        self._server: Server | None = None

    def start(self) -> Ollama:
        """Start the server and wait until it is ready."""

        async def run() -> Server:
            async with httpx.AsyncClient(trust_env=False) as http:
                return await start(
                    LaunchSpec(argv=(self._program, "serve"), env=self._env),
                    port=self.port,
                    log_path=self._home / "server.log",
                    health=self.adapter(http).health,
                    ready_s=TIMEOUTS.ready_s,
                )

        self._server = asyncio.run(run())
        return self

    def stop(self) -> None:
        """End the server and its engines."""
        if self._server:
            asyncio.run(self._server.stop())

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._server is not None
        return self._server.pid

    def command(self, *words: str) -> None:
        """Run the program as a user would, for instance `ollama stop NAME`."""
        environment = os.environ | self._env
        subprocess.run([self._program, *words], env=environment, check=True, capture_output=True, timeout=120)

    def adapter(self, http: httpx.AsyncClient, label: str = PLAIN, **options: object) -> OllamaAdapter:
        """An adapter for the event loop of that client."""
        return OllamaAdapter(target(self.url, label, **options), http)

    def ask(self, *methods: str, label: str = PLAIN, **options: object) -> list[object]:
        """The answers of those methods of the adapter that are not measured."""

        async def run() -> list[object]:
            async with httpx.AsyncClient(trust_env=False) as http:
                adapter = self.adapter(http, label, **options)
                return [await getattr(adapter, method)() for method in methods]

        return asyncio.run(run())

    def call(
        self,
        text: str = "Name one colour. One word only.",
        max_tokens: int = 16,
        *,
        label: str = PLAIN,
        beside: Callable[[], object] | None = None,
        **options: object,
    ) -> tuple[Exchange, list[StreamEvent]]:
        """A measured call and its events; `beside()` runs in a thread while it is under way."""

        async def run() -> tuple[Exchange, list[StreamEvent]]:
            async with httpx.AsyncClient(trust_env=False) as http, MeasuringClient() as client:
                adapter = self.adapter(http, label, **options)
                work = [client.exchange(adapter.build(a_call(text, max_tokens)), TIMEOUTS)]
                exchange, *_ = await asyncio.gather(*work, *([asyncio.to_thread(beside)] if beside else []))
                return exchange, list(adapter.events(exchange.reply))

        return asyncio.run(run())

    def resident(self) -> set[str]:
        """The names of the models in its memory."""
        return {model["name"] for model in httpx.get(f"{self.url}/api/ps", trust_env=False).json()["models"]}

    def unload(self, *names: str) -> None:
        """Have these models out of its memory, as another client would."""
        for name in names:
            request = {"model": name, "messages": [], "keep_alive": 0}
            httpx.post(f"{self.url}/api/chat", json=request, trust_env=False).raise_for_status()
        wait_until(lambda: not self.resident() & set(names), f"{names} to be unloaded")

    def engines(self) -> dict[int, str]:
        """The engine processes of this server: pid -> port."""
        command = ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found = [line.split(None, 2) for line in lines]
        return {
            int(pid): args.split("--port ")[1].split()[0]
            for pid, group, args in found
            if int(group) == self.pid and "--port " in args
        }

    def wait_for_an_answer(self) -> int:
        """Wait until an engine works on an answer; returns its process."""
        return wait_until(lambda: next((pid for pid, port in self.engines().items() if _busy(port)), None), "an answer")


def _busy(port: str) -> bool:
    try:
        slots = httpx.get(f"http://127.0.0.1:{port}/slots", trust_env=False, headers={"connection": "close"}).json()
    except httpx.HTTPError:
        return False
    # While it loads it answers with an error.
    return isinstance(slots, list) and any(
        slot["is_processing"] and slot["next_token"][0]["n_decoded"] > 1 for slot in slots
    )


def target(url: str, label: str = PLAIN, **options: object) -> Target:
    """A cell on that server; the answers are the same every time."""
    cell = Cell(
        id=f"here:ollama:{label}", node="here", engine="ollama", label=label, endpoint=url,
        options={"temperature": 0, "seed": 1} | options, timeouts=TIMEOUTS,
    )  # fmt: skip
    return Target(cell=cell, base_url=url, timeouts=TIMEOUTS)


def a_call(text: str, max_tokens: int) -> Call:
    """One call with that prompt."""
    prompt = Prompt(id="P-REAL", text=text, max_tokens=max_tokens)
    return Call(run_id="real", seq=1, cell_id="here:ollama:model", prompt=prompt, phase="warm", run_idx=0)


def tools() -> ModuleType:
    """The script that builds the parts, which also writes model stores."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return import_module("get_ollama")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="session")
def ollama_store(require: Callable[[bool, str], None], model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store of the tests' own: PLAIN, THINKING and OTHER."""
    command = "python tools/get_ollama.py .parts/ollama models/SmolLM2-135M-Instruct.Q4_1.gguf"
    require((PARTS / "bin" / "ollama").is_file(), f"there is no real Ollama: {command}")
    require((PARTS / "lib" / "ollama" / "llama-server").is_file(), f"Ollama has no engine: {command}")
    get_ollama, store = tools(), tmp_path_factory.mktemp("ollama-models")
    get_ollama.add(store, PLAIN, model, get_ollama.SHA256)
    get_ollama.add(store, THINKING, model, get_ollama.SHA256, template=THINKING_TEMPLATE.read_text())
    # Bytes behind the end of a GGUF file say nothing, but make it another one.
    other = store / "other.gguf"
    shutil.copyfile(model, other)
    with other.open("ab") as file:
        file.write(b"\0")
    get_ollama.add(store, OTHER, other, get_ollama.sha256(other))
    other.unlink()
    return store


@pytest.fixture(scope="session")
def ollama(ollama_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """A running Ollama, for tests that leave it running."""
    one = Ollama(ollama_store, tmp_path_factory.mktemp("ollama-home"))
    yield one.start()
    one.stop()


@pytest.fixture
def start_ollama(ollama_store: Path, tmp_path: Path) -> Iterator[Callable[..., Ollama]]:
    """Start an Ollama of one's own to do harm to; keyword arguments are its environment."""
    started: list[Ollama] = []

    def make(**env: str) -> Ollama:
        started.append(Ollama(ollama_store, tmp_path, **env))
        return started[-1].start()

    yield make
    for one in started:
        one.stop()
