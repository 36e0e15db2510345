"""The engine `ollama`: its native chat route by default, the OpenAI-style one where the cell asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from weeyuga_core.enquiry import HEALTH_S, NoAnswer
from weeyuga_core.errors import ConfigError
from weeyuga_core.interfaces import (
    Call,
    ColdClaim,
    ColdProof,
    Found,
    Health,
    Reply,
    StreamEvent,
    Target,
)
from weeyuga_core.loose_json import items, text
from weeyuga_ollama import cold
from weeyuga_ollama.enquiry import Occupants, OllamaServer, facts_of, name_of, named, refuse_unknown
from weeyuga_ollama.options import settings_of
from weeyuga_ollama.stream import native_events, openai_events

DEFAULT_URL = "http://127.0.0.1:11434"


class OllamaAdapter:
    """One cell that an Ollama serves."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self._target = target
        self._cell = target.cell
        self._server = OllamaServer(target.base_url, http, target.token)
        self._settings = settings_of(self._cell)
        if self._cell.prompt_cache == "disabled":
            raise ConfigError(
                f"cell {self._cell.id}: `prompt_cache: disabled` cannot be done, Ollama's prompt cache has no switch",
                hint="write `prompt_cache: engine-default`; a cold call is free of it, a warm one is not",
            )

    async def health(self) -> Health:
        """Answer within 1 s."""
        return await self._server.health()

    async def engine_version(self) -> str | None:
        """The version, None from a program that was built without one."""
        return await self._server.version()

    async def model_digest(self) -> str | None:
        """The digest of the model's manifest: it changes with template and parameters, too."""
        digest = text(named(await self._server.models(), self._cell.model_name).get("digest"))
        return f"sha256:{digest.removeprefix('sha256:')}" if digest else None

    async def facts(self) -> Mapping[str, Any]:
        """What Ollama says of the model, which it is made to load: only a loaded model tells its context.

        Raises LaunchError, with what to type, where it has not got the model.
        """
        model = self._cell.model_name
        try:
            loaded = await self._server.ask("/api/chat", json=self._request([]), within_s=self._target.timeouts.total_s)
            refuse_unknown(model, loaded)
            occupants = await self._server.occupants(model)
        except NoAnswer:
            # The calls themselves will tell what is wrong.
            occupants = Occupants((), ())
        resident = next(iter(occupants.mine), {})
        return facts_of(
            await self._server.shown(model), resident, occupants.beside, self._settings.runner.get("num_ctx")
        )

    async def make_cold(self) -> ColdClaim:
        """Unload the model, and the others where the cell says so. Raises LaunchError for an unknown model."""
        return await cold.make_cold(self._server, self._request([]), unload_others=self._settings.unload_others)

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """A load takes its time, which the answer of the native route tells."""
        return cold.proof(claim, events)

    def build(self, call: Call) -> httpx.Request:
        """One user message, streamed, with the cell's options where its route takes them."""
        messages = [{"role": "user", "content": call.prompt.text}]
        if self._settings.api == "native":
            path, accept, body = "/api/chat", "application/x-ndjson", self._request(messages, call.prompt.max_tokens)
        else:
            path, accept = "/v1/chat/completions", "text/event-stream"
            body = {
                "model": self._cell.model_name,
                "messages": messages,
                "max_tokens": call.prompt.max_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
                **self._settings.request,
            }
        headers = {"accept": accept, "accept-encoding": "identity"}
        if self._target.token:
            headers["authorization"] = f"Bearer {self._target.token}"
        return httpx.Request("POST", self._target.base_url + path, headers=headers, json=body)

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """What the stream says."""
        read = native_events if self._settings.api == "native" else openai_events
        return read(reply, self._cell.model_name)

    @classmethod
    async def discover(cls, http: httpx.AsyncClient, urls: Sequence[str]) -> Sequence[Found]:
        """Ask the given URLs, else the default port of this host."""
        found = await asyncio.gather(*(_look(OllamaServer(url.rstrip("/"), http)) for url in urls or [DEFAULT_URL]))
        return [one for one in found if one]

    def _request(self, messages: Sequence[Mapping[str, str]], max_tokens: int | None = None) -> dict[str, Any]:
        """A native request. Without messages it loads the model, or unloads it.

        Whatever it is for, it has the cell's options: one that shapes the loaded model and differs reloads it.
        """
        budget = {} if max_tokens is None else {"num_predict": max_tokens}
        native = self._settings.request if self._settings.api == "native" else {}
        return {
            "model": self._cell.model_name,
            "messages": list(messages),
            "stream": True,
            "options": {**self._settings.runner, **budget},
            **native,
        }


async def _look(one: OllamaServer) -> Found | None:
    """The Ollama at this URL, if there is one."""
    if (await one.health()).state != "ready":
        return None
    models = await one.models(within_s=HEALTH_S)
    here = [model for model in models if not _cannot_be_measured(model)]
    thinking = [name_of(model) for model in here if "thinking" in items(model.get("capabilities"))]
    return Found(
        engine="ollama",
        url=one.base_url,
        version=await one.version(within_s=HEALTH_S),
        models=tuple(map(name_of, here)),
        note=f"thinking unless `think: false` is in its options: {', '.join(thinking)}" if thinking else "",
    )


def _cannot_be_measured(model: Mapping[str, Any]) -> bool:
    """Whether it runs elsewhere, or only makes embeddings. Older versions do not tell what a model can do."""
    abilities = items(model.get("capabilities"))
    return bool(model.get("remote_host")) or bool(abilities and "completion" not in abilities)
