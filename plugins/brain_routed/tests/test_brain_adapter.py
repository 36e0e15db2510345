"""What is sent through a router, and what is left to the adapter of the direct cell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import httpx
import pytest
from attrs import evolve

from weeyuga_brain_routed.adapter import BACKEND_CHARS, BrainRoutedAdapter
from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import (
    Answer,
    Call,
    ColdClaim,
    ColdProof,
    DescribesModel,
    Done,
    EngineAdapter,
    Health,
    Identity,
    Launches,
    Reply,
    StreamEvent,
    Target,
    Wraps,
)
from weeyuga_core.shapes import ability
from weeyuga_core.testing.contract import EngineAdapterContract
from weeyuga_core.testing.fakes import fake_call, fake_reply, fake_target
from weeyuga_core.testing.golden_adapter import GoldenAdapter

BRAIN = "https://cluster.example/brain/"
ENGINE = "http://engine.example:11434"
TAGGED = {
    "x-weeyuga-test": "true",
    "x-weeyuga-benchmark-run-id": "4e2a",
    "x-weeyuga-benchmark-cell-id": "here:brain-routed:model",
    "x-weeyuga-benchmark-prompt-id": "P-TEST",
    "x-weeyuga-benchmark-phase": "cold",
    "x-weeyuga-benchmark-run-idx": "3",
    "traceparent": f"00-{sha256(b'4e2a|7').hexdigest()[:32]}-{sha256(b'4e2a|7').hexdigest()[32:48]}-00",
}


class Inner:
    """An adapter whose every answer can be told from any other's."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        self.state = Health("ready")

    async def health(self) -> Health:
        return self.state

    async def engine_version(self) -> str | None:
        return "v7"

    async def model_digest(self) -> str | None:
        return "sha256:77"

    async def make_cold(self) -> ColdClaim:
        return ColdClaim("unloaded", "by the inner one")

    async def facts(self) -> dict[str, Any]:
        return {"context": 77}

    def build(self, call: Call) -> httpx.Request:
        headers = {"accept-encoding": "identity", "x-engine": "1", "authorization": "Bearer of-the-engine"}
        return httpx.Request("POST", f"{ENGINE}/api/chat?x=1%2F2", headers=headers, json={"p": call.prompt.text})

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        yield Answer(5, "inner")
        yield Done(6)

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        return ColdProof(claim.kind == "unloaded", f"{len(list(events))} events")


def target(base_url: str = BRAIN, *, hosts: tuple[str, ...] = ("cluster.example",), **changes: Any) -> Target:
    cell_changes = {name: changes.pop(name) for name in ("route", "label") if name in changes}
    made = fake_target(base_url.rstrip("/"), engine="brain-routed", routes="here:golden:model", **cell_changes)
    return evolve(made, brain_hosts=hosts, **changes)


def routed(inner: EngineAdapter | None = None, http: httpx.AsyncClient | None = None, **changes: Any) -> Any:
    client = http or httpx.AsyncClient()
    adapter = BrainRoutedAdapter(target(**changes), client)
    adapter.wrap(inner or Inner(target(), client))
    return adapter


def built(**changes: Any) -> httpx.Request:
    call = fake_call(run_id="4e2a", seq=7, cell_id="here:brain-routed:model", phase="cold", run_idx=3)
    request: httpx.Request = routed(**changes).build(call)
    return request


class TestBrainRoutedAdapter(EngineAdapterContract):
    """Around the golden adapter, it owes what every adapter owes."""

    def adapter(self) -> EngineAdapter:
        adapter: EngineAdapter = routed(GoldenAdapter(fake_target(), httpx.AsyncClient()))
        return adapter

    def replies(self) -> Sequence[bytes]:
        return [
            b'data: {"id": "x", "choices": [{"delta": {"content": "good"}}]}\n\n'
            b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
            b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
            b"data: [DONE]\n\n"
        ]


# --- what is sent -------------------------------------------------------------------------------------------------


def test_exactly_the_tags_are_added_and_nothing_is_sent_that_was_meant_for_the_engine() -> None:
    headers = dict(built().headers)
    ours = {name: headers.pop(name) for name in TAGGED}
    assert ours == TAGGED
    assert headers.pop("x-engine") == "1"
    assert headers.pop("accept-encoding") == "identity"
    assert headers == {
        "host": "cluster.example",
        "content-length": str(len(built().content)),
        "content-type": "application/json",
    }


def test_the_engines_path_and_body_go_to_the_router() -> None:
    request = built()
    assert str(request.url) == "https://cluster.example/brain/api/chat?x=1%2F2"
    assert (request.method, request.content) == (
        "POST",
        Inner(target(), httpx.AsyncClient()).build(fake_call()).content,
    )


def test_the_cells_token_and_route_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = built(token="secret", route="pavilion").headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-weeyuga-inference-route"] == "pavilion"
    monkeypatch.setenv("WEEYUGA_INFERENCE_ROUTE", "predator")
    assert built().headers["x-weeyuga-inference-route"] == "predator"
    assert built(route="pavilion").headers["x-weeyuga-inference-route"] == "pavilion"


