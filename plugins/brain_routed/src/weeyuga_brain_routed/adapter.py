"""The engine `brain-routed`: the calls of another cell, sent through a router and tagged as benchmark traffic."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from weeyuga_core.enquiry import Enquiry, NoAnswer
from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import (
    Call,
    ColdClaim,
    ColdProof,
    DescribesModel,
    EngineAdapter,
    Health,
    Identity,
    Reply,
    StreamEvent,
    Target,
)
from weeyuga_core.model.tags import HEADER_BACKEND, HEADER_ROUTE, HEADER_TEST, ROUTE_ENV, call_headers

HEALTH_S = 0.9
"""Inside the second that the core gives, so that the answer names who was silent."""
GATEWAY_DOWN = (502, 503, 504)
BACKEND_CHARS = 100
"""What is kept of a backend's name: it comes from another machine and stands in every line."""

NOT_PASSED_ON = frozenset({"host", "authorization"})
"""Headers of the direct call that are meant for the engine alone."""


class BrainRoutedAdapter:
    """Stands in front of the adapter of the direct cell.

    What the engine is, how it is made cold and what its answer says is that adapter's to know, and it asks the engine
    itself; the router sees the measured calls and one question a probe, whether it is there.
    """

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self._brain = Enquiry(target.base_url, http, target.token)
        self._base = httpx.URL(target.base_url)
        self._route = target.cell.route or os.environ.get(ROUTE_ENV)
        self._authorization = {"authorization": f"Bearer {target.token}"} if target.token else {}
        _refuse_stranger(target, self._base)
        _refuse_unsendable("cell id", target.cell.id, target)
        _refuse_unsendable("route", self._route or "", target)

    def wrap(self, inner: EngineAdapter) -> None:
        """Take the adapter of the direct cell."""
        self._inner = inner

    async def health(self) -> Health:
        """The router and the engine behind it, asked at once: the call needs both."""
        brain, engine = await asyncio.gather(self._brain_health(), self._inner.health())
        if brain.state == "down" or engine.state == "ready":
            return brain
        return Health(engine.state, f"the engine behind the router: {engine.detail or engine.state}")

    async def engine_version(self) -> str | None:
        """The engine's."""
        return await self._inner.engine_version()

    async def model_digest(self) -> str | None:
        """The engine's."""
        return await self._inner.model_digest()

    async def facts(self) -> Mapping[str, Any]:
        """The engine's, and the route that the router is asked for."""
        told = await self._inner.facts() if isinstance(self._inner, DescribesModel) else {}
        return {**told, "route": self._route} if self._route else told

    async def make_cold(self) -> ColdClaim:
        """As the direct cell does it."""
        return await self._inner.make_cold()

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """As the direct cell does it: the engine's answer comes through the router unchanged, or proves nothing."""
        return self._inner.prove_cold(claim, events)

    def build(self, call: Call) -> httpx.Request:
        """The direct cell's request, body and path as they are, to the router and tagged."""
        direct = self._inner.build(call)
        kept = [(name, value) for name, value in direct.headers.multi_items() if name.lower() not in NOT_PASSED_ON]
        ours = self._authorization | ({HEADER_ROUTE: self._route} if self._route else {})
        ours |= call_headers(
            run_id=call.run_id,
            seq=call.seq,
            cell_id=call.cell_id,
            prompt_id=call.prompt.id,
            phase=call.phase,
            run_idx=call.run_idx,
        )
        return httpx.Request(
            direct.method, self._at(direct.url.raw_path), headers=[*kept, *ours.items()], content=direct.content
        )

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """What the engine's stream says, after the name of the backend that the router says it went to."""
        backend = (reply.header(HEADER_BACKEND) or "").strip()[:BACKEND_CHARS]
        if backend:
            yield Identity(ns=0, backend=backend)
        yield from self._inner.events(reply)

    def _at(self, path: bytes) -> httpx.URL:
        return self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + path)

    async def _brain_health(self) -> Health:
        """Whether anything but a gateway without a service answers at the router's own URL."""
        try:
            answer = await self._brain.ask("", method="HEAD", headers={HEADER_TEST: "true"}, within_s=HEALTH_S)
        except NoAnswer as error:
            return Health("down", f"the router: {error}")
        if answer.status in GATEWAY_DOWN:
            return Health("down", f"the router: HTTP status {answer.status}")
        return Health("ready")


def _refuse_stranger(target: Target, base: httpx.URL) -> None:
    """Tags name runs and cells: only hosts that the operator listed get to see them."""
    allowed = {host.rstrip(".").lower() for host in target.brain_hosts}
    host = base.host.rstrip(".").lower()
    if host in allowed:
        return
    key = f"'{host}'" if ":" in host else host
    listed = ", ".join([*target.brain_hosts, key])
    raise UsageError(
        f"cell {target.cell.id}: {host} is not listed as a host that gets X-Weeyuga headers",
        hint=f"where it is a brain of yours, say so in cells.yaml: `brain: {{hosts: [{listed}]}}`",
    )


def _refuse_unsendable(what: str, value: str, target: Target) -> None:
    if not (value.isascii() and value.isprintable()):
        raise UsageError(
            f"cell {target.cell.id}: the {what} of a routed cell is sent as a header, which cannot hold {value!r}",
            hint="use printable ASCII characters",
        )
