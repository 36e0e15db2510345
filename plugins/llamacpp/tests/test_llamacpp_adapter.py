"""What is sent to a llama-server, and what it is asked besides."""

import asyncio
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from weeyuga_core.errors import ConfigError, PluginError
from weeyuga_core.interfaces import (
    ColdClaim,
    DescribesModel,
    Discovers,
    EngineAdapter,
    Health,
    Launches,
    Target,
    Usage,
)
from weeyuga_core.model.plan import Cell, Launch, Timeouts
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_llamacpp.adapter import OPTION_HINTS, LlamaCppAdapter

URL = "http://engine.example:8080"
PROPS = {
    "build_info": "b11434-abc",
    "total_slots": 2,
    "model_path": "/home/jo/models/tiny.gguf",
    "model_ftype": "Q4_1",
    "chat_template": "{{ x }}",
    "default_generation_settings": {"n_ctx": 2048, "params": {"temperature": 0.800000011920929, "seed": 1}},
}
MODELS = {"data": [{"id": "/home/jo/models/tiny.gguf", "meta": {"n_params": 135, "size": 98, "ftype": "Q4_1"}}]}


def adapter(answer=None, **cell):
    """An adapter whose enquiries are answered by that function of a request."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer or (lambda _request: httpx.Response(404))))
    return LlamaCppAdapter(fake_target(URL, engine="llamacpp", **cell), http)


def serving(**routes):
    """Answers by path, `_` for `/`; 404 elsewhere, as llama-server does it."""

    def answer(request):
        known = routes.get(request.url.path.strip("/").replace("/", "_"))
        return httpx.Response(200, json=known) if known is not None else httpx.Response(404, json={"error": {}})

    return answer


def sent(one, call=None):
    return json.loads(one.build(call or fake_call()).content)


def test_it_has_the_abilities_that_the_core_looks_for():
    assert isinstance(adapter(), EngineAdapter | Launches | DescribesModel | Discovers)
    for ability in (EngineAdapter, Launches, DescribesModel, Discovers):
        assert isinstance(adapter(), ability)


def test_the_request_is_one_streamed_user_message_with_usage():
    one = adapter(request_model="tiny", options={"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}})
    request = one.build(fake_call("why?\n", max_tokens=64))
    assert (request.method, str(request.url)) == ("POST", f"{URL}/v1/chat/completions")
    assert json.loads(request.content) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "why?\n"}],
        "max_tokens": 64,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert request.headers["accept"] == "text/event-stream"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(("policy", "expected"), [("engine-default", None), ("disabled", False)])
def test_the_prompt_cache_is_left_to_the_engine_unless_the_cell_disables_it(policy, expected):
    assert sent(adapter(prompt_cache=policy)).get("cache_prompt") is expected


def test_the_token_goes_into_the_request_and_the_enquiries():
    seen = []
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda r: seen.append(r) or httpx.Response(200, json={})))
    target = fake_target(URL, engine="llamacpp")
    one = LlamaCppAdapter(Target(cell=target.cell, base_url=URL, timeouts=Timeouts(), token="secret"), http)
    asyncio.run(one.health())
    for request in (one.build(fake_call()), *seen):
        assert request.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("name", OPTION_HINTS)
def test_an_option_that_would_be_overruled_or_passed_over_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"option '{name}' does not belong") as refused:
        adapter(options={name: 1})
    assert refused.value.hint == OPTION_HINTS[name]


@pytest.mark.parametrize(
    ("status", "body", "health"),
    [
        (200, {"status": "ok"}, Health("ready")),
        (503, {"error": {"message": "Loading model"}}, Health("loading", "Loading model")),
        (404, {"error": "nope"}, Health("down", "this is no llama-server: /health answered 404 nope")),
    ],
)
def test_health_tells_loading_from_ready_from_something_else(status, body, health):
    assert asyncio.run(adapter(lambda _request: httpx.Response(status, json=body)).health()) == health


def test_a_refused_connection_and_a_silent_server_are_down():
    def refuse(request):
        raise httpx.ConnectError("connection refused", request=request)

    async def hang(_request):
        await asyncio.Event().wait()

    assert asyncio.run(adapter(refuse).health()) == Health("down", "connection refused")
    assert asyncio.run(adapter(hang).health()) == Health("down", "no answer within 1 s")


def test_every_enquiry_has_a_connection_of_its_own():
    seen = []
    asyncio.run(adapter(lambda r: seen.append(r) or httpx.Response(200, json={})).health())
    assert [request.headers["connection"] for request in seen] == ["close"]


def test_version_and_facts_come_from_the_server_and_hold_no_directory():
    one = adapter(serving(props=PROPS, v1_models=MODELS))
    assert asyncio.run(one.engine_version()) == "b11434-abc"
    assert asyncio.run(one.model_digest()) is None
    facts = asyncio.run(one.facts())
    assert facts["model_file"] == "tiny.gguf"
    assert facts["context"] == 2048
    assert facts["template_sha256"] == hashlib.sha256(PROPS["chat_template"].encode()).hexdigest()
    assert facts["n_params"] == 135
    assert facts["default_sampling"] == {"temperature": 0.8}
    assert "/home/jo" not in json.dumps(facts)


def test_facts_are_of_the_model_that_the_cell_names():
    models = {"data": [{"id": "other", "meta": {"n_params": 1}}, {"id": "mine", "meta": {"n_params": 2}}]}
    assert asyncio.run(adapter(serving(v1_models=models), label="mine").facts()) == {"n_params": 2}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"data": 5, "default_generation_settings": []}', b"\xff", b"<html>"]
)
def test_what_a_server_cannot_tell_is_unknown(body):
    one = adapter(lambda _request: httpx.Response(200, content=body))
    assert asyncio.run(one.engine_version()) is None
    assert asyncio.run(one.facts()) == {}
    assert asyncio.run(one.make_cold()).kind == "process_warm"


def test_the_version_of_the_embedded_engine_is_its_wheels():
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    one = adapter(serving(props=PROPS), launch=Launch(server="xllamacpp", model="tiny.gguf"))
    assert asyncio.run(one.engine_version()) == f"xllamacpp {version('xllamacpp')}"


# --- cold ---------------------------------------------------------------------------------------------------------


def test_a_plain_server_is_admitted_to_stay_warm():
    assert asyncio.run(adapter(serving(props=PROPS)).make_cold()).kind == "process_warm"


def test_a_sleeping_server_is_cold():
    assert asyncio.run(adapter(serving(props=PROPS | {"is_sleeping": True})).make_cold()).kind == "idle_sleep"


def router(states, unload_status=200):
    """A router whose model goes through these states, one at each look."""
    looks = iter(states)

    def answer(request):
        if request.url.path == "/props":
            return httpx.Response(200, json={"role": "router"})
        if request.url.path == "/models/unload":
            assert json.loads(request.content) == {"model": "tiny"}
            return httpx.Response(unload_status, json={"error": {"message": "model is not running"}})
        return httpx.Response(200, json={"data": [{"id": "tiny", "status": {"value": next(looks)}}]})

    return answer


def test_a_router_unloads_the_model_and_is_waited_for():
    one = adapter(router(["loaded", "loaded", "unloaded"]), label="tiny")
    assert asyncio.run(one.make_cold()).kind == "router_reload"


def test_a_model_that_the_router_had_not_loaded_is_cold_too():
    assert asyncio.run(adapter(router(["unloaded"], 400), label="tiny").make_cold()).kind == "router_reload"


def test_a_router_that_does_not_know_the_model_leaves_it_warm_and_says_so():
    def answer(request):
        known = {"/props": {"role": "router"}, "/models": {"data": []}}.get(request.url.path)
        return httpx.Response(200, json=known) if known else httpx.Response(400, json={"error": "unknown model"})

    claim = asyncio.run(adapter(answer, label="tiny").make_cold())
    assert (claim.kind, claim.detail) == ("process_warm", "the router did not unload tiny: unknown model")


@pytest.mark.parametrize("kind", ["process_start", "idle_sleep", "router_reload"])
@pytest.mark.parametrize(("cached", "proven"), [(0, True), (5, False), (None, None)])
def test_cached_tokens_prove_or_disprove_a_reload(kind, cached, proven):
    proof = adapter().prove_cold(ColdClaim(kind), [Usage(ns=1, prompt_tokens=9, cached_prompt_tokens=cached)])
    assert proof.proven is proven
    assert proof.detail


def test_a_warm_process_proves_nothing():
    assert adapter().prove_cold(ColdClaim("process_warm"), [Usage(ns=1, cached_prompt_tokens=0)]).proven is None


# --- launch -------------------------------------------------------------------------------------------------------


def launched(server, **launch):
    cell = Cell(
        id="l:llamacpp:tiny", node="l", engine="llamacpp", label="tiny",
        launch=Launch(server=server, model="models/tiny.gguf", **launch),
    )  # fmt: skip
    return adapter().launch(cell, 4711)


FLAGS = ("--model", "models/tiny.gguf", "--host", "127.0.0.1", "--port", "4711", "--alias", "tiny")


def test_a_binary_is_launched_by_its_path_with_the_flags_of_the_cell():
    spec = launched("bin/llama-server", ctx=4096, threads=2, ngl=0, parallel=1, args=("--no-warmup",))
    sizes = ("--ctx-size", "4096", "--parallel", "1", "--threads", "2", "--gpu-layers", "0")
    assert spec.argv == ("bin/llama-server", *FLAGS, *sizes, "--no-warmup")
    assert spec.files == ("bin/llama-server", "models/tiny.gguf")


def test_a_program_on_path_is_no_file_to_look_for():
    assert launched("llama-server").files == ("models/tiny.gguf",)


def test_the_embedded_engine_runs_in_this_python_with_the_same_flags():
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    spec = launched("xllamacpp")
    assert Path(spec.argv[0]).samefile(sys.executable)
    assert Path(spec.argv[0]).name == "python3"
    assert spec.argv[-len(FLAGS) :] == FLAGS


def test_a_missing_embedded_engine_says_what_to_install(monkeypatch):
    monkeypatch.setattr("weeyuga_llamacpp.adapter.find_spec", lambda _name: None)
    with pytest.raises(PluginError, match="not installed") as told:
        launched("xllamacpp")
    assert told.value.hint == "pip install 'weeyuga-bench-llamacpp[embedded]'"


# --- discover -----------------------------------------------------------------------------------------------------


def discover(answer, *urls):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            return await LlamaCppAdapter.discover(http, urls)

    return asyncio.run(ask())


def test_a_server_is_found_with_its_models_and_no_directory():
    (found,) = discover(serving(props=PROPS, v1_models=MODELS), f"{URL}/")
    assert (found.engine, found.url, found.version, found.models) == ("llamacpp", URL, "b11434-abc", ("tiny.gguf",))


def test_the_default_ports_are_asked_where_no_url_is_given():
    asked = []
    assert discover(lambda r: asked.append(str(r.url)) or httpx.Response(404)) == []
    assert sorted(asked) == ["http://127.0.0.1:11436/props", "http://127.0.0.1:8080/props"]


def test_a_server_that_still_loads_is_found_and_said_to():
    body = {"error": {"message": "Loading model"}}
    (found,) = discover(lambda _r: httpx.Response(503, json=body, headers={"server": "llama.cpp"}), URL)
    assert (found.models, found.note) == ((), "/props answered 503: Loading model")


def test_other_servers_and_silence_are_not_found():
    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    assert discover(refuse, URL) == []
    assert discover(lambda _r: httpx.Response(200, json={"hello": 1}, headers={"server": "nginx"}), URL) == []
