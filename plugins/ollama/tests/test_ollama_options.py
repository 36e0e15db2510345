"""Which options a cell may have, and where they go."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import ConfigError, UsageError
from weeyuga_core.testing.fakes import fake_call, fake_target
from weeyuga_ollama.adapter import OllamaAdapter
from weeyuga_ollama.options import OPENAI, OURS, REQUEST, RUNNER

EXAMPLES = {
    "one of native, openai": "native",
    "a whole number": 4,
    "a number": 0.5,
    "one of true, false": True,
    "a list of texts": ["x"],
    "a list": [{}],
    "json, or a JSON schema": "json",
    "a mapping": {"type": "json_object"},
    "seconds, or a time such as 10m (negative: for ever)": "10m",
    "one of true, false, low, medium, high, max": "low",
    "one of none, minimal, low, medium, high, max": "none",
}
"""A value of every kind, by the words of the kind."""


def adapter(**options):
    target = fake_target(engine="ollama", options=options)
    return OllamaAdapter(target, httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404))))


def sent(**options):
    return json.loads(adapter(**options).build(fake_call("why?\n", max_tokens=64)).content)


def refused(**options):
    with pytest.raises(ConfigError) as told:
        adapter(**options)
    assert isinstance(told.value, UsageError)
    assert "cell here:ollama:model" in told.value.message
    return told.value


@pytest.mark.parametrize("name", RUNNER)
def test_a_runner_option_goes_into_the_options_of_the_request(name):
    value = EXAMPLES[RUNNER[name].words]
    body = sent(**{name: value})
    assert body["options"] == {name: value, "num_predict": 64}
    assert name not in body


@pytest.mark.parametrize("name", REQUEST)
def test_an_option_of_the_request_stands_beside_them(name):
    value = EXAMPLES[REQUEST[name].words]
    body = sent(**{name: value})
    assert body[name] == value
    assert body["options"] == {"num_predict": 64}


@pytest.mark.parametrize("name", OPENAI)
def test_an_option_of_the_openai_route_stands_in_the_request(name):
    value = EXAMPLES[OPENAI[name].words]
    body = sent(api="openai", **{name: value})
    assert body[name] == value
    assert body["max_tokens"] == 64
    assert "options" not in body


@pytest.mark.parametrize("name", OURS)
def test_our_own_options_are_not_sent(name):
    assert name not in json.dumps(sent(**{name: EXAMPLES[OURS[name].words]}))


@pytest.mark.parametrize("think", [True, False, "low", "medium", "high", "max"])
def test_think_is_sent_as_it_is_written(think):
    assert repr(sent(think=think)["think"]) == repr(think)


@pytest.mark.parametrize("think", ["off", "on", "much", "", 1, 0, None, ["low"]])
def test_a_think_that_ollama_has_not_got_is_refused_before_any_call(think):
    assert refused(think=think).hint == "expected one of true, false, low, medium, high, max"


@pytest.mark.parametrize("name", sorted((RUNNER | REQUEST).keys() - OPENAI.keys() - {"think"}))
def test_what_the_openai_route_drops_in_silence_is_refused_there(name):
    error = refused(api="openai", **{name: EXAMPLES[(RUNNER | REQUEST)[name].words]})
    assert f"option {name!r} does not belong to an ollama cell with `api: openai`" in error.message
    assert "`api: native` takes it" in error.hint


def test_think_on_the_openai_route_says_what_it_is_called_there():
    assert "reasoning_effort: none" in refused(api="openai", think=False).hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("num_ctxx", "did you mean num_ctx?"),
        ("n_gpu_layers", "Ollama calls it num_gpu"),
        ("chat_template_kwargs", "Ollama calls it think"),
        ("max_tokens", "a prompt's max_tokens is the budget"),
        ("num_predict", "a prompt's max_tokens is the budget"),
        ("stream", "the harness sets it"),
        ("cache_prompt", "Ollama has no such switch; its prompt cache is always on"),
        ("options", "write what is in it beside it: options: {num_ctx: 4096}"),
    ],
)
def test_an_option_that_ollama_would_pass_over_is_refused_with_what_to_write(name, hint):
    error = refused(**{name: 1})
    assert f"option {name!r} does not belong to an ollama cell" in error.message
    assert error.hint == hint


def test_an_option_like_no_other_is_refused_with_the_list_of_all():
    assert refused(zzzzzz=1).hint.startswith("there are api, draft_num_predict, ")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ({"api": "grpc"}, "expected one of native, openai"),
        ({"num_ctx": 4096.5}, "expected a whole number"),
        ({"num_ctx": True}, "expected a whole number"),
        ({"temperature": "0"}, "expected a number"),
        ({"temperature": float("nan")}, "expected a number"),
        ({"temperature": float("inf")}, "expected a number"),
        ({"seed": 10**400}, "expected a whole number"),
        ({"unload_others": "yes"}, "expected one of true, false"),
        ({"stop": "x"}, "expected a list of texts"),
        ({"keep_alive": "-1"}, "expected seconds, or a time such as 10m (negative: for ever)"),
        ({"keep_alive": "ten minutes"}, "expected seconds, or a time such as 10m (negative: for ever)"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(option, hint):
    assert refused(**option).hint == hint


@pytest.mark.parametrize("never", [0, 0.0, "0", "0s", "0m0s", "0.0h"])
def test_a_model_that_leaves_after_every_call_is_refused(never):
    assert "no call is warm" in refused(keep_alive=never).message


@pytest.mark.parametrize("some", [1, -1, "5m", "1h30m", "-1m", "1.5h", "0h10m"])
def test_a_model_may_stay_for_any_other_time(some):
    assert sent(keep_alive=some)["keep_alive"] == some


@given(
    st.dictionaries(
        st.sampled_from([*OURS, *RUNNER, *REQUEST, *OPENAI, "other"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.text(max_size=2)),
        max_size=4,
    )
)
def test_options_are_all_sent_or_refused_in_words(options):
    try:
        one = adapter(**options)
    except ConfigError as refusal:
        told = refusal.message
        one = None
    if one is None:
        assert any(repr(name) in told or f"`{name}:" in told for name in options)
    else:
        kept = {name: value for name, value in options.items() if name not in OURS}
        body = json.loads(one.build(fake_call()).content)
        assert kept.items() <= ({**body, **body.get("options", {})}).items()
