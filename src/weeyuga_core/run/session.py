"""One cell while it is being measured: its adapter and, where the server is ours, the server."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from attrs import frozen

from weeyuga_core import launch
from weeyuga_core.errors import BenchError, LaunchError, PluginError, UsageError
from weeyuga_core.interfaces import (
    ColdClaim,
    DescribesModel,
    EngineAdapter,
    Health,
    Launches,
    LaunchSpec,
    Target,
    Wraps,
)
from weeyuga_core.model.plan import Cell
from weeyuga_core.model.records import CellRecord, ms
from weeyuga_core.plugins import Plugins, ability
from weeyuga_core.provenance import digests, fingerprint
from weeyuga_core.provenance.scrub import scrub

T = TypeVar("T")

PROBE_S = 1.0
"""A cell that has not answered its health check within this is down."""
NEWS_S = 0.5
"""What the news of a server's death may take to come, after the call that the death has broken."""


@frozen(kw_only=True)
class Tools:
    """What every session of a run shares."""

    plugins: Plugins
    http: httpx.AsyncClient
    log_dir: Path
    brain_hosts: tuple[str, ...] = ()
    concurrency: int = 1
    routed_to: tuple[Cell, ...] = ()


class CellSession:
    """Builds the adapter of a cell and, where the cell says `launch:`, runs a server of our own for it."""

    def __init__(self, cell: Cell, tools: Tools) -> None:
        self.cell = cell
        self._tools = tools
        self._adapter_class: Callable[[Target, httpx.AsyncClient], EngineAdapter] = _adapter_class(cell, tools.plugins)
        self._token = _token(cell)
        self._server: launch.Server | None = None
        self._starts = 0
        self._used = False
        self.adapter = self._build(cell.endpoint or "http://127.0.0.1:0")
        if cell.launch is not None and ability(self.adapter, Launches) is None:
            raise UsageError(
                f"cell {cell.id}: the {cell.engine} plugin cannot launch a server",
                hint="give the cell an `endpoint:` instead of `launch:`",
            )

    @property
    def launched(self) -> bool:
        """Whether the server is ours."""
        return self.cell.launch is not None

    @property
    def alive(self) -> bool:
        """False once a server of ours has ended by itself."""
        return not self.launched or (self._server is not None and self._server.exit_code() is None)

    async def probe(self) -> Health:
        """Ask whether the cell can be measured, within a second; for a launched cell, whether its files are there."""
        if self.launched:
            return self._files_are_there()
        return await self._health()

    async def start(self, tell: Callable[[Health], None]) -> None:
        """Launch the server where it is ours, else wait for a loading one. Raises LaunchError."""
        if self.launched:
            await self._launch()
            return
        deadline = asyncio.get_running_loop().time() + self.cell.timeouts.ready_s
        health = await self._health()
        if health.state == "loading":
            tell(health)
        while health.state == "loading" and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
            health = await self._health()
        if health.state != "ready":
            raise LaunchError(f"not ready: {health.state}{': ' if health.detail else ''}{health.detail}")

    async def make_cold(self) -> tuple[ColdClaim, int | None]:
        """Make the next call cold: a fresh process where the server is ours, else whatever the adapter can do.

        The second value is `engine_ready_ns`. Raises LaunchError.
        """
        if not self.launched:
            return await self._asked("make_cold", self.adapter.make_cold()), None
        if self._used or not self.alive:
            await self._launch()
        self._used = True
        assert self._server is not None  # alive
        return ColdClaim("process_start", "a fresh process of our own"), self._server.ready_ns

    async def revive(self, *, broken: bool = False) -> str | None:
        """Restart a server of ours that has ended by itself, and say so; None where nothing was needed.

        `broken` says that the last call lost its connection, or got none: then the server may be dying just now.
        """
        if broken and self._server is not None:
            await self._server.ended(NEWS_S)
        if self.alive:
            return None
        code = self._server.exit_code() if self._server else None
        await self._launch()
        self._used = True
        return f"the server had ended with exit code {code} and was started again"

    async def describe(self) -> CellRecord:
        """What exactly answers here. Raises LaunchError where it is not what the cell says it is."""
        version, version_source = await self._version()
        digest, digest_source = await self._digest()
        facts = await self._facts()
        cell = self.cell
        parts = fingerprint.fingerprint_parts(
            engine=cell.engine,
            engine_version=version,
            flags=self._flags(),
            model_digest=digest,
            request_model=cell.model_name,
            context=facts.get("context"),
            template_sha256=facts.get("template_sha256"),
            options=cell.options,
            prompt_cache=cell.prompt_cache,
            concurrency=self._tools.concurrency,
        )
        ready_ns = self._server.ready_ns if self._server else None
        name, dist_version = self._tools.plugins.engine_dist(cell.engine)
        return CellRecord(
            cell_id=cell.id,
            node=cell.node,
            engine=cell.engine,
            label=cell.label,
            request_model=cell.model_name,
            endpoint=cell.endpoint,
            launched=self.launched,
            engine_version=version,
            engine_version_source=version_source,
            model_digest=digest,
            model_digest_source=digest_source,
            flags=self._flags(),
            options=dict(cell.options),
            prompt_cache=cell.prompt_cache,
            facts=dict(facts),
            fingerprint=fingerprint.fingerprint(parts),
            fingerprint_parts=parts,
            ready_at_utc=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            engine_ready_ms=ms(ready_ns),
            engine_ready_ns=ready_ns,
            adapter=f"{name} {dist_version}",
            routes=cell.routes,
            sanity={prompt: {"total_s": s.total_s, "within": s.within} for prompt, s in cell.sanity.items()},
        )

    async def stop(self) -> None:
        """Stop a server of ours; nothing for a server that is not."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    # --- inside -------------------------------------------------------------------------------------------------

    def _build(self, base_url: str) -> EngineAdapter:
        target = Target(
            cell=self.cell,
            base_url=base_url.rstrip("/"),
            timeouts=self.cell.timeouts,
            token=self._token,
            brain_hosts=self._tools.brain_hosts,
        )
        adapter = self._adapter_class(target, self._tools.http)
        wraps = ability(adapter, Wraps)
        if (wraps is None) is not (self.cell.routes is None):
            raise UsageError(
                f"cell {self.cell.id}: "
                + (f"the {self.cell.engine} plugin cannot route" if wraps is None else "it names no cell to route to"),
                hint="`routes:` belongs to cells of an engine that stands in front of another, and to each of them",
            )
        if wraps is not None:
            wraps.wrap(self._inner())
        return adapter

    def _inner(self) -> EngineAdapter:
        """The adapter of the cell that this one routes to."""
        direct = next((cell for cell in self._tools.routed_to if cell.id == self.cell.routes), None)
        if direct is None or direct.endpoint is None:
            raise UsageError(f"cell {self.cell.id}: the plan holds no cell {self.cell.routes} with an endpoint")
        target = Target(
            cell=direct, base_url=direct.endpoint.rstrip("/"), timeouts=direct.timeouts, token=_token(direct)
        )
        return self._tools.plugins.engine(direct.engine)(target, self._tools.http)

    def _spec(self, port: int) -> LaunchSpec:
        launcher = ability(self.adapter, Launches)
        assert launcher is not None  # checked when the session was made
        return launcher.launch(self.cell, port)

    def _files_are_there(self) -> Health:
        try:
            missing = [name for name in self._spec(0).files if not Path(name).is_file()]
        except BenchError as error:
            return Health("down", error.message)
        if missing:
            return Health("down", f"no such file: {', '.join(scrub(name) for name in missing)}")
        return Health("ready", "will be launched")

    async def _launch(self) -> None:
        """Start a fresh server on a fresh port, so that no connection to an earlier one can be reused."""
        await self.stop()
        port = launch.free_port()
        self.adapter = self._build(f"http://127.0.0.1:{port}")
        self._starts += 1
        self._used = False
        self._server = await launch.start(
            self._spec(port),
            port=port,
            log_path=self._tools.log_dir / f"{_file_name(self.cell.id)}-{self._starts}.log",
            health=self._health,
            ready_s=self.cell.timeouts.ready_s,
        )

    async def _health(self) -> Health:
        try:
            return await asyncio.wait_for(self.adapter.health(), PROBE_S)
        except TimeoutError:
            return Health("down", f"no answer within {PROBE_S:g} s")
        except Exception as error:  # an adapter should have made this a value; the cell is down either way
            return Health("down", scrub(f"{type(error).__name__}: {error}"))

    async def _asked(self, what: str, answer: Awaitable[T]) -> T:
        """Await what an adapter asks its engine; a failure of either costs the cell, not the run."""
        try:
            return await answer
        except BenchError:
            raise
        except Exception as error:
            raise LaunchError(f"{what} of the {self.cell.engine} plugin: {type(error).__name__}: {error}") from error

    async def _version(self) -> tuple[str | None, str | None]:
        told = await self._asked("engine_version", self.adapter.engine_version())
        if told:
            return told, "engine"
        return self.cell.engine_version, "cell" if self.cell.engine_version else None

    async def _digest(self) -> tuple[str | None, str | None]:
        wanted = self.cell.digest
        if self.cell.launch is not None:
            found = await asyncio.to_thread(digests.file_sha256, Path(self.cell.launch.model))
            source = "file"
        else:
            told = await self._asked("model_digest", self.adapter.model_digest())
            if told is None:
                return wanted, "cell" if wanted else None
            found, source = told, "engine"
        if wanted and wanted != found:
            raise LaunchError(f"the model is not the one the cell names: digest {found}, the cell says {wanted}")
        return found, source

    async def _facts(self) -> Mapping[str, Any]:
        describes = ability(self.adapter, DescribesModel)
        return await self._asked("facts", describes.facts()) if describes else {}

    def _flags(self) -> tuple[str, ...]:
        if not self.launched:
            return ()
        port = self._server.port if self._server else 0
        return fingerprint.public_flags(self._spec(port).argv, port=port)


def _adapter_class(cell: Cell, plugins: Plugins) -> type[EngineAdapter]:
    try:
        return plugins.engine(cell.engine)
    except PluginError as error:
        raise PluginError(f"cell {cell.id}: {error.message}", hint=error.hint) from error


def _file_name(cell_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@-]", "_", cell_id)


def _token(cell: Cell) -> str | None:
    if cell.auth_env is None:
        return None
    token = os.environ.get(cell.auth_env)
    if not token:
        raise UsageError(
            f"cell {cell.id}: auth_env names {cell.auth_env}, which is not set",
            hint=f"export {cell.auth_env}=... before the run",
        )
    return token
