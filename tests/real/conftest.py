"""Real components: where they are, and what happens to a test whose component is missing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from ollama_parts import ollama, ollama_store, start_ollama  # noqa: F401  # fixtures
from store_parts import node, store  # noqa: F401  # fixtures

from weeyuga_core.config.prompts import frozen_prompts
from weeyuga_core.interfaces import Call, Target
from weeyuga_core.launch import Server, free_port, start
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.model.plan import Cell, Launch, Prompt, Timeouts
from weeyuga_llamacpp.adapter import LlamaCppAdapter

MODEL = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TIMEOUTS = Timeouts(connect_s=10, idle_s=120, total_s=280, ready_s=120)
"""A test run shares the machine with others: a call that hangs is found, one that is slow is let be."""


def require(present: bool, missing: str) -> None:
    """Skip with the reason, or fail where WEEYUGA_REAL_REQUIRED says that nothing may be missing."""
    if present:
        return
    if os.environ.get("WEEYUGA_REAL_REQUIRED") == "1":
        pytest.fail(f"WEEYUGA_REAL_REQUIRED=1, but {missing}")
    pytest.skip(missing)


class Engine:
    """A llama.cpp cell of ours: its server, its adapter, and calls to it. Usable from any event loop."""

    def __init__(self, log: Path, *, args: tuple[str, ...] = (), server: str = "xllamacpp", **cell: object) -> None:
        launch = Launch(server=server, model=str(cell.pop("model", MODEL)), ctx=1024, threads=2, parallel=1, args=args)
        options = {"temperature": 0, "seed": 1} | dict(cell.pop("options", {}))
        self.cell = Cell(
            id="here:llamacpp:smollm2", node="here", engine="llamacpp", label="smollm2", options=options,
            launch=launch, timeouts=TIMEOUTS, **cell,
        )  # fmt: skip
        self.log = log
        self.port = free_port()
        self.states: list[str] = []
        """What health said while the server was starting."""
        self.server: Server | None = None

    def adapter(self, http: httpx.AsyncClient) -> LlamaCppAdapter:
        """An adapter for the event loop of that client."""
        url = f"http://127.0.0.1:{self.port}"
        return LlamaCppAdapter(Target(cell=self.cell, base_url=url, timeouts=TIMEOUTS), http)

    def start(self) -> Server:
        """Start the server and wait until it is ready."""

        async def run() -> Server:
            async with httpx.AsyncClient(trust_env=False) as http:
                adapter = self.adapter(http)

                async def health():
                    said = await adapter.health()
                    self.states.append(said.state)
                    return said

                spec = adapter.launch(self.cell, self.port)
                return await start(spec, port=self.port, log_path=self.log, health=health, ready_s=TIMEOUTS.ready_s)

        self.server = asyncio.run(run())
        return self.server

    def stop(self) -> None:
        """End the server, if it was started."""
        if self.server:
            asyncio.run(self.server.stop())

    def ask(self, *methods: str) -> list[object]:
        """The answers of those methods of the adapter that are not measured."""

        async def run() -> list[object]:
            async with httpx.AsyncClient(trust_env=False) as http:
                return [await getattr(self.adapter(http), method)() for method in methods]

        return asyncio.run(run())

    def call(self, text: str = "Say hello.", max_tokens: int = 16, *, beside=None) -> tuple[Exchange, list[object]]:
        """A measured call and its events; `beside(adapter)` runs while it is under way."""

        async def run():
            async with httpx.AsyncClient(trust_env=False) as http, MeasuringClient() as client:
                adapter = self.adapter(http)
                request = adapter.build(_call(text, max_tokens))
                work = [client.exchange(request, TIMEOUTS), *([beside(adapter)] if beside else [])]
                exchange, *_ = await asyncio.gather(*work)
                return exchange, list(adapter.events(exchange.reply))

        return asyncio.run(run())


def _call(text: str, max_tokens: int) -> Call:
    prompt = Prompt(id="P-REAL", text=text, max_tokens=max_tokens)
    return Call(run_id="real", seq=1, cell_id="here:llamacpp:smollm2", prompt=prompt, phase="cold", run_idx=0)


@pytest.fixture(scope="module", autouse=True)
def _patient_health() -> Iterator[None]:
    """No test measures how soon an engine says that it is up."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            "weeyuga_llamacpp.enquiry",
            "weeyuga_llamacpp.adapter",
            "weeyuga_ollama.enquiry",
            "weeyuga_ollama.adapter",
        ):
            patch.setattr(f"{module}.HEALTH_S", 60.0)
        yield


@pytest.fixture(scope="session", name="require")
def _require() -> Callable[[bool, str], None]:
    """How a fixture of another module says what it needs."""
    return require


@pytest.fixture(scope="session")
def model() -> Path:
    """The small instruct model."""
    require(MODEL.is_file(), f"{MODEL.name} is not there: python tools/fetch_model.py models")
    return MODEL


@pytest.fixture(scope="session")
def embedded(model: Path) -> None:
    """The embedded llama.cpp engine and its model are there."""
    missing = "xllamacpp is not installed: pip install './plugins/llamacpp[embedded]'"
    require(find_spec("xllamacpp") is not None, missing)


@pytest.fixture
def engine(embedded: None, tmp_path: Path) -> Iterator[object]:
    """Make an engine of one's own; it is stopped after the test."""
    made: list[Engine] = []

    def make(**settings) -> Engine:
        made.append(Engine(tmp_path / "server.log", **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def shared(embedded: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A running engine for tests that leave it as it is."""
    one = Engine(tmp_path_factory.mktemp("shared") / "server.log")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def easy() -> Prompt:
    """The frozen prompt P-EASY."""
    return next(prompt for prompt in frozen_prompts() if prompt.id == "P-EASY")
