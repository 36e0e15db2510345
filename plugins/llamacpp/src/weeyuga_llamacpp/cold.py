"""Making the next call cold on a server that is not ours, and what its answer proves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from weeyuga_core.enquiry import NoAnswer
from weeyuga_core.interfaces import ColdClaim, ColdProof, StreamEvent, Usage
from weeyuga_core.loose_json import items, mapping, text
from weeyuga_llamacpp.enquiry import LlamaServer

ROUTER_RELOAD = "router_reload"
IDLE_SLEEP = "idle_sleep"
PROCESS_START = "process_start"
PROCESS_WARM = "process_warm"

RELOADED = (PROCESS_START, IDLE_SLEEP, ROUTER_RELOAD)
"""After each of these the model is read anew, and no cache can hold the prompt."""

UNLOAD_S = 30.0
POLL_S = 0.05


async def make_cold(server: LlamaServer, model: str) -> ColdClaim:
    """Unload the model where the server can; else say that nothing was done."""
    properties = await server.properties()
    if properties.get("role") == "router":
        return await _unload(server, model)
    if properties.get("is_sleeping") is True:
        return ColdClaim(IDLE_SLEEP, "the server had unloaded its model in an idle time")
    return ColdClaim(PROCESS_WARM, "this server offers no way to unload its model")


def proof(claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
    """What the cached tokens of the cold call say about the claim."""
    if claim.kind not in RELOADED:
        return ColdProof(None, f"nothing to prove: {claim.kind}")
    told = [event for event in events if isinstance(event, Usage) and event.cached_prompt_tokens is not None]
    if not told:
        return ColdProof(None, "the engine did not say how many prompt tokens were cached")
    cached = told[-1].cached_prompt_tokens
    return ColdProof(cached == 0, f"{cached} of {told[-1].prompt_tokens} prompt tokens were cached")


async def _unload(server: LlamaServer, model: str) -> ColdClaim:
    """Have a router stop the process of this model, and wait until it says so."""
    try:
        answer = await server.ask("/models/unload", json={"model": model})
        deadline = time.monotonic() + UNLOAD_S
        while (state := await _state(server, model)) != "unloaded":
            if state is None or time.monotonic() > deadline:
                return ColdClaim(PROCESS_WARM, f"the router did not unload {model}: {answer.words or state}")
            await asyncio.sleep(POLL_S)
    except NoAnswer as error:
        return ColdClaim(PROCESS_WARM, f"the router did not unload {model}: {error}")
    return ColdClaim(ROUTER_RELOAD, "the router had stopped the model's process")


async def _state(server: LlamaServer, model: str) -> str | None:
    """What the router says of the model; None where it does not know it."""
    for entry in map(mapping, items((await server.ask("/models")).body.get("data"))):
        if entry.get("id") == model:
            return text(mapping(entry.get("status")).get("value")) or None
    return None
