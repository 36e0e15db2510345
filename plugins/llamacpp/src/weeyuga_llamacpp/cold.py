"""Making the next call cold on a server that is not ours, and what its answer proves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from weeyuga_core.interfaces import ColdClaim, ColdProof, StreamEvent, Usage
from weeyuga_llamacpp.enquiry import Enquiry, NoAnswer

ROUTER_RELOAD = "router_reload"
IDLE_SLEEP = "idle_sleep"
PROCESS_START = "process_start"
PROCESS_WARM = "process_warm"

RELOADED = (PROCESS_START, IDLE_SLEEP, ROUTER_RELOAD)
"""After each of these the model is read anew, and no cache can hold the prompt."""

UNLOAD_S = 30.0
POLL_S = 0.05


async def make_cold(enquiry: Enquiry, model: str) -> ColdClaim:
    """Unload the model where the server can; else say that nothing was done."""
    properties = await enquiry.properties()
    if properties.get("role") == "router":
        return await _unload(enquiry, model)
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


async def _unload(enquiry: Enquiry, model: str) -> ColdClaim:
    """Have a router stop the process of this model, and wait until it says so."""
    try:
        answer = await enquiry.ask("/models/unload", json={"model": model})
        deadline = time.monotonic() + UNLOAD_S
        while (state := await _state(enquiry, model)) != "unloaded":
            if state is None or time.monotonic() > deadline:
                return ColdClaim(PROCESS_WARM, f"the router did not unload {model}: {answer.words or state}")
            await asyncio.sleep(POLL_S)
    except NoAnswer as error:
        return ColdClaim(PROCESS_WARM, f"the router did not unload {model}: {error}")
    return ColdClaim(ROUTER_RELOAD, "the router had stopped the model's process")


async def _state(enquiry: Enquiry, model: str) -> str | None:
    """What the router says of the model; None where it does not know it."""
    listed = (await enquiry.ask("/models")).body.get("data")
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("id") == model:
            status = entry.get("status")
            return str(status.get("value")) if isinstance(status, dict) else None
    return None
