"""What is sent to an Ollama, and what it is asked besides."""

import asyncio
import hashlib
import json

import httpx
import pytest

from weeyuga_core.errors import ConfigError, LaunchError
from weeyuga_core.interfaces import (
    ColdClaim,
    DescribesModel,
    Discovers,
    EngineAdapter,
    EngineTimings,
    Finish,
    Health,
    Launches,
    Target,
)
from weeyuga_core.model.plan import RELOAD_NS, Timeouts
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_ollama import cold
from weeyuga_ollama.adapter import DEFAULT_URL, OllamaAdapter
from weeyuga_ollama.enquiry import FOREIGN_NAME, full_name

URL = "http://engine.example:11434"
HEX = "5" * 64
WEIGHTS = "b" * 64
SHOWN = {
    "modelfile": f"# FROM tiny\nFROM /home/jo/.ollama/models/blobs/sha256-{WEIGHTS}\nTEMPLATE x\n",
    "parameters": 'stop                           "<|im_end|>"\ntemperature                    0.6',
    "template": "{{ .Prompt }}",
    "details": {"format": "gguf", "family": "llama", "parameter_size": "135M", "quantization_level": "Q4_1"},
    "model_info": {"general.architecture": "llama", "general.parameter_count": 135, "llama.context_length": 8192},
    "capabilities": ["completion"],
}


class Ollama:
    """An Ollama as far as enquiries go: models by name, each with its weights file, some of them loaded."""

    def __init__(self, models=None, loaded=(), *, lingers=0, held=False, context=4096):
        self.models = {"tiny:latest": WEIGHTS} if models is None else models
        self.loaded = list(loaded)
        self.going = []
        self.lingers = lingers
        """How many more looks at /api/ps see an unloaded model."""
        self.held = held
        """Whether somebody else's request holds every model."""
        self.context = context
        self.asked = []

    def __call__(self, request):
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.url.path, body))
        name = full_name(body["model"]) if body else None
        if name and name not in self.models:
            return httpx.Response(404, json={"error": f"model '{body['model']}' not found"})
        return httpx.Response(200, json=getattr(self, request.url.path.removeprefix("/api/"))(name, body))

    def version(self, _name, _body):
        return {"version": "0.32.15"}

    def tags(self, _name, _body):
        return {"models": [{"name": name, "model": name, "digest": HEX} for name in self.models]}

    def show(self, name, _body):
        return SHOWN | {"modelfile": f"FROM /somewhere/sha256-{self.models[name]}\n"}

    def ps(self, _name, _body):
        if self.going and not self.held:
            if not self.lingers:
                self.loaded = [name for name in self.loaded if self.models[name] not in self.going]
            self.lingers = max(self.lingers - 1, 0)
        return {"models": [{"name": n, "size": 7, "size_vram": 3, "context_length": self.context} for n in self.loaded]}

    def chat(self, name, body):
        if body.get("keep_alive") == 0:
            self.going.append(self.models[name])
            return {"done": True, "done_reason": "unload"}
        if self.models[name] not in map(self.models.get, self.loaded):
            self.loaded.append(name)
        return {"done": True, "done_reason": "load"}

    def unloaded(self):
        """The names that were asked to leave."""
        return [body["model"] for path, body in self.asked if path == "/api/chat" and body.get("keep_alive") == 0]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(cold, "PAUSE_S", 0.0)