@pytest.mark.parametrize(
    ("url", "hosts", "key"),
    [
        ("https://other.example", (), "brain: {hosts: [other.example]}"),
        ("https://other.example", ("cluster.example",), "brain: {hosts: [cluster.example, other.example]}"),
        ("https://sub.cluster.example", ("cluster.example",), "[cluster.example, sub.cluster.example]"),
        ("https://cluster.example.evil", ("cluster.example",), "[cluster.example, cluster.example.evil]"),
        ("http://[::1]:8090", ("127.0.0.1",), "[127.0.0.1, '::1']"),
    ],
)
def test_hosts_that_are_not_listed_get_nothing(url: str, hosts: tuple[str, ...], key: str) -> None:
    with pytest.raises(UsageError, match="is not listed as a host that gets X-Weeyuga headers") as refused:
        BrainRoutedAdapter(target(url, hosts=hosts), httpx.AsyncClient())
    assert key in (refused.value.hint or "")
    assert httpx.URL(url).host in refused.value.message


@pytest.mark.parametrize("url", ["https://Cluster.Example:8443", "http://cluster.example./x"])
def test_a_listed_host_is_known_by_any_port_case_and_dot(url: str) -> None:
    assert built(base_url=url).headers["x-weeyuga-test"] == "true"


def test_what_no_header_can_hold_is_refused_before_the_run() -> None:
    with pytest.raises(UsageError, match="cell id of a routed cell is sent as a header"):
        routed(label="modèle")
    with pytest.raises(UsageError, match="route of a routed cell"):
        routed(route="a\tb")


# --- what comes back ----------------------------------------------------------------------------------------------


def test_the_backend_that_the_router_names_comes_first() -> None:
    events = list(routed().events(fake_reply(b"x", headers=(("x-weeyuga-backend", "pavilion-2"),))))
    assert events == [Identity(ns=0, backend="pavilion-2"), Answer(5, "inner"), Done(6)]


def test_without_a_backend_the_events_are_the_engines() -> None:
    for headers in ((), (("x-weeyuga-backend", " "),)):
        assert list(routed().events(fake_reply(b"x", headers=headers))) == [Answer(5, "inner"), Done(6)]


def test_a_name_without_an_end_is_cut() -> None:
    (identity, *_) = routed().events(fake_reply(b"x", headers=(("x-weeyuga-backend", "n" * 9_999),)))
    assert identity.backend == "n" * BACKEND_CHARS


# --- what is left to the direct cell's adapter --------------------------------------------------------------------


def test_engine_and_cold_are_the_inner_adapters() -> None:
    adapter = routed()

    async def asked() -> list[Any]:
        return [await adapter.engine_version(), await adapter.model_digest(), await adapter.make_cold()]

    assert asyncio.run(asked()) == ["v7", "sha256:77", ColdClaim("unloaded", "by the inner one")]
    assert adapter.prove_cold(ColdClaim("unloaded"), [Done(1)]) == ColdProof(True, "1 events")
    assert asyncio.run(adapter.facts()) == {"context": 77}
    assert asyncio.run(routed(route="p").facts()) == {"context": 77, "route": "p"}


def test_an_inner_adapter_without_facts_is_no_fault() -> None:
    assert asyncio.run(routed(GoldenAdapter(fake_target(), httpx.AsyncClient())).facts()) == {}


def test_it_wraps_and_describes_and_does_not_launch() -> None:
    adapter = routed()
    assert ability(adapter, Wraps) is adapter
    assert ability(adapter, DescribesModel) is adapter
    assert ability(adapter, Launches) is None


# --- health -------------------------------------------------------------------------------------------------------


def healthy(answer: httpx.Response | Exception, engine: Health = Health("ready")) -> tuple[Health, httpx.Request]:  # noqa: B008  # frozen
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> Health:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
            inner = Inner(target(), http)
            inner.state = engine
            said: Health = await routed(inner, http, token="secret").health()
            return said

    return asyncio.run(ask()), seen[0]


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 405, 501])
def test_a_router_that_answers_anything_of_its_own_is_there(status: int) -> None:
    assert healthy(httpx.Response(status))[0] == Health("ready")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_without_a_service_is_down(status: int) -> None:
    assert healthy(httpx.Response(status))[0] == Health("down", f"the router: HTTP status {status}")


def test_a_router_that_cannot_be_reached_is_down() -> None:
    assert healthy(httpx.ConnectError("refused"))[0] == Health("down", "the router: refused")
    said, _ = healthy(httpx.ReadTimeout("slow"))
    assert (said.state, said.detail.startswith("the router: no answer within")) == ("down", True)


@pytest.mark.parametrize("engine", [Health("loading", "weights"), Health("down", "gone")])
def test_the_engine_behind_counts_too(engine: Health) -> None:
    said, _ = healthy(httpx.Response(200), engine)
    assert said == Health(engine.state, f"the engine behind the router: {engine.detail}")


def test_the_question_is_marked_as_a_test_and_lets_the_router_know_us() -> None:
    _, request = healthy(httpx.Response(200))
    assert (request.method, str(request.url)) == ("HEAD", "https://cluster.example/brain")
    assert (request.headers["x-weeyuga-test"], request.headers["authorization"]) == ("true", "Bearer secret")
