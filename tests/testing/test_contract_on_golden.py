from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx
import pytest

from weeyuga_core.interfaces import EngineAdapter, Identity, Reply, Role, StreamEvent, Target
from weeyuga_core.testing.contract import EngineAdapterContract
from weeyuga_core.testing.fakes import fake_target
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_script import GoldenScript, play


def body_of(script: GoldenScript) -> bytes:
    """The bytes of a scripted body, framing left out."""
    return b"".join(write.data for write in play(script, "golden-1", 0) if "head" not in write.marks)


def bodies(shape: str) -> list[bytes]:
    made = {"shape": shape, "framing": "close", "text": "žluťoučký"}
    return [
        body_of(GoldenScript(**made, **more))  # type: ignore[arg-type]  # plain keyword arguments
        for more in ({"chunks": 3}, {"chunks": 2, "reasoning": 2, "pings": 2}, {"chunks": 1, "usage": False})
    ]


class TestOpenaiSse(EngineAdapterContract):
    def adapter(self) -> EngineAdapter:
        return GoldenAdapter(fake_target(options={"shape": "openai_sse"}), httpx.AsyncClient())

    def replies(self) -> Sequence[bytes]:
        return bodies("openai_sse")


class TestNdjson(EngineAdapterContract):
    def adapter(self) -> EngineAdapter:
        return GoldenAdapter(fake_target(options={"shape": "ndjson"}), httpx.AsyncClient())

    def replies(self) -> Sequence[bytes]:
        return bodies("ndjson")


class Broken(GoldenAdapter):
    """An adapter that breaks the contract in the way a test says."""

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None:
        super().__init__(target, http)
        self.calls = 0


class Remembers(Broken):
    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        self.calls += 1
        yield Identity(ns=0, response_id=str(self.calls))
        yield from super().events(reply)


class SkipsEmptyChunks(Broken):
    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        return (event for event in super().events(reply) if not isinstance(event, Role))


class StampsWithTheFirstRead(Broken):
    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        body = Reply(
            status=reply.status,
            headers=reply.headers,
            reads=tuple(type(read)(reply.reads[0].ns, read.data) for read in reply.reads),
            ending=reply.ending,
        )
        return super().events(body)


class ReadsWithoutSeams(Broken):
    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        for read in reply.reads:
            yield from super().events(Reply(status=reply.status, headers=(), reads=(read,), ending=reply.ending))


class AsksForGzip(Broken):
    def build(self, call: object) -> httpx.Request:
        request = super().build(call)  # type: ignore[arg-type]  # handed through
        request.headers["accept-encoding"] = "gzip"
        return request


class StripsThePrompt(Broken):
    def build(self, call: object) -> httpx.Request:
        whole = super().build(call)  # type: ignore[arg-type]  # handed through
        text = whole.content.replace(b"\\n\\n", b"")
        return httpx.Request("POST", whole.url, content=text, headers={"accept-encoding": "identity"})


@pytest.mark.parametrize(
    ("adapter", "clause"),
    [
        (Remembers, "test_events_are_pure"),
        (SkipsEmptyChunks, "test_every_data_line_yields_an_event_with_its_stamp"),
        (StampsWithTheFirstRead, "test_every_data_line_yields_an_event_with_its_stamp"),
        (ReadsWithoutSeams, "test_splits_change_nothing_but_stamps"),
        (AsksForGzip, "test_build_asks_for_identity_encoding"),
        (StripsThePrompt, "test_build_sends_the_prompt_verbatim_and_once"),
    ],
)
def test_the_contract_catches_each_breach(adapter: type[Broken], clause: str) -> None:
    made = adapter(fake_target(), httpx.AsyncClient())

    class Suite(EngineAdapterContract):
        def adapter(self) -> EngineAdapter:
            return made

        def replies(self) -> Sequence[bytes]:
            return bodies("openai_sse")

    with pytest.raises(AssertionError):
        getattr(Suite(), clause)()
