"""The reference brain: what goes in comes out, as it comes, and its telemetry says who asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conditions import wait_until
from lockstep import lockstep_engine
from reference_brains import reference_brain

from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.reconcile import checked
from weeyuga_core.measure.timing import Timing, time_call
from weeyuga_core.model.plan import Timeouts
from weeyuga_core.model.tags import call_headers
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_core.testing.golden_adapter import GoldenAdapter

SLOW = {"chunks": 30, "interval_us": 15_000, "first_delay_us": 30_000}
HEADERS = call_headers(run_id="r", seq=1, cell_id="n:e:m", prompt_id="P", phase="warm", run_idx=3)


@pytest.fixture(scope="module")
def brain(golden: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with reference_brain(golden, tmp_path_factory.mktemp("brain")) as url:
        yield url


def measured(url: str, **options: Any) -> tuple[Timing, Exchange]:
    adapter = GoldenAdapter(fake_target(url, options=SLOW | options), httpx.AsyncClient())

    async def call() -> Exchange:
        async with MeasuringClient() as client:
            return await client.exchange(adapter.build(fake_call()), Timeouts())

    exchange = asyncio.run(call())
    events = list(adapter.events(exchange.reply))
    return checked(time_call(exchange, events), events), exchange


def buffered(timing: Timing) -> bool:
    return any(flag.startswith("buffered:") for flag in timing.call_flags)


@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_stream_comes_through_chunk_by_chunk(tmp_path: Path, shape: str) -> None:
    with lockstep_engine() as engine, reference_brain(engine, tmp_path) as brain:
        timing, _ = measured(brain, shape=shape)
    assert timing.error is None
    assert timing.delta_count == SLOW["chunks"]
    assert not buffered(timing), timing.call_flags


@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_stream_comes_through_byte_by_byte(golden: str, brain: str, shape: str) -> None:
    _, exchange = measured(brain, shape=shape)
    ident = re.compile(rb"golden-\d+")
    _, direct = measured(golden, shape=shape)
    assert ident.sub(b"", exchange.reply.body) == ident.sub(b"", direct.reply.body)
    assert exchange.reply.header("x-weeyuga-backend") == "golden"
    assert exchange.reply.header("content-encoding") is None


def test_paths_go_on_as_they_came(golden: str, brain: str) -> None:
    for path in ("/props", "/health", "/no/such%20path?x=1%2F2"):
        through, direct = (httpx.get(url + path, trust_env=False, timeout=30) for url in (brain, golden))
        assert (through.status_code, through.content) == (direct.status_code, direct.content)


def test_a_brain_that_holds_back_is_flagged(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path, "--buffer") as url:
        timing, _ = measured(url)
    assert timing.error is None
    assert buffered(timing), timing


def test_the_injected_delay_lies_before_the_first_delta(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path, "--delay-ms", "200") as url:
        timing, _ = measured(url)
    assert timing.first_delta_ns is not None
    # Not less than the delay and the engine's own: both wait at least as long as they are told.
    assert timing.first_delta_ns >= 200_000_000 + SLOW["first_delay_us"] * 1_000


def test_an_engine_that_dies_in_the_answer_is_not_passed_off_as_whole(brain: str) -> None:
    timing, exchange = measured(brain, cut="reset", cut_after=5)
    assert exchange.reply.ending != "eof"
    assert timing.error_kind == "reset"


def posted(url: str, **headers: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30)


def envelopes(folder: Path) -> list[dict[str, Any]]:
    """What a brain without a store has printed."""
    (log,) = folder.glob("brain-*.log")
    whole = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole if line.startswith("{")]


def test_an_envelope_says_who_asked_in_the_agreed_words(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path) as url:
        posted(url, **HEADERS)
        posted(url, **{"X-Weeyuga-Test": "false"})
        posted(url)
        wait_until(lambda: len(envelopes(tmp_path)) == 3, "three envelopes")
    tagged, told_false, plain = envelopes(tmp_path)
    assert tagged["metadata"] == {
        "test": True,
        "benchmark_run_id": "r",
        "benchmark_cell_id": "n:e:m",
        "benchmark_prompt_id": "P",
        "benchmark_phase": "warm",
        "benchmark_run_idx": 3,
    }
    _, trace, span, _ = HEADERS["traceparent"].split("-")
    assert (tagged["trace"], tagged["span"]) == ({"id": trace}, {"id": span})
    assert (tagged["event"]["outcome"], tagged["server"]["address"]) == ("success", "golden")
    assert told_false["metadata"] == {"test": False}
    assert plain["metadata"] == {}
    assert "trace" not in plain


def test_envelopes_go_to_the_index_of_their_day(golden: str, store: Any, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path, "--es", store.url) as url:
        posted(url, **HEADERS)
        wait_until(lambda: store.documents, "the envelope")
    ((index, document),) = store.documents
    assert index == f"weeyuga-telemetry-{document['@timestamp'][:10].replace('-', '.')}"


def test_a_store_that_is_gone_costs_no_answer(golden: str, tmp_path: Path) -> None:
    with reference_brain(golden, tmp_path, "--es", "http://127.0.0.1:9") as url:
        assert posted(url, **HEADERS).status_code == 200


def test_a_store_in_trouble_is_asked_again_and_gets_each_envelope_once(golden: str, store: Any, tmp_path: Path) -> None:
    store.script = [503, 429]
    with reference_brain(golden, tmp_path, "--es", store.url) as url:
        posted(url, **HEADERS)
        wait_until(lambda: store.documents, "the envelope")
    assert len(store.documents) == 1


def test_the_route_header_chooses_the_engine(golden: str, tmp_path: Path) -> None:
    with reference_brain("http://127.0.0.1:9", tmp_path, "--upstream", f"other={golden}", name="dead") as url:
        answered = posted(url, **{"X-Weeyuga-Inference-Route": "other"})
        assert (answered.status_code, answered.headers["x-weeyuga-backend"]) == (200, "other")
        dead = posted(url)
        assert (dead.status_code, dead.headers["x-weeyuga-backend"]) == (502, "dead")
        unknown = posted(url, **{"X-Weeyuga-Inference-Route": "nowhere"})
        assert unknown.status_code == 404
        assert "there are: dead, other" in unknown.text
        wait_until(lambda: len(envelopes(tmp_path)) == 2, "two envelopes")
    assert [one["event"]["outcome"] for one in envelopes(tmp_path)] == ["success", "failure"]
