from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.model.records import HARNESS_VERSION
from weeyuga_core.provenance.fingerprint import fingerprint, fingerprint_parts, public_flags

BASE: dict[str, Any] = {
    "engine": "echo",
    "engine_version": "1.0",
    "flags": ("server", "-c", "4096"),
    "model_digest": "sha256:" + "a" * 64,
    "request_model": "tiny",
    "context": 4096,
    "template_sha256": None,
    "options": {"temperature": 0, "stop": ["a", "b"]},
    "prompt_cache": "engine-default",
}


def hash_of(**changes: Any) -> str:
    return fingerprint(fingerprint_parts(**{**BASE, **changes}))


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "other"},
        {"engine_version": None},
        {"flags": ("server", "-c", "8192")},
        {"flags": ("-c", "server", "4096")},
        {"model_digest": None},
        {"request_model": "Tiny"},
        {"context": None},
        {"template_sha256": "b" * 64},
        {"options": {"temperature": 0.5, "stop": ["a", "b"]}},
        {"options": {"temperature": 0, "stop": ["b", "a"]}},
        {"options": {"temperature": False, "stop": ["a", "b"]}},
        {"prompt_cache": "disabled"},
        {"concurrency": 8},
        {"harness_version": "2"},
    ],
)
def test_each_part_makes_a_difference(change: dict[str, Any]) -> None:
    assert hash_of(**change) != hash_of()


def test_spelling_makes_none() -> None:
    assert hash_of(options={"stop": ("a", "b"), "temperature": 0.0}) == hash_of()
    assert hash_of(flags=list(BASE["flags"])) == hash_of()


def test_every_argument_is_among_the_parts_and_the_shape_of_the_record_with_them() -> None:
    parts = fingerprint_parts(**BASE)
    assert BASE.keys() <= parts.keys()
    assert parts["harness_version"] == HARNESS_VERSION


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_order_of_keys_makes_none_and_the_parts_survive_a_ledger(parts: dict[str, Any]) -> None:
    import json

    backwards = dict(reversed(parts.items()))
    assert fingerprint(backwards) == fingerprint(parts) == fingerprint(json.loads(json.dumps(parts)))
    assert len(fingerprint(parts)) == 64


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        hash_of(options={"temperature": float("nan")})


def test_a_command_line_is_shown_without_this_machine_and_this_run() -> None:
    argv = [
        "/opt/bin/server",
        "--model",
        "/home/jane/m.gguf",
        "--port=40123",
        "-np",
        "1",
        "--lora",
        "~/l.gguf",
        "-x=/a/b/",
    ]
    assert public_flags(argv, port=40123) == (
        "server",
        "--model",
        "m.gguf",
        "--port=PORT",
        "-np",
        "1",
        "--lora",
        "l.gguf",
        "-x=b",
    )


def test_only_the_port_is_replaced_and_not_another_number_that_looks_like_it() -> None:
    argv = ["server", "--ctx", "8192", "--port", "8192", "--url", "http://127.0.0.1:8192", "--other-port", "9"]
    assert public_flags(argv, port=8192) == (
        "server",
        "--ctx",
        "8192",
        "--port",
        "PORT",
        "--url",
        "http://127.0.0.1:PORT",
        "--other-port",
        "9",
    )


def test_two_runs_of_one_command_line_on_two_ports_are_comparable() -> None:
    runs = [public_flags(["server", "--port", str(port)], port=port) for port in (40001, 40002)]
    assert hash_of(flags=runs[0]) == hash_of(flags=runs[1])
