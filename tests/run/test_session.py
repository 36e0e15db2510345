"""A server that dies while its cell is measured, and one that says nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from golden_runs import cell, installed

from weeyuga_core import launch, plugins
from weeyuga_core.model.plan import Cell, Launch
from weeyuga_core.run.session import CellSession, Tools

pytestmark = pytest.mark.anyio


class Dying:
    """A server that is dead already; the news of it come when they are waited for."""

    ready_ns = 1
    port = 1

    def __init__(self, *, dead: bool) -> None:
        self._dead = dead
        self._told = False

    async def ended(self, within_s: float) -> bool:
        self._told = self._dead
        return self._told

    def exit_code(self) -> int | None:
        return -9 if self._told else None

    async def stop(self) -> None:
        pass


@pytest.fixture
async def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CellSession:
    """A session whose first server dies after its start, and whose second one lives."""
    servers = iter([Dying(dead=True), Dying(dead=False)])

    async def start(*_: object, **__: object) -> Dying:
        return next(servers)

    monkeypatch.setattr(launch, "start", start)
    dying = Cell(
        id="here:llamacpp:tiny",
        node="here",
        engine="llamacpp",
        label="tiny",
        launch=Launch(server="true", model=str(tmp_path / "tiny.gguf")),
    )
    made = CellSession(dying, Tools(plugins=plugins.load(), http=httpx.AsyncClient(trust_env=False), log_dir=tmp_path))
    await made.start(lambda health: None)
    return made


async def test_a_death_that_nobody_has_told_of_yet_is_found_after_a_broken_call(session: CellSession) -> None:
    assert await session.revive() is None
    assert await session.revive(broken=True) == "the server had ended with exit code -9 and was started again"
    assert await session.revive(broken=True) is None


async def test_a_server_that_takes_connections_and_says_nothing_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weeyuga_core.run.session.PROBE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False) as http:
            tools = Tools(plugins=installed(), http=http, log_dir=tmp_path)
            health = await CellSession(cell(url), tools).probe()
    assert (health.state, health.detail) == ("down", "no answer within 0.05 s")
