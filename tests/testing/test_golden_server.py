from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import Answer, Health, StreamEvent
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.reconcile import checked
from weeyuga_core.measure.timing import Timing, time_call
from weeyuga_core.model.plan import Timeouts
from weeyuga_core.testing import golden as server_module
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_process import GoldenServer

PATIENT = Timeouts()
BRIEF = Timeouts(idle_s=0.3)
"""Long enough for every write but the one that never comes."""

Measured = tuple[Exchange, list[StreamEvent], Timing]


def measure(golden: GoldenServer, timeouts: Timeouts = PATIENT, **options: Any) -> Measured:
    """One call of the golden adapter over the measuring client."""
    options = {"first_delay_us": 2_000, "interval_us": 2_000, "chunks": 4} | options

    async def call() -> Exchange:
        async with MeasuringClient() as client:
            return await client.exchange(adapter.build(fake_call()), timeouts)

    adapter = GoldenAdapter(fake_target(golden.url, options=options), httpx.AsyncClient())
    exchange = asyncio.run(call())
    events = list(adapter.events(exchange.reply))
    return exchange, events, checked(time_call(exchange, events), events)


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Answer))


@pytest.mark.parametrize("framing", ["chunked", "sized", "close"])
@pytest.mark.parametrize("split", ["none", "halves", "utf8", "bytes"])
@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_good_reply_is_a_good_call_in_every_guise(golden: GoldenServer, shape: str, split: str, framing: str) -> None:
    _, events, timing = measure(
        golden, shape=shape, split=split, framing=framing, text="ž ", reasoning=1, pings=2, per_write=2
    )
    assert timing.error is None
    assert text_of(events) == "ž ž ž ž "
    assert (timing.completion_tokens, timing.reasoning_chars, timing.finish_reason) == (5, 2, "stop")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"cut": "stall", "cut_after": 2}, "idle_timeout"),
        ({"cut": "stall"}, "idle_timeout"),
        ({"cut": "reset", "cut_after": 2}, "reset"),
        ({"cut": "close", "cut_after": 2}, "reset"),
        ({"cut": "close", "cut_after": 2, "framing": "sized"}, "reset"),
        ({"cut": "close", "cut_after": 2, "framing": "close"}, "stream_truncated"),
        ({"cut": "error", "cut_after": 2}, "engine_error"),
        ({"cut": "error", "cut_after": 2, "shape": "ndjson"}, "engine_error"),
        ({"cut": "end", "cut_after": 2}, "stream_truncated"),
        ({"done": False}, "stream_truncated"),
        ({"done": False, "shape": "ndjson"}, "stream_truncated"),
        ({"finish": None}, "stream_truncated"),
        ({"status": 400}, "http_400"),
        ({"status": 404, "shape": "ndjson"}, "http_404"),
        ({"status": 500}, "http_500"),
        ({"status": 503}, "http_503"),
        ({"body": "html"}, "bad_stream"),
        ({"body": "html", "shape": "ndjson"}, "bad_stream"),
        ({"body": "bad_json"}, "bad_stream"),
        ({"body": "empty"}, "stream_truncated"),
        ({"claims": {"predicted_ms": 0.001}}, "impossible_rate"),
    ],
)
def test_each_fault_gets_its_word(golden: GoldenServer, options: dict[str, Any], kind: str) -> None:
    _, _, timing = measure(golden, BRIEF if kind == "idle_timeout" else PATIENT, **options)
    assert timing.error_kind == kind
    assert timing.error


def test_what_came_before_a_fault_is_kept(golden: GoldenServer) -> None:
    _, events, timing = measure(golden, cut="reset", cut_after=3)
    assert text_of(events) == " tok tok tok"
    assert timing.delta_count == 3
    assert timing.first_delta_ns is not None


def test_missing_usage_is_a_flag_and_no_error(golden: GoldenServer) -> None:
    _, _, timing = measure(golden, usage=False)
    assert timing.error is None
    assert timing.call_flags == ("no_usage: the engine gave no prompt_tokens and no completion_tokens",)


def test_a_megabyte_line_arrives_whole(golden: GoldenServer) -> None:
    _, events, timing = measure(golden, first_text_bytes=1_000_000, chunks=2)
    assert timing.error is None
    assert len(text_of(events)) == 1_000_000 + len(" tok tok")


def test_the_log_stands_before_the_clients_stamps_and_never_before_the_schedule(golden: GoldenServer) -> None:
    exchange, events, timing = measure(golden, chunks=20, first_delay_us=3_000, interval_us=1_000)
    log = golden.log(exchange.reply.header("x-golden-id") or "")
    assert log.ended
    assert len(log.delta_ns) == 20
    for k, (wrote, event) in enumerate(zip(log.delta_ns, (e for e in events if isinstance(e, Answer)), strict=True)):
        assert wrote >= log.received_ns + (3_000 + k * 1_000) * 1_000
        assert exchange.t0_clock_ns + event.ns >= wrote
    assert exchange.t0_clock_ns < log.received_ns
    assert timing.total_duration_ns is not None
    assert exchange.t0_clock_ns + timing.total_duration_ns >= log.stamps("done")[0]


