"""Calls to the real llama.cpp engine with a real model."""

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from weeyuga_core.interfaces import Answer, ColdClaim, Done, Finish, Reasoning, StreamError, Usage
from weeyuga_core.measure.timing import time_call

pytestmark = pytest.mark.real

TEMPLATE = Path(__file__).parents[2] / "plugins" / "llamacpp" / "tests" / "data" / "think.jinja"
"""A chat template that opens a think tag: any model then streams reasoning."""
FRESH = ColdClaim("process_start")


def text(events, kind):
    return "".join(event.text for event in events if isinstance(event, kind))


def cached(events):
    return next(event.cached_prompt_tokens for event in events if isinstance(event, Usage))


def test_the_easy_prompt_is_answered_cold_and_then_from_the_cache(engine, easy):
    one = engine()
    one.start()
    exchange, events = one.call(easy.text, easy.max_tokens)
    timing = time_call(exchange, events)
    assert timing.error is None
    assert timing.finish_reason == "stop"
    assert text(events, Answer).strip()
    assert timing.response_id.startswith("chatcmpl-")
    assert timing.prompt_tokens > 0
    # A token each, and one that ends the answer without any text.
    assert timing.delta_count <= timing.completion_tokens <= easy.max_tokens
    assert timing.engine_timings["predicted_n"] == timing.completion_tokens
    assert timing.engine_timings["prompt_n"] == timing.prompt_tokens
    assert 0 < timing.headers_ns <= timing.first_chunk_ns <= timing.first_delta_ns <= timing.last_delta_ns
    with httpx.Client() as http:
        proof = one.adapter(http).prove_cold(FRESH, events)
        assert proof.proven is True
        _, again = one.call(easy.text, easy.max_tokens)
        assert cached(again) > 0
        assert one.adapter(http).prove_cold(FRESH, again).proven is False


def test_a_disabled_prompt_cache_is_never_hit(engine):
    one = engine(prompt_cache="disabled")
    one.start()
    assert [cached(one.call()[1]) for _ in range(3)] == [0, 0, 0]


def test_a_reasoning_stream_is_told_apart_from_its_answer(engine):
    one = engine(args=("--chat-template-file", str(TEMPLATE), "--reasoning-budget", "6"))
    one.start()
    exchange, events = one.call(max_tokens=24)
    timing = time_call(exchange, events)
    assert timing.error is None
    assert text(events, Reasoning).strip()
    assert text(events, Answer).strip()
    assert timing.first_delta_ns == timing.first_reasoning_ns <= timing.first_answer_ns


def test_a_budget_spent_on_reasoning_is_seen(engine):
    one = engine(args=("--chat-template-file", str(TEMPLATE)))
    one.start()
    timing = time_call(*one.call(max_tokens=6))
    assert (timing.error, timing.finish_reason, timing.answer_chars) == (None, "length", 0)
    assert timing.reasoning_chars > 0


def test_a_prompt_that_is_too_long_is_refused_in_the_engines_words(shared):
    exchange, events = shared.call("word " * 2000)
    said = json.loads(exchange.reply.body)["error"]
    assert [(event.kind, event.message) for event in events if isinstance(event, StreamError)] == [
        ("http_400", said["message"])
    ]
    assert said["n_ctx"] == 1024
    assert time_call(exchange, events).error_kind == "http_400"


def test_an_option_of_the_wrong_kind_is_refused_and_not_passed_over(engine, shared):
    wrong = engine(options={"chat_template_kwargs": {"enable_thinking": "false"}})
    wrong.port = shared.port
    exchange, events = wrong.call()
    assert exchange.reply.status == 400
    assert any(isinstance(event, StreamError) for event in events)


def test_an_engine_killed_in_mid_stream_is_an_error_and_no_answer(engine):
    one = engine(options={"ignore_eos": True})
    server = one.start()

    async def kill_in_mid_stream(adapter):
        async with httpx.AsyncClient(trust_env=False) as http:
            while await decoded(http, one.port) < 5:
                await asyncio.sleep(0.01)
        os.kill(server.pid, signal.SIGKILL)

    exchange, events = one.call(max_tokens=900, beside=kill_in_mid_stream)
    timing = time_call(exchange, events)
    assert timing.delta_count > 0
    assert timing.error_kind == "reset"
    assert not any(isinstance(event, Finish | Done) for event in events)
    one.stop()
    assert server.exit_code() == -signal.SIGKILL


async def decoded(http, port):
    """How many tokens the engine has made for the call under way; 0 when there is none."""
    answer = await http.get(f"http://127.0.0.1:{port}/slots", headers={"connection": "close"})
    (slot,) = answer.json()
    return slot["next_token"][0]["n_decoded"] if slot["is_processing"] else 0


def test_a_server_that_fell_asleep_is_cold_again(engine):
    one = engine(args=("--sleep-idle-seconds", "1"))
    one.start()
    one.call()
    claims = [ColdClaim("process_warm")]
    while claims[-1].kind == "process_warm":
        claims += one.ask("make_cold")
    assert claims[-1].kind == "idle_sleep"
    _, events = one.call()
    with httpx.Client() as http:
        assert one.adapter(http).prove_cold(claims[-1], events).proven is True


def test_what_the_server_says_of_itself_holds_no_directory(shared, model):
    version, digest, facts, claim = shared.ask("engine_version", "model_digest", "facts", "make_cold")
    assert version.startswith("xllamacpp 20")
    assert digest is None
    assert (facts["context"], facts["total_slots"], facts["ftype"]) == (1024, 1, "Q4_1")
    assert facts["model_file"] == model.name
    assert str(model.parent) not in json.dumps(facts)
    assert claim.kind == "process_warm"


def test_the_server_is_discovered(shared):
    async def discover():
        async with httpx.AsyncClient(trust_env=False) as http:
            return await shared.adapter(http).discover(http, [f"http://127.0.0.1:{shared.port}"])

    (found,) = asyncio.run(discover())
    assert found.models == ("smollm2",)
