"""The proxy tell on a real proxy.

nginx holds back what comes from an upstream without chunked coding, as servers answer it by default, since it asks
in HTTP/1.0; whole chunks it passes on at once, whatever `proxy_buffering` says. So the upstream ends by closing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lockstep import lockstep_engine
from programs import NGINX, nginx

from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.reconcile import checked
from weeyuga_core.measure.timing import Timing, time_call
from weeyuga_core.model.plan import Timeouts
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = [pytest.mark.real, pytest.mark.skipif(NGINX is None, reason="no nginx on PATH")]

DIRECTIVES = """
    proxy_http_version 1.1;
    keepalive_requests 10;
    location /buffered/ {{ proxy_pass {upstream}/; proxy_buffering on; }}
    location /direct/ {{ proxy_pass {upstream}/; proxy_buffering off; }}
"""


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def proxy(golden: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of an nginx in front of a golden server."""
    directives = DIRECTIVES.format(upstream=golden)
    with nginx(tmp_path_factory.mktemp("nginx"), directives) as url:
        yield url


SLOW = {"chunks": 40, "interval_us": 15_000, "first_delay_us": 30_000, "framing": "close"}


def measure(url: str, **options: Any) -> Timing:
    async def call() -> Exchange:
        async with MeasuringClient() as client:
            return await client.exchange(adapter.build(fake_call()), Timeouts())

    options = SLOW | options
    adapter = GoldenAdapter(fake_target(url, options=options), httpx.AsyncClient())
    exchange = asyncio.run(call())
    events = list(adapter.events(exchange.reply))
    return checked(time_call(exchange, events), events)


def test_connections_are_kept_until_the_proxy_says_otherwise(proxy: str) -> None:
    options = {"chunks": 3, "interval_us": 500, "first_delay_us": 500, "framing": "chunked"}
    adapter = GoldenAdapter(fake_target(f"{proxy}/direct", options=options), httpx.AsyncClient())

    async def calls() -> list[Exchange]:
        async with MeasuringClient() as client:
            return [await client.exchange(adapter.build(fake_call()), Timeouts()) for _ in range(30)]

    exchanges = asyncio.run(calls())
    assert {exchange.reply.ending for exchange in exchanges} == {"eof"}
    assert [exchange.connection for exchange in exchanges] == (["new"] + ["reused"] * 9) * 3
    assert not any(exchange.retried for exchange in exchanges)


def buffered(timing: Timing) -> bool:
    return any(flag.startswith("buffered: ") for flag in timing.call_flags)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_proxy_that_passes_bytes_on_is_not_flagged(tmp_path: Path, shape: str, told: bool) -> None:
    with lockstep_engine() as engine, nginx(tmp_path, DIRECTIVES.format(upstream=engine)) as url:
        timing = measure(f"{url}/direct", shape=shape, timings=told)
    assert timing.error is None
    assert timing.delta_count == SLOW["chunks"]
    assert not buffered(timing), timing.call_flags


@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_proxy_that_holds_the_stream_back_is_flagged(proxy: str, shape: str) -> None:
    timing = measure(f"{proxy}/buffered", shape=shape)
    assert timing.error is None
    assert buffered(timing), timing


def test_bursts_are_flagged_without_a_word_of_the_engine(proxy: str) -> None:
    timing = measure(f"{proxy}/buffered", chunks=120, timings=False)
    assert buffered(timing), timing