def test_a_missing_log_is_a_key_error(golden: GoldenServer) -> None:
    with pytest.raises(KeyError, match="nobody"):
        golden.log("nobody")


def test_a_script_that_cannot_be_played_is_answered_with_400(golden: GoldenServer) -> None:
    _, _, timing = measure(golden, chunk=3)
    assert timing.error_kind == "http_400"
    assert timing.error is not None
    assert "unknown in a golden script: chunk" in timing.error


@pytest.mark.parametrize("body", [b"{", b"[]", b"7"])
def test_a_request_that_is_no_script_is_answered_with_400(golden: GoldenServer, body: bytes) -> None:
    assert httpx.post(golden.url, content=body, trust_env=False).status_code == 400


def test_a_script_may_come_in_a_header_and_the_default_one_plays_without(golden: GoldenServer) -> None:
    quick = {"chunks": 1, "first_delay_us": 0, "shape": "ndjson", "headers": {"x-weeyuga-backend": "b1"}}
    answer = httpx.post(golden.url, headers={"x-golden": json.dumps(quick)}, trust_env=False)
    assert answer.headers["x-weeyuga-backend"] == "b1"
    assert json.loads(answer.text.splitlines()[-1])["eval_count"] == 1
    assert httpx.post(golden.url, trust_env=False).text.endswith("data: [DONE]\n\n")


def test_connections_are_kept_or_closed_as_told(golden: GoldenServer) -> None:
    async def connections(**options: Any) -> list[str | None]:
        made = {"first_delay_us": 0, "chunks": 1} | options
        adapter = GoldenAdapter(fake_target(golden.url, options=made), httpx.AsyncClient())
        async with MeasuringClient() as client:
            return [(await client.exchange(adapter.build(fake_call()), PATIENT)).connection for _ in range(2)]

    assert asyncio.run(connections()) == ["new", "reused"]
    assert asyncio.run(connections(close=True)) == ["new", "new"]


def test_two_requests_in_one_write_are_answered_in_turn(golden: GoldenServer) -> None:
    with connected(golden) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404"]


def test_noise_on_one_connection_harms_no_other(golden: GoldenServer) -> None:
    with connected(golden) as sock:
        sock.sendall(b"noise\r\n\r\n")
        assert sock.recv(1) == b""
    assert httpx.get(f"{golden.url}/health", trust_env=False).json() == {"status": "ok"}


def test_the_adapter_knows_its_server(golden: GoldenServer) -> None:
    async def ask() -> tuple[Health, str | None, str | None]:
        async with httpx.AsyncClient(trust_env=False) as http:
            adapter = GoldenAdapter(fake_target(golden.url), http)
            return await adapter.health(), await adapter.engine_version(), await adapter.model_digest()

    assert asyncio.run(ask()) == (Health("ready"), server_module.VERSION, server_module.DIGEST)


def test_a_server_that_is_not_there_is_down() -> None:
    async def ask(url: str) -> Health:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await GoldenAdapter(fake_target(url), http).health()

    with GoldenServer() as gone:
        url = gone.url
    assert asyncio.run(ask(url)).state == "down"


def test_the_server_ends_with_its_block() -> None:
    with GoldenServer() as server:
        sock = connected(server)
    with sock:
        assert sock.recv(1) == b""
    with pytest.raises(LaunchError, match="not running"):
        _ = server.pid


def test_the_server_runs_in_an_async_block_too() -> None:
    async def body() -> int:
        async with GoldenServer() as server:
            return len((await server.alog(await played(server))).delta_ns)

    async def played(server: GoldenServer) -> str:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(server.url, json={"golden": {"chunks": 3, "interval_us": 0}})
            return answer.headers["x-golden-id"]

    assert asyncio.run(body()) == 3


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_the_server_listens_on_ipv6() -> None:
    with GoldenServer(host="::1") as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def test_a_server_that_cannot_start_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LaunchError, match="exit code 2"):
        GoldenServer(host="203.0.113.7").start()  # an address for documentation, on no machine
    assert "cannot listen on 203.0.113.7 port 0" in capfd.readouterr().err


PARENT = """
import sys, time
from weeyuga_core.testing.golden_process import GoldenServer
server = GoldenServer()
server.start()
print(server.url, flush=True)
sys.stdin.read()
"""


def test_the_server_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent, connect(parent.stdout.readline().strip()) as sock:
        os.kill(parent.pid, signal.SIGKILL)
        assert sock.recv(1) == b""


def connected(server: GoldenServer) -> socket.socket:
    return connect(server.url)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