def adapter(answer=None, **cell):
    """An adapter whose enquiries are answered by that function of a request."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer or (lambda _request: httpx.Response(404))))
    return OllamaAdapter(fake_target(URL, engine="ollama", **({"label": "tiny"} | cell)), http)


def always(status, **body):
    return lambda _request: httpx.Response(status, **body)


def refuse(request):
    raise httpx.ConnectError("connection refused", request=request)


# --- build --------------------------------------------------------------------------------------------------------


def test_it_has_the_abilities_that_the_core_looks_for():
    for ability in (EngineAdapter, DescribesModel, Discovers):
        assert isinstance(adapter(), ability)
    assert not isinstance(adapter(), Launches)


def test_the_native_request_is_one_streamed_user_message():
    one = adapter(label="smollm2:135m", options={"temperature": 0, "num_ctx": 2048, "think": False})
    request = one.build(fake_call("why?\n", max_tokens=64))
    assert (request.method, str(request.url)) == ("POST", f"{URL}/api/chat")
    assert json.loads(request.content) == {
        "model": "smollm2:135m",
        "messages": [{"role": "user", "content": "why?\n"}],
        "stream": True,
        "options": {"temperature": 0, "num_ctx": 2048, "num_predict": 64},
        "think": False,
    }
    assert request.headers["accept"] == "application/x-ndjson"
    assert "authorization" not in request.headers


def test_the_openai_request_asks_for_usage():
    request = adapter(options={"api": "openai", "reasoning_effort": "none"}).build(fake_call("why?\n", max_tokens=64))
    assert str(request.url) == f"{URL}/v1/chat/completions"
    assert json.loads(request.content) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "why?\n"}],
        "max_tokens": 64,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "none",
    }


def test_the_token_goes_into_the_request_and_the_enquiries():
    seen = []
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda r: seen.append(r) or httpx.Response(200, json={})))
    cell = fake_target(URL, engine="ollama").cell
    one = OllamaAdapter(Target(cell=cell, base_url=URL, timeouts=Timeouts(), token="secret"), http)
    asyncio.run(one.health())
    for request in (one.build(fake_call()), *seen):
        assert request.headers["authorization"] == "Bearer secret"


def test_a_prompt_cache_that_cannot_be_disabled_is_not_said_to_be():
    with pytest.raises(ConfigError, match="`prompt_cache: disabled` cannot be done"):
        adapter(prompt_cache="disabled")


# --- health, identity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "health"),
    [
        (200, {"json": {"version": "0.32.15"}}, Health("ready")),
        (200, {"json": {"status": "ok"}}, Health("down", "this is no Ollama: /api/version answered 200")),
        (403, {}, Health("down", FOREIGN_NAME)),
        (403, {"text": "log in"}, Health("down", "this is no Ollama: /api/version answered 403 log in")),
        (404, {"json": {"error": "no"}}, Health("down", "this is no Ollama: /api/version answered 404 no")),
    ],
)
def test_health_tells_an_ollama_from_something_else(status, body, health):
    assert asyncio.run(adapter(always(status, **body)).health()) == health


def test_a_refused_connection_and_a_silent_server_are_down():
    async def hang(_request):
        await asyncio.Event().wait()

    assert asyncio.run(adapter(refuse).health()) == Health("down", "connection refused")
    assert asyncio.run(adapter(hang).health()) == Health("down", "no answer within 1 s")


@pytest.mark.parametrize(("told", "version"), [("0.32.15", "0.32.15"), ("0.0.0", None), ("", None), (5, None)])
def test_the_version_is_what_ollama_says_unless_it_says_nothing(told, version):
    assert asyncio.run(adapter(always(200, json={"version": told})).engine_version()) == version


@pytest.mark.parametrize(
    ("asked", "listed", "equal"),
    [
        ("gemma", "gemma:latest", True),
        ("gemma:latest", "gemma", True),
        ("Gemma:2B", "gemma:2b", True),
        ("gemma", "gemma:2b", False),
        ("library/gemma", "gemma:latest", True),
        ("registry.ollama.ai/library/gemma:2b", "gemma:2b", True),
        ("host:5000/me/gemma", "host:5000/me/gemma:latest", True),
        ("me/gemma", "gemma", False),
    ],
)
def test_a_name_without_a_tag_is_the_latest(asked, listed, equal):
    assert (full_name(asked) == full_name(listed)) is equal
    digest = asyncio.run(adapter(Ollama({full_name(listed): WEIGHTS}), label=asked).model_digest())
    assert digest == (f"sha256:{HEX}" if equal else None)


def test_a_digest_that_has_its_prefix_gets_no_second_one():
    listed = {"models": [{"name": "tiny:latest", "digest": f"sha256:{HEX}"}]}
    assert asyncio.run(adapter(always(200, json=listed)).model_digest()) == f"sha256:{HEX}"


def test_facts_hold_what_shapes_the_numbers_and_no_directory():
    facts = asyncio.run(adapter(Ollama()).facts())
    assert facts == {
        "format": "gguf",
        "family": "llama",
        "parameter_size": "135M",
        "parameter_count": 135,
        "quantization": "Q4_1",
        "capabilities": ["completion"],
        "trained_context": 8192,
        "context": 4096,
        "default_parameters": ['stop "<|im_end|>"', "temperature 0.6"],
        "template_sha256": hashlib.sha256(b"{{ .Prompt }}").hexdigest(),
        "weights_sha256": WEIGHTS,
        "resident_bytes": 7,
        "vram_bytes": 3,
    }


def test_the_model_is_loaded_for_its_facts_with_the_options_of_every_call():
    ollama = Ollama()
    one = adapter(ollama, options={"num_ctx": 2048, "keep_alive": "10m", "think": False})
    asyncio.run(one.facts())
    load = next(body for path, body in ollama.asked if path == "/api/chat")
    call = json.loads(one.build(fake_call()).content)
    assert load["messages"] == []
    assert {**load["options"], "num_predict": call["options"]["num_predict"]} == call["options"]
    assert load.keys() == call.keys()
    assert {name: load[name] for name in ("model", "keep_alive", "think")} == {
        name: call[name] for name in ("model", "keep_alive", "think")
    }


def test_the_context_is_what_the_engine_made_of_the_wish():
    assert asyncio.run(adapter(Ollama(context=8192), options={"num_ctx": 999_999}).facts())["context"] == 8192


@pytest.mark.parametrize(("options", "context"), [({"num_ctx": 2048}, 2048), ({}, None)])
def test_where_the_engine_does_not_tell_the_context_is_the_wish(options, context):
    assert asyncio.run(adapter(always(500, json={"error": "no"}), options=options).facts()).get("context") == context


def test_facts_of_a_model_that_is_loaded_under_another_name_of_its_weights():
    ollama = Ollama({"tiny:latest": WEIGHTS, "twin:latest": WEIGHTS, "big:7b": "c" * 64}, ["twin:latest", "big:7b"])
    facts = asyncio.run(adapter(ollama).facts())
    assert facts["context"] == 4096
    assert facts["resident_beside"] == ["big:7b"]


@pytest.mark.parametrize("method", ["facts", "make_cold"])
def test_an_unknown_model_says_what_to_type(method):
    with pytest.raises(LaunchError, match="^model 'nope' not found; to get it, type: ollama pull nope$"):
        asyncio.run(getattr(adapter(Ollama(), label="nope"), method)())


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"models": 5, "model_info": []}', b'{"models": [5, {}]}', b"\xff", b"<html>"]
)
def test_what_a_server_cannot_tell_is_unknown(body):
    one = adapter(always(200, content=body))
    assert asyncio.run(one.engine_version()) is None
    assert asyncio.run(one.model_digest()) is None
    assert asyncio.run(one.facts()) == {}


def test_every_enquiry_has_a_connection_of_its_own():
    seen = []
    asyncio.run(adapter(lambda r: seen.append(r) or httpx.Response(200, json={})).health())
    assert [request.headers["connection"] for request in seen] == ["close"]


# --- cold ---------------------------------------------------------------------------------------------------------


def test_the_model_is_unloaded_and_waited_for():
    ollama = Ollama(loaded=["tiny:latest"], lingers=3)
    claim = asyncio.run(adapter(ollama).make_cold())
    assert claim == ColdClaim("ollama_unload", "resident beside it: nothing")
    assert ollama.loaded == []


def test_the_unload_carries_the_options_of_every_call():
    ollama = Ollama()
    asyncio.run(adapter(ollama, options={"num_ctx": 2048, "keep_alive": "10m"}).make_cold())
    unload = next(body for path, body in ollama.asked if path == "/api/chat")
    assert unload == {"model": "tiny", "messages": [], "stream": True, "options": {"num_ctx": 2048}, "keep_alive": 0}


def test_it_pauses_after_the_model_is_gone(monkeypatch):
    pauses = []

    async def pause(seconds):
        pauses.append((seconds, list(ollama.loaded)))

    ollama = Ollama(loaded=["tiny:latest"], lingers=2)
    monkeypatch.setattr(cold, "PAUSE_S", 2.0)
    monkeypatch.setattr(cold.asyncio, "sleep", pause)
    asyncio.run(adapter(ollama).make_cold())
    assert pauses[-1] == (2.0, [])
    assert {seconds for seconds, _ in pauses[:-1]} == {cold.POLL_S}


BESIDE = {"tiny:latest": WEIGHTS, "big:7b": "c" * 64, "other:1b": "d" * 64}


def test_other_models_stay_and_are_named():
    ollama = Ollama(BESIDE, list(BESIDE))
    claim = asyncio.run(adapter(ollama).make_cold())
    assert claim == ColdClaim("ollama_unload", "resident beside it: big:7b, other:1b")
    assert ollama.unloaded() == ["tiny"]


def test_other_models_go_where_the_cell_says_so():
    ollama = Ollama(BESIDE, list(BESIDE), lingers=2)
    claim = asyncio.run(adapter(ollama, options={"unload_others": True}).make_cold())
    assert claim == ColdClaim("ollama_unload", "resident beside it: nothing")
    assert (ollama.unloaded(), ollama.loaded) == (["big:7b", "other:1b", "tiny"], [])


def test_a_twin_of_the_same_weights_is_waited_for():
    ollama = Ollama({"tiny:latest": WEIGHTS, "twin:latest": WEIGHTS}, ["twin:latest"], lingers=3)
    claim = asyncio.run(adapter(ollama).make_cold())
    assert claim == ColdClaim("ollama_unload", "resident beside it: nothing")


def test_a_model_that_somebody_else_holds_is_admitted_to_be_warm(monkeypatch):
    monkeypatch.setattr(cold, "UNLOAD_S", 0.0)
    claim = asyncio.run(adapter(Ollama(loaded=["tiny:latest"], held=True)).make_cold())
    assert claim == ColdClaim("process_warm", "Ollama still held tiny:latest after 0 s: somebody else uses it")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(refuse, "connection refused"), (always(500, json={"error": "boom"}), "/api/ps answered 500 boom")],
)
def test_a_server_that_cannot_unload_leaves_the_model_warm_and_says_so(answer, words):
    claim = asyncio.run(adapter(answer).make_cold())
    assert claim == ColdClaim("process_warm", f"Ollama did not unload tiny: {words}")


CLAIM = ColdClaim("ollama_unload", "resident beside it: nothing")


@pytest.mark.parametrize(
    ("load_ns", "proven", "words"),
    [
        (812_345_678, True, "loading took 812.3 ms"),
        (RELOAD_NS, True, "loading took 100.0 ms"),
        (RELOAD_NS - 1, False, "loading took 100.0 ms, a load takes 100 ms or more"),
        (1_686_154, False, "loading took 1.7 ms, a load takes 100 ms or more"),
        (None, None, "the answer does not tell how long loading took"),
    ],
)
def test_the_load_duration_proves_or_disproves_the_unload(load_ns, proven, words):
    proof = adapter().prove_cold(CLAIM, [EngineTimings(ns=1, load_ns=load_ns)])
    assert (proof.proven, proof.detail) == (proven, words)


def test_an_answer_without_durations_proves_nothing():
    assert adapter().prove_cold(CLAIM, [Finish(1, "stop")]).proven is None


def test_a_warm_process_proves_nothing():
    proof = adapter().prove_cold(ColdClaim("process_warm", "held"), [EngineTimings(ns=1, load_ns=10**9)])
    assert (proof.proven, proof.detail) == (None, "nothing to prove: process_warm")


# --- discover -----------------------------------------------------------------------------------------------------


def discover(answer, *urls):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            return await OllamaAdapter.discover(http, urls)

    return asyncio.run(ask())


def test_a_server_is_found_with_its_models():
    (found,) = discover(Ollama(BESIDE), f"{URL}/")
    assert (found.engine, found.url, found.version) == ("ollama", URL, "0.32.15")
    assert (found.models, found.note) == (tuple(BESIDE), "")


def test_the_default_port_is_asked_where_no_url_is_given():
    asked = []
    assert discover(lambda r: asked.append(str(r.url)) or httpx.Response(404)) == []
    assert asked == [f"{DEFAULT_URL}/api/version"]


def test_models_that_think_are_named_and_those_that_cannot_be_measured_left_out():
    models = [
        {"name": "plain:1b", "capabilities": ["completion"]},
        {"name": "deep:1b", "capabilities": ["completion", "thinking"]},
        {"name": "vectors:1b", "capabilities": ["embedding"]},
        {"name": "far:400b", "capabilities": ["completion"], "remote_host": "https://elsewhere.example"},
        {"name": "old:1b"},
    ]
    (found,) = discover(always(200, json={"version": "0.32.15", "models": models}), URL)
    assert found.models == ("plain:1b", "deep:1b", "old:1b")
    assert found.note == "thinking unless `think: false` is in its options: deep:1b"


def test_other_servers_and_silence_are_not_found():
    assert discover(refuse, URL) == []
    assert discover(always(200, json={"hello": 1}), URL) == []
    assert discover(always(403), URL) == []
