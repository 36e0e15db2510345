"""The engine `llamacpp`: llama-server's OpenAI-style chat route, streamed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from weeyuga_core.enquiry import HEALTH_S, NoAnswer
from weeyuga_core.errors import ConfigError, PluginError
from weeyuga_core.interfaces import (
    Call,
    ColdClaim,
    ColdProof,
    Found,
    Health,
    LaunchSpec,
    Reply,
    StreamEvent,
    Target,
)
from weeyuga_core.model.plan import Cell, Launch
from weeyuga_llamacpp import cold, server
from weeyuga_llamacpp.enquiry import LlamaServer, facts_of, name_of
from weeyuga_llamacpp.stream import events_of

EMBEDDED = "xllamacpp"
"""The `server:` of a launch that runs the engine inside the wheel of that name."""
DEFAULT_URLS = ("http://127.0.0.1:8080", "http://127.0.0.1:11436")
LOOPBACK = "127.0.0.1"

SET_BY_US = ("model", "messages", "prompt", "stream", "stream_options", "max_tokens", "n")
OPTION_HINTS = {
    **dict.fromkeys(SET_BY_US, "the harness sets it"),
    **dict.fromkeys(("max_completion_tokens", "n_predict", "num_predict"), "a prompt's max_tokens is the budget"),
    "cache_prompt": "write `prompt_cache: disabled` (or `engine-default`) in the cell",
    "think": "write `chat_template_kwargs: {enable_thinking: false}`",
    **dict.fromkeys(
        ("num_ctx", "num_gpu", "num_thread", "num_batch", "keep_alive"),
        "llama-server takes it as a flag, when it starts (`launch:` for a server of ours)",
    ),
}
"""Options that would break the measurement, or that llama-server would pass over without a word."""


class LlamaCppAdapter:
    """One cell that a llama-server serves: yours, a router's, or one that the harness runs."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self._target = target
        self._cell = target.cell
        self._server = LlamaServer(target.base_url, http, target.token)
        _refuse_options(self._cell)

    async def health(self) -> Health:
        """Answer within 1 s."""
        return await self._server.health()

    async def engine_version(self) -> str | None:
        """The version of the wheel for its server, whose build says nothing; else `b<number>-<commit>`."""
        if self._cell.launch and self._cell.launch.server == EMBEDDED:
            return _embedded_version()
        build = (await self._server.properties()).get("build_info")
        return build if isinstance(build, str) else None

    async def model_digest(self) -> str | None:
        """None: no route of a llama-server tells a digest."""
        return None

    async def facts(self) -> Mapping[str, Any]:
        """What the server says of itself and of its model."""
        properties, models = await asyncio.gather(self._server.properties(), self._server.models())
        ours = [model for model in models if model.get("id") == self._cell.model_name]
        return facts_of(properties, next(iter(ours or models), {}))

    async def make_cold(self) -> ColdClaim:
        """Unload by a router, find the server asleep, or admit `process_warm`."""
        return await cold.make_cold(self._server, self._cell.model_name)

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """After a load no prompt token can come from a cache."""
        return cold.proof(claim, events)

    def build(self, call: Call) -> httpx.Request:
        """One user message, streamed, with the usage at its end. The cell's options go along as they are."""
        body: dict[str, Any] = {
            "model": self._cell.model_name,
            "messages": [{"role": "user", "content": call.prompt.text}],
            "max_tokens": call.prompt.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._cell.options,
        }
        if self._cell.prompt_cache == "disabled":
            body["cache_prompt"] = False
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        if self._target.token:
            headers["authorization"] = f"Bearer {self._target.token}"
        return httpx.Request("POST", f"{self._target.base_url}/v1/chat/completions", headers=headers, json=body)

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """What the stream says."""
        return events_of(reply)

    def launch(self, cell: Cell, port: int) -> LaunchSpec:
        """A llama-server by path, or the one in the xllamacpp wheel, with the same flags."""
        launch = cell.launch
        if launch is None:
            raise ConfigError(f"cell {cell.id} has no `launch:`")
        flags = _flags(launch, cell.model_name, port)
        if launch.server == EMBEDDED:
            if find_spec(EMBEDDED) is None:
                raise PluginError(
                    f"cell {cell.id} launches {EMBEDDED}, which is not installed",
                    hint="pip install 'weeyuga-bench-llamacpp[embedded]'",
                )
            # By its path, not by -m: the package's other imports would count as start-up of the engine.
            return LaunchSpec(argv=(_python(), "-P", server.__file__, *flags), files=(launch.model,))
        program = (launch.server,) if os.sep in launch.server else ()
        return LaunchSpec(argv=(launch.server, *flags), files=(*program, launch.model))

    @classmethod
    async def discover(cls, http: httpx.AsyncClient, urls: Sequence[str]) -> Sequence[Found]:
        """Ask the given URLs, else the default ports of this host."""
        found = await asyncio.gather(*(_look(LlamaServer(url.rstrip("/"), http)) for url in urls or DEFAULT_URLS))
        return [one for one in found if one]


def _python() -> str:
    """This interpreter, as python3 where that is one of its names: the name is part of the cell's fingerprint."""
    usual = Path(sys.executable).with_name("python3")
    return str(usual) if usual.exists() and usual.samefile(sys.executable) else sys.executable


def _flags(launch: Launch, name: str, port: int) -> Iterator[str]:
    """The command line of a llama-server. The alias keeps the file's path out of its answers."""
    yield from ("--model", launch.model, "--host", LOOPBACK, "--port", str(port), "--alias", name)
    for flag, value in (
        ("--ctx-size", launch.ctx),
        ("--parallel", launch.parallel),
        ("--threads", launch.threads),
        ("--gpu-layers", launch.ngl),
    ):
        if value is not None:
            yield from (flag, str(value))
    yield from launch.args


async def _look(one: LlamaServer) -> Found | None:
    """The llama-server at this URL, if there is one."""
    try:
        answer = await one.ask("/props", within_s=HEALTH_S)
    except NoAnswer:
        return None
    build = answer.body.get("build_info")
    if not build and not answer.headers.get("server", "").startswith("llama.cpp"):
        return None
    if answer.status != 200:
        note = f"/props answered {answer.status}: {answer.words}"
        return Found(engine="llamacpp", url=one.base_url, version=None, models=(), note=note)
    return Found(
        engine="llamacpp",
        url=one.base_url,
        version=build if isinstance(build, str) else None,
        models=tuple(filter(None, map(name_of, await one.models()))),
        note="a router: it loads models as they are asked for" if answer.body.get("role") == "router" else "",
    )


def _refuse_options(cell: Cell) -> None:
    for name in cell.options:
        if hint := OPTION_HINTS.get(name):
            raise ConfigError(f"cell {cell.id}: option {name!r} does not belong to a llamacpp cell", hint=hint)


def _embedded_version() -> str | None:
    try:
        return f"{EMBEDDED} {version(EMBEDDED)}"
    except PackageNotFoundError:
        return None
