"""Questions to a llama-server that are not measured: is it ready, what is it, what does it serve."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import httpx
from attrs import field, frozen

from weeyuga_core.interfaces import Health
from weeyuga_llamacpp.stream import message_of

HEALTH_S = 1.0
ANSWER_S = 10.0

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
"""Server defaults, which hold where a cell's options say nothing."""
META = {"n_params": "n_params", "size": "tensor_bytes", "n_ctx_train": "n_ctx_train", "n_embd": "n_embd"}
"""What the model list says of the model -> the name of the fact."""


class NoAnswer(Exception):
    """The server could not be asked; the message says why."""


@frozen
class Answered:
    """What came back: the status, the JSON object (empty where none came), and who says it."""

    status: int
    body: Mapping[str, Any]
    server: str
    """The `Server` header."""
    words: str
    """The engine's own words of refusal."""


@frozen
class Enquiry:
    """A llama-server, asked through an ordinary client."""

    base_url: str
    http: httpx.AsyncClient
    token: str | None = field(default=None, repr=False)

    async def ask(self, path: str, *, within_s: float = ANSWER_S, json: Any = None) -> Answered:
        """GET, or POST where there is `json`. Raises NoAnswer."""
        method = "GET" if json is None else "POST"
        # The engine closes kept connections as it likes, which a reused one would show as a failure.
        headers = {"connection": "close"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        try:
            async with asyncio.timeout(within_s):
                answer = await self.http.request(
                    method, self.base_url + path, headers=headers, json=json, timeout=within_s
                )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoAnswer(f"no answer within {within_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        words = "" if answer.status_code == 200 else message_of(answer.content)
        return Answered(answer.status_code, _object_in(answer), answer.headers.get("server", ""), words)

    async def health(self) -> Health:
        """Whether it can be measured now, said within a second."""
        try:
            answer = await self.ask("/health", within_s=HEALTH_S)
        except NoAnswer as error:
            return Health("down", str(error))
        if answer.status == 200:
            return Health("ready")
        if answer.status == 503:
            return Health("loading", answer.words)
        return Health("down", f"this is no llama-server: /health answered {answer.status} {answer.words}".rstrip())

    async def properties(self) -> Mapping[str, Any]:
        """Its /props, empty where it gives none."""
        return await self._told("/props")

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The entries of its model list, empty where it gives none."""
        listed = (await self._told("/v1/models")).get("data")
        return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []

    async def _told(self, path: str) -> Mapping[str, Any]:
        try:
            answer = await self.ask(path)
        except NoAnswer:
            # What a server cannot tell is unknown; that it is down is for `health` to say.
            return {}
        return answer.body if answer.status == 200 else {}


def facts_of(properties: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth a line in the ledger: plain values, files without their directories.

    The core looks for `context` and `template_sha256` and makes them part of the cell's fingerprint.
    """
    settings = _object(properties.get("default_generation_settings"))
    params, meta = _object(settings.get("params")), _object(model.get("meta"))
    template, path = properties.get("chat_template"), properties.get("model_path")
    found = {
        "build_info": properties.get("build_info"),
        "role": properties.get("role"),
        "context": settings.get("n_ctx"),
        "total_slots": properties.get("total_slots"),
        "ftype": properties.get("model_ftype") or meta.get("ftype"),
        **{fact: meta.get(name) for name, fact in META.items()},
        "model_file": PurePath(path).name if isinstance(path, str) and path else None,
        "template_sha256": hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()
        if isinstance(template, str)
        else None,
        "default_sampling": {name: _rounded(params[name]) for name in SAMPLING if name in params} or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def name_of(model: Mapping[str, Any]) -> str:
    """The model's name in a list; a server without an alias names the file, of which the directory is dropped."""
    name = model.get("id")
    if not isinstance(name, str):
        return ""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def _rounded(value: Any) -> Any:
    """Single-precision numbers come with the digits of their error."""
    return round(value, 6) if isinstance(value, float) else value


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _object_in(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        return _object(answer.json())
    except (ValueError, RecursionError):
        return {}
