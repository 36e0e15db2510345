"""Calls to a real Ollama with real models: what it says, and that the plugin understands it."""

import asyncio
import hashlib
import json
import os
import signal

import httpx
import pytest
from conditions import wait_until
from ollama_parts import CONTEXT, OTHER, PARTS, PLAIN, THINKING, TIMEOUTS, a_call, target

from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import Answer, ColdClaim, EngineTimings, Reasoning, StreamError
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.reconcile import reconcile, reloaded
from weeyuga_core.measure.timing import time_call
from weeyuga_core.model.plan import RELOAD_NS
from weeyuga_ollama.adapter import OllamaAdapter
from weeyuga_ollama.cold import proof
from weeyuga_ollama.enquiry import FOREIGN_NAME

pytestmark = pytest.mark.real

UNLOADED = ColdClaim("ollama_unload")
LONG = "Count from one to one thousand."


def text(events, kind):
    return "".join(event.text for event in events if isinstance(event, kind))


def timings(events):
    return next(event for event in events if isinstance(event, EngineTimings))


def refusal(events):
    (error,) = [event for event in events if isinstance(event, StreamError)]
    return error


# --- what it says of itself -----------------------------------------------------------------------------------------


def test_it_says_what_it_is_and_what_it_serves(ollama, ollama_store, model):
    health, version, digest = ollama.ask("health", "engine_version", "model_digest")
    assert health.state == "ready"
    assert version == "0.32.15"
    manifest = ollama_store / "manifests" / "registry.ollama.ai" / "library" / "smollm2" / "135m"
    assert digest == f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}"


def test_a_name_without_a_tag_finds_the_latest(ollama):
    assert ollama.ask("model_digest", label="other") == ollama.ask("model_digest", label=OTHER) != [None]


