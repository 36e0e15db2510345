"""Unloading a model so that the next call loads it, and what that call's own answer proves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from weeyuga_core.enquiry import NoAnswer
from weeyuga_core.interfaces import ColdClaim, ColdProof, EngineTimings, StreamEvent
from weeyuga_core.model.plan import RELOAD_NS
from weeyuga_ollama.enquiry import OllamaServer, full_name, name_of, refuse_unknown

OLLAMA_UNLOAD = "ollama_unload"
PROCESS_WARM = "process_warm"

UNLOAD_S = 30.0
"""A request under way holds its model; one that takes longer is another client's, and the claim says so."""
POLL_S = 0.05
PAUSE_S = 2.0
"""Ollama ends the runner before it leaves the list, but a graphics driver counts its memory as taken a while longer."""


async def make_cold(server: OllamaServer, request: Mapping[str, Any], *, unload_others: bool) -> ColdClaim:
    """Unload the model of that request and wait until it is gone. Raises LaunchError where Ollama has not got it."""
    model = request["model"]
    try:
        if why := await _unload(server, model, request, unload_others=unload_others):
            return ColdClaim(PROCESS_WARM, why)
        await asyncio.sleep(PAUSE_S)
        beside = (await server.occupants(model)).beside
    except NoAnswer as error:
        return ColdClaim(PROCESS_WARM, f"Ollama did not unload {model}: {error}")
    return ColdClaim(OLLAMA_UNLOAD, f"resident beside it: {', '.join(beside) or 'nothing'}")


def proof(claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
    """What the load duration of the cold call says about the claim; the bound also tells a reload in a warm call."""
    if claim.kind != OLLAMA_UNLOAD:
        return ColdProof(None, f"nothing to prove: {claim.kind}")
    told = [event.load_ns for event in events if isinstance(event, EngineTimings) and event.load_ns is not None]
    if not told:
        return ColdProof(None, "the answer does not tell how long loading took")
    took = f"loading took {told[-1] / 1e6:.1f} ms"
    if told[-1] < RELOAD_NS:
        return ColdProof(False, f"{took}, a load takes {RELOAD_NS / 1e6:g} ms or more")
    return ColdProof(True, took)


async def _unload(server: OllamaServer, model: str, request: Mapping[str, Any], *, unload_others: bool) -> str | None:
    """Why the model is still there; None once it is gone, and the others too where that is wanted."""
    occupants = await server.occupants(model)
    beside = occupants.beside if unload_others else ()
    for other in beside:
        await server.ask("/api/chat", json={"model": other, "messages": [], "keep_alive": 0})
    answer = await server.ask("/api/chat", json={**request, "keep_alive": 0})
    refuse_unknown(model, answer)
    if answer.status != 200:
        return f"Ollama did not unload {model}: it answered {answer.status} {answer.words}".rstrip()
    names = (model, *map(name_of, occupants.mine), *beside)
    deadline = time.monotonic() + UNLOAD_S
    while remaining := _loaded(await server.resident(), names):
        if time.monotonic() > deadline:
            return f"Ollama still held {', '.join(remaining)} after {UNLOAD_S:g} s: somebody else uses it"
        await asyncio.sleep(POLL_S)
    return None


def _loaded(resident: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    wanted = {full_name(name) for name in names}
    return [name_of(entry) for entry in resident if full_name(name_of(entry)) in wanted]
