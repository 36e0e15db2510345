"""Questions to a llama-server that are not measured: is it ready, what is it, what does it serve."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from attrs import frozen

from weeyuga_core.enquiry import HEALTH_S, Enquiry, NoAnswer
from weeyuga_core.interfaces import Health
from weeyuga_core.loose_json import items, mapping

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
"""Server defaults, which hold where a cell's options say nothing."""
META = {"n_params": "n_params", "size": "tensor_bytes", "n_ctx_train": "n_ctx_train", "n_embd": "n_embd"}
"""What the model list says of the model -> the name of the fact."""


@frozen
class LlamaServer(Enquiry):
    """A llama-server, asked through an ordinary client."""

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
        return await self.told("/props")

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The entries of its model list, empty where it gives none."""
        return [entry for entry in items((await self.told("/v1/models")).get("data")) if isinstance(entry, Mapping)]


def facts_of(properties: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth a line in the ledger: plain values, files without their directories.

    The core looks for `context` and `template_sha256` and makes them part of the cell's fingerprint.
    """
    settings = mapping(properties.get("default_generation_settings"))
    params, meta = mapping(settings.get("params")), mapping(model.get("meta"))
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
