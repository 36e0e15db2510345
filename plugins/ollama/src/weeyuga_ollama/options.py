"""The `options` of a cell, sorted by where Ollama takes them. What it would pass over in silence is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from attrs import frozen

from weeyuga_core.errors import ConfigError
from weeyuga_core.loose_json import LARGEST
from weeyuga_core.model.plan import Cell

Api = Literal["native", "openai"]

_GO_DURATION = re.compile(r"-?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")


@frozen(kw_only=True)
class Settings:
    """What a cell's options say."""

    api: Api
    """`native` is `/api/chat`, `openai` is `/v1/chat/completions`."""
    unload_others: bool
    """Whether a cold call also unloads the models beside its own."""
    runner: Mapping[str, Any]
    """The `options` of a native request. Those that shape the loaded model must be the same on every call."""
    request: Mapping[str, Any]
    """Keys of the request itself."""


def settings_of(cell: Cell) -> Settings:
    """The options of a cell. Raises ConfigError for one that would be overruled, passed over or refused."""
    api = cell.options.get("api", "native")
    if api not in ("native", "openai"):
        raise _wrong(cell, "api", api, _API)
    for name, value in cell.options.items():
        kind = _known(api).get(name)
        if kind is None:
            raise ConfigError(
                f"cell {cell.id}: option {name!r} does not belong to {_WHERE[api]}", hint=_hint(name, api)
            )
        if not kind.fits(value):
            raise _wrong(cell, name, value, kind)
    if _seconds_are_none(cell.options.get("keep_alive", "5m")):
        raise ConfigError(
            f"cell {cell.id}: `keep_alive: {cell.options['keep_alive']}` unloads the model after every call, "
            "so that no call is warm",
            hint="leave it out, or give a time: keep_alive: 10m",
        )
    return Settings(
        api=api,
        unload_others=cell.options.get("unload_others", False),
        runner=_chosen(cell, RUNNER) if api == "native" else {},
        request=_chosen(cell, REQUEST if api == "native" else OPENAI),
    )


# --- what there is -----------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """Values that an option may have, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _one_of(*words: Any) -> _Kind:
    shown = ", ".join(str(word).lower() if isinstance(word, bool) else str(word) for word in words)
    # 1 equals True, and is none of the words.
    return _Kind(f"one of {shown}", lambda value: any(type(value) is type(w) and value == w for w in words))


def _is_number(value: Any) -> bool:
    """A number that any program can read: NaN and the infinities are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_whole(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int)


def _is_time(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, str) and (value == "0" or bool(_GO_DURATION.fullmatch(value))))


def _seconds_are_none(value: Any) -> bool:
    return not value if _is_number(value) else not re.search("[1-9]", str(value))


_API = _one_of("native", "openai")
_WHOLE = _Kind("a whole number", _is_whole)
_NUMBER = _Kind("a number", _is_number)
_SWITCH = _one_of(True, False)
_TEXTS = _Kind(
    "a list of texts", lambda value: isinstance(value, list | tuple) and all(isinstance(t, str) for t in value)
)
_LIST = _Kind("a list", lambda value: isinstance(value, list | tuple))
_FORMAT = _Kind("json, or a JSON schema", lambda value: value == "json" or isinstance(value, Mapping))
_OBJECT = _Kind("a mapping", lambda value: isinstance(value, Mapping))
_TIME = _Kind("seconds, or a time such as 10m (negative: for ever)", _is_time)

OURS = {"api": _API, "unload_others": _SWITCH}
"""Options that are none of Ollama's."""
RUNNER = {
    **dict.fromkeys(("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"), _WHOLE),
    "use_mmap": _SWITCH,
    **dict.fromkeys(("num_keep", "seed", "top_k", "repeat_last_n"), _WHOLE),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p"), _NUMBER),
    **dict.fromkeys(("repeat_penalty", "presence_penalty", "frequency_penalty"), _NUMBER),
    "stop": _TEXTS,
}
"""What goes into the `options` of a native request. Ollama only logs the names that it does not know."""
REQUEST = {
    "think": _one_of(True, False, "low", "medium", "high", "max"),
    "keep_alive": _TIME,
    "format": _FORMAT,
    "tools": _LIST,
    **dict.fromkeys(("truncate", "shift", "logprobs"), _SWITCH),
    "top_logprobs": _WHOLE,
}
"""What goes beside them."""
OPENAI = {
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
    "seed": _WHOLE,
    "stop": _TEXTS,
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high", "max"),
    "response_format": _OBJECT,
    "tools": _LIST,
    "logprobs": _SWITCH,
    "top_logprobs": _WHOLE,
}
"""What `/v1/chat/completions` takes; it drops everything else without a word."""

_WHERE: Mapping[Api, str] = {"native": "an ollama cell", "openai": "an ollama cell with `api: openai`"}
_ELSEWHERE = {
    **dict.fromkeys(("model", "messages", "prompt", "stream", "stream_options", "n"), "the harness sets it"),
    **dict.fromkeys(
        ("num_predict", "max_tokens", "max_completion_tokens", "n_predict"), "a prompt's max_tokens is the budget"
    ),
    "options": "write what is in it beside it: options: {num_ctx: 4096}",
    "cache_prompt": "Ollama has no such switch; its prompt cache is always on",
}
"""Why an option is in no list."""
_NATIVE_FOR = {
    **dict.fromkeys(("ctx", "n_ctx"), "num_ctx"),
    **dict.fromkeys(("ngl", "n_gpu_layers"), "num_gpu"),
    **dict.fromkeys(("threads", "n_threads"), "num_thread"),
    **dict.fromkeys(("chat_template_kwargs", "enable_thinking", "reasoning_effort"), "think"),
    "response_format": "format",
}
"""Other engines' names -> Ollama's."""


def _known(api: Api) -> Mapping[str, _Kind]:
    return OURS | (RUNNER | REQUEST if api == "native" else OPENAI)


def _chosen(cell: Cell, names: Mapping[str, _Kind]) -> dict[str, Any]:
    return {name: value for name, value in cell.options.items() if name in names}


def _hint(name: str, api: Api) -> str:
    if said := _ELSEWHERE.get(name):
        return said
    if api == "openai" and name == "think":
        return "that route says `reasoning_effort: none` (or low, medium, high, max); `api: native` takes `think`"
    if api == "openai" and name in RUNNER | REQUEST:
        return f"that route passes over {name} without a word; `api: native` takes it"
    if api == "native" and (other := _NATIVE_FOR.get(name)):
        return f"Ollama calls it {other}"
    known = sorted(_known(api))
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _wrong(cell: Cell, name: str, value: Any, kind: _Kind) -> ConfigError:
    return ConfigError(f"cell {cell.id}: option {name!r} is {value!r}", hint=f"expected {kind.words}")
