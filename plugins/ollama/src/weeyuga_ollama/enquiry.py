"""Questions to an Ollama that are not measured: is it ready, what does it hold, what is in its memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from weeyuga_core.enquiry import ANSWER_S, HEALTH_S, Answered, Enquiry, NoAnswer
from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import Health
from weeyuga_core.loose_json import count, items, mapping, text

NO_VERSION = "0.0.0"
"""What a program says that was built without its version."""
FOREIGN_NAME = (
    "Ollama refuses this endpoint's host name, because it listens on the loopback address only: use its IP address or "
    "localhost, or start it with OLLAMA_HOST=0.0.0.0"
)
_WEIGHTS = re.compile(r"^FROM\s.*sha256-([0-9a-f]{64})\s*$", re.MULTILINE)


@frozen
class Occupants:
    """The models in an Ollama's memory, seen from one of them."""

    mine: tuple[Mapping[str, Any], ...]
    """Entries of the model: under its name, or under that of a twin. Names with one weights file share a loaded model,
    which is listed under the name that loaded it."""
    beside: tuple[str, ...]
    """The names of all others."""


@frozen
class OllamaServer(Enquiry):
    """An Ollama, asked through an ordinary client."""

    async def health(self) -> Health:
        """Whether it can be measured now, said within a second. A model that loads is no matter of health here."""
        try:
            answer = await self.ask("/api/version", within_s=HEALTH_S)
        except NoAnswer as error:
            return Health("down", str(error))
        if answer.status == 200 and text(answer.body.get("version")):
            return Health("ready")
        if answer.status == 403 and not answer.words:
            return Health("down", FOREIGN_NAME)
        return Health("down", f"this is no Ollama: /api/version answered {answer.status} {answer.words}".rstrip())

    async def version(self, *, within_s: float = ANSWER_S) -> str | None:
        """Its version; None where it has none to tell."""
        told = text((await self.told("/api/version", within_s=within_s)).get("version"))
        return told if told and told != NO_VERSION else None

    async def models(self, *, within_s: float = ANSWER_S) -> Sequence[Mapping[str, Any]]:
        """The models that it holds, empty where it does not tell."""
        return _models(await self.told("/api/tags", within_s=within_s))

    async def resident(self) -> Sequence[Mapping[str, Any]]:
        """The models in its memory. Raises NoAnswer."""
        answer = await self.ask("/api/ps")
        if answer.status != 200:
            raise NoAnswer(f"/api/ps answered {answer.status} {answer.words}".rstrip())
        return _models(answer.body)

    async def occupants(self, model: str) -> Occupants:
        """Who is in its memory. Raises NoAnswer."""
        resident = await self.resident()
        mine = [entry for entry in resident if full_name(name_of(entry)) == full_name(model)]
        rest = [entry for entry in resident if entry not in mine]
        weights = weights_of(await self.shown(model)) if rest else None
        twins = [entry for entry in rest if weights and weights_of(await self.shown(name_of(entry))) == weights]
        return Occupants((*mine, *twins), tuple(name_of(entry) for entry in rest if entry not in twins))

    async def shown(self, model: str) -> Mapping[str, Any]:
        """What it says of a model, empty where it does not tell."""
        return await self.told("/api/show", json={"model": model})


def refuse_unknown(model: str, answer: Answered) -> None:
    """Raise LaunchError, with what to type, where Ollama says that it has not got the model."""
    if answer.status == 404 and "model" in answer.words:
        raise LaunchError(f"{answer.words}{how_to_get(model)}")


def how_to_get(model: str) -> str:
    """The end of a sentence that says that a model is not there."""
    return f"; to get it, type: ollama pull {model}"


def full_name(name: str) -> str:
    """The name by which two spellings of one model are equal: `gemma` is `gemma:latest`, and case does not matter."""
    short = name.casefold().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


def name_of(model: Mapping[str, Any]) -> str:
    """The name of a listed model; older versions tell it under `name` only."""
    return text(model.get("model")) or text(model.get("name"))


def named(models: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The listed model of that name, empty where there is none."""
    return next((model for model in models if full_name(name_of(model)) == full_name(name)), {})


def weights_of(shown: Mapping[str, Any]) -> str | None:
    """The sha256 of the weights file, which stores give it as its name; None where it is not told."""
    found = _WEIGHTS.search(text(shown.get("modelfile")))
    return found[1] if found else None


def facts_of(
    shown: Mapping[str, Any], resident: Mapping[str, Any], beside: Sequence[str], num_ctx: int | None
) -> dict[str, Any]:
    """What is worth a line in the ledger. The model file is not: it names the directories of its machine.

    `resident` is the model's entry in `/api/ps`: what the engine made of `num_ctx`, and where the model lies.
    """
    details, info = mapping(shown.get("details")), mapping(shown.get("model_info"))
    architecture, template = text(info.get("general.architecture")), shown.get("template")
    found = {
        "format": text(details.get("format")),
        "family": text(details.get("family")),
        "parameter_size": text(details.get("parameter_size")),
        "parameter_count": count(info, "general.parameter_count"),
        "quantization": text(details.get("quantization_level")),
        "capabilities": [word for word in items(shown.get("capabilities")) if isinstance(word, str)],
        "trained_context": count(info, f"{architecture}.context_length"),
        "context": count(resident, "context_length") or num_ctx,
        "default_parameters": [" ".join(line.split()) for line in text(shown.get("parameters")).splitlines()],
        "template_sha256": _sha256(template) if isinstance(template, str) else None,
        "weights_sha256": weights_of(shown),
        "renderer": text(shown.get("renderer")),
        "parser": text(shown.get("parser")),
        "remote_host": text(shown.get("remote_host")),
        "resident_bytes": count(resident, "size"),
        "vram_bytes": count(resident, "size_vram"),
        "resident_beside": list(beside),
    }
    return {name: value for name, value in found.items() if value is not None and value not in ("", [])}


def _models(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [model for model in items(body.get("models")) if isinstance(model, Mapping) and name_of(model)]


def _sha256(said: str) -> str:
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