def test_facts_of_the_model_hold_no_directory(ollama, ollama_store, model):
    (facts,) = ollama.ask("facts", num_ctx=512)
    assert (facts["quantization"], facts["parameter_size"], facts["family"]) == ("Q4_1", "134.52M", "llama")
    assert (facts["context"], facts["trained_context"]) == (512, 8192)
    assert facts["capabilities"] == ["completion"]
    with model.open("rb") as file:
        assert facts["weights_sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert len(facts["template_sha256"]) == 64
    assert facts["resident_bytes"] > 0
    for directory in (ollama_store, PARTS, model.parent):
        assert str(directory) not in json.dumps(facts)


def test_the_context_is_known_where_the_cell_does_not_say_it(ollama):
    ollama.unload(PLAIN)
    assert ollama.ask("facts")[0]["context"] == CONTEXT


def test_the_context_is_known_when_another_name_loaded_the_weights(ollama):
    ollama.unload(PLAIN)
    ollama.call(label=THINKING)
    assert ollama.resident() >= {THINKING}
    (facts,) = ollama.ask("facts")
    assert facts["context"] == CONTEXT
    assert THINKING not in facts.get("resident_beside", [])


def test_it_is_discovered(ollama):
    async def discover():
        async with httpx.AsyncClient(trust_env=False) as http:
            return await OllamaAdapter.discover(http, [ollama.url])

    (found,) = asyncio.run(discover())
    assert (found.url, found.version) == (ollama.url, "0.32.15")
    assert sorted(found.models) == [OTHER, PLAIN, THINKING]
    assert found.note.endswith(f": {THINKING}")


def test_a_host_name_that_it_refuses_is_explained(ollama):
    """Asked as a proxy, it sees the name of a host that it does not think it is."""

    async def health():
        async with httpx.AsyncClient(proxy=ollama.url, trust_env=False) as http:
            return await OllamaAdapter(target("http://bench.example:11434"), http).health()

    said = asyncio.run(health())
    assert (said.state, said.detail) == ("down", FOREIGN_NAME)


# --- calls ----------------------------------------------------------------------------------------------------------


def test_a_call_is_measured_and_nothing_in_it_contradicts_itself(ollama):
    ollama.call()
    exchange, events = ollama.call(max_tokens=24)
    timing = time_call(exchange, events)
    assert (timing.error, timing.finish_reason) == (None, "stop")
    assert text(events, Answer).strip()
    assert timing.prompt_tokens > 0
    # A token each, and one that ends the answer without any text.
    assert timing.delta_count <= timing.completion_tokens <= 24
    assert 0 < timing.headers_ns <= timing.first_chunk_ns <= timing.first_delta_ns <= timing.last_delta_ns
    assert timings(events).total_ns < timing.total_duration_ns
    too_short = [
        flag for flag in reconcile(timing, events) if flag.startswith(("total_", "first_delta_", "completion_"))
    ]
    assert too_short == []


def test_the_engines_clock_starts_at_the_first_token(ollama):
    """One token takes no time at all: `eval_duration` spans one interval less than there are tokens."""
    one, two = (timings(ollama.call(LONG, n)[1]) for n in (1, 2))
    assert (one.predicted_n, one.predicted_intervals, two.predicted_n, two.predicted_intervals) == (1, 0, 2, 1)
    assert one.predicted_ns * 100 < two.predicted_ns


def test_the_budget_is_the_prompts(ollama):
    exchange, events = ollama.call(LONG, 5)
    timing = time_call(exchange, events)
    assert (timing.completion_tokens, timing.finish_reason) == (5, "length")


def test_the_openai_route_says_the_same_without_durations(ollama):
    _, native = ollama.call(max_tokens=24)
    exchange, openai = ollama.call(max_tokens=24, api="openai")
    timing = time_call(exchange, openai)
    assert (timing.error, timing.finish_reason) == (None, "stop")
    assert timing.response_id.startswith("chatcmpl-")
    assert timing.completion_tokens == timings(native).predicted_n
    assert text(openai, Answer) == text(native, Answer)
    assert proof(UNLOADED, openai).proven is None


# --- thinking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"think": True}, {"think": "low"}, {"api": "openai", "reasoning_effort": "low"}])
def test_reasoning_and_answer_are_told_apart(ollama, options):
    exchange, events = ollama.call("Say hello.", 32, label=THINKING, **options)
    timing = time_call(exchange, events)
    assert timing.error is None
    assert text(events, Reasoning).strip()
    assert text(events, Answer).strip()
    assert timing.first_delta_ns == timing.first_reasoning_ns <= timing.first_answer_ns


@pytest.mark.parametrize("options", [{"think": False}, {"api": "openai", "reasoning_effort": "none"}])
def test_thinking_can_be_switched_off(ollama, options):
    _, events = ollama.call("Say hello.", 8, label=THINKING, **options)
    assert text(events, Answer).strip()
    assert not text(events, Reasoning)


def test_a_budget_spent_on_thinking_is_seen(ollama):
    timing = time_call(*ollama.call("Say hello.", 2, label=THINKING, think=True))
    assert (timing.finish_reason, timing.answer_chars) == ("length", 0)
    assert "empty_answer: budget spent on reasoning" in timing.call_flags


@pytest.mark.parametrize("options", [{"think": True}, {"api": "openai", "reasoning_effort": "high"}])
def test_thinking_is_refused_by_a_model_that_cannot(ollama, options):
    exchange, events = ollama.call(**options)
    error = refusal(events)
    assert error.kind == time_call(exchange, events).error_kind == "http_400"
    assert error.message.startswith(f'"{PLAIN}" does not support thinking; take ')


@pytest.mark.parametrize("api", ["native", "openai"])
def test_an_unknown_model_says_what_to_type(ollama, api):
    exchange, events = ollama.call(label="nope:7b", api=api)
    assert time_call(exchange, events).error_kind == "http_404"
    assert refusal(events).message == "model 'nope:7b' not found; to get it, type: ollama pull nope:7b"
    for method in ("facts", "make_cold"):
        with pytest.raises(LaunchError, match="not found; to get it, type: ollama pull nope:7b"):
            ollama.ask(method, label="nope:7b", api=api)


def test_a_full_queue_is_told_in_its_words(start_ollama):
    """Each of these calls needs the model loaded in another way, and only one may wait for that."""
    one = start_ollama(OLLAMA_MAX_QUEUE="1")

    async def crowd():
        async with httpx.AsyncClient(trust_env=False) as http, MeasuringClient() as client:
            adapters = [one.adapter(http, num_ctx=512 * n) for n in range(1, 7)]
            requests = [adapter.build(a_call("hi", 2)) for adapter in adapters]
            exchanges = await asyncio.gather(*(client.exchange(request, TIMEOUTS) for request in requests))
            return [list(adapters[0].events(exchange.reply)) for exchange in exchanges]

    refused = [events for events in asyncio.run(crowd()) if any(isinstance(event, StreamError) for event in events)]
    assert 0 < len(refused) < 6
    for events in refused:
        assert refusal(events).kind == "http_503"
        assert refusal(events).message.startswith("server busy, please try again.")


# --- cold and warm ---------------------------------------------------------------------------------------------------


def test_an_unload_is_proven_by_the_answer_and_a_warm_call_is_not_passed_off_as_cold(ollama):
    ollama.call()
    (claim,) = ollama.ask("make_cold")
    assert claim.kind == "ollama_unload"
    _, cold = ollama.call()
    assert proof(claim, cold).proven is True
    # A busy machine may hold up one call while the model is handed to it: what it takes shows in the quickest of some.
    warm = min((ollama.call()[1] for _ in range(3)), key=lambda events: timings(events).load_ns)
    assert proof(claim, warm).proven is False
    assert reloaded(warm) == ()
    assert timings(warm).load_ns < RELOAD_NS <= timings(cold).load_ns


def test_what_is_asked_for_facts_and_warming_up_reloads_nothing(ollama):
    options = {"num_ctx": 768, "num_thread": 2, "keep_alive": "10m", "top_k": 5}
    ollama.ask("make_cold", "facts", **options)
    engines = ollama.engines()
    for _ in range(2):
        ollama.call(**options)
    assert engines
    assert ollama.engines() == engines, "a model that is loaded again is in a new process"


def test_other_options_reload_the_model_and_the_call_is_flagged(ollama):
    ollama.call(num_ctx=1024)
    assert reloaded(ollama.call(num_ctx=512)[1]) != ()
    engines = ollama.engines()
    ollama.call(num_ctx=512)
    assert ollama.engines() == engines, "a model that is loaded again is in a new process"


def test_models_beside_it_are_named_and_unloaded_where_the_cell_says_so(ollama):
    ollama.call()
    ollama.call(label=OTHER)
    (claim,) = ollama.ask("make_cold")
    assert claim == ColdClaim("ollama_unload", f"resident beside it: {OTHER}")
    assert ollama.resident() == {OTHER}
    (claim,) = ollama.ask("make_cold", unload_others=True)
    assert claim == ColdClaim("ollama_unload", "resident beside it: nothing")
    assert ollama.resident() == set()


def test_a_twin_of_the_same_weights_leaves_with_the_model(ollama):
    ollama.unload(PLAIN, OTHER)
    ollama.call(label=THINKING)
    (claim,) = ollama.ask("make_cold")
    assert claim == ColdClaim("ollama_unload", "resident beside it: nothing")
    assert ollama.resident() == set()
    assert proof(claim, ollama.call()[1]).proven is True


# --- in mid-run ------------------------------------------------------------------------------------------------------


def test_ollama_stop_in_mid_answer_lets_it_end_and_reloads_in_the_next(ollama):
    ollama.call()
    engines, answering = ollama.engines(), []

    def stop():
        answering.append(ollama.wait_for_an_answer())
        ollama.command("stop", PLAIN)

    exchange, events = ollama.call(LONG, 120, beside=stop)
    assert time_call(exchange, events).error is None
    assert engines.keys() >= set(answering), "a model that is loaded again is in a new process"
    wait_until(lambda: PLAIN not in ollama.resident(), "the model to leave")
    assert reloaded(ollama.call()[1]) != ()


@pytest.mark.parametrize("api", ["native", "openai"])
def test_an_engine_killed_in_mid_answer_is_an_error_and_no_answer(start_ollama, api):
    one = start_ollama()
    one.call()
    exchange, events = one.call(LONG, 900, api=api, beside=lambda: os.kill(one.wait_for_an_answer(), signal.SIGKILL))
    timing = time_call(exchange, events)
    assert timing.delta_count > 0
    # The OpenAI-style route loses the message of an error in mid-stream.
    assert timing.error_kind == ("engine_error" if api == "native" else "stream_truncated")
    assert time_call(*one.call(api=api)).error is None


def test_an_ollama_killed_in_mid_answer_is_an_error_and_no_answer(start_ollama):
    one = start_ollama()

    def kill():
        one.wait_for_an_answer()
        os.kill(one.pid, signal.SIGKILL)

    timing = time_call(*one.call(LONG, 900, beside=kill))
    assert timing.delta_count > 0
    assert timing.error_kind == "reset"


def test_nothing_of_it_is_left_when_it_is_stopped(start_ollama):
    one = start_ollama()
    one.call()
    assert one.engines()
    one.stop()
    assert one.engines() == {}
