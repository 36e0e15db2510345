"""The JSON Schema says what the loader says, as far as a schema can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from jsonschema import Draft202012Validator

from weeyuga_core import config
from weeyuga_core.config.rules import DERIVED, RULES, CellsFile, PromptEntry
from weeyuga_core.config.shapes import ListOf, MapOf, Record, Shape, record

Check = Callable[[str | bytes], list[config.Problem]]

GOOD = """\
defaults: {warm_n: 5, timeouts: {connect_s: 5, idle_s: 60, total_s: 900, ready_s: 120}}
cells:
  - id: mac:engine-a:qwen3.5:0.8b
    endpoint: http://127.0.0.1:11434
    options: {temperature: 0, seed: 1, think: false, num_ctx: 4096}
    sanity: {P-MEDIUM: {total_s: 30.5, within: 0.5}}
  - id: pavilion:engine-b:qwen3.5-9b@ngl6,ctx8k
    request_model: qwen3.5-9b
    endpoint: http://pavilion.example:11436
    digest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    engine_version: b6123
    prompt_cache: disabled
  - id: local:engine-b:smollm2-135m
    launch: {server: some-server, model: models/smollm2.gguf, ctx: 4096, threads: 2, ngl: 0, parallel: 1, args: []}
  - id: pavilion:router:qwen3.5:0.8b
    endpoint: https://cluster.example
    routes: mac:engine-a:qwen3.5:0.8b
    auth_env: BRAIN_TOKEN
  - {id: predator:engine-b:qwen3.5:0.8b, endpoint: "http://predator.example:11436", enabled: false, reason: pending}
nodes: {pavilion: {quiet_hours: "02:00-05:00Z"}}
brain: {hosts: [cluster.example]}
"""

CELL = "cells: [{id: a:b:c, endpoint: http://h, %s}]"

BAD = [
    "{}",
    "cells: []",
    "cells: [{endpoint: http://h}]",
    "cells: [{id: a:b, endpoint: http://h}]",
    "cells: [{id: A:b:c, endpoint: http://h}]",
    "cells: [{id: a:b:c}]",
    "cells: [{id: a:b:c, enabled: false}]",
    "cells: [{id: a:b:c, endpoint: 127.0.0.1:80}]",
    "cells: [{id: a:b:c, endpoint: http://u:p@h}]",
    CELL % "launch: {server: s, model: m}",
    CELL % "modle: x",
    CELL % "warm_n: five",
    CELL % "warm_n: -1",
    CELL % "warm_n: 1.5",
    CELL % "warm_n: true",
    CELL % "prompt_cache: false",
    CELL % "digest: sha256:abc",
    CELL % "engine_version: 0.6",
    CELL % "reason: ''",
    CELL % "timeouts: {idle_s: 0}",
    CELL % "timeouts: []",
    CELL % "sanity: {P-EASY: {total_s: 1}}",
    CELL % "auth_env: 1a",
    "cells: [{id: a:b:c, launch: {server: s}}]",
    "cells: [{id: a:b:d, endpoint: http://h}, {id: a:b:c, endpoint: http://h, routes: a:b:d, options: {}}]",
    "cells: [{id: a:b:c, launch: {server: s, model: m, ctx: 0}}]",
    "cells: [{id: a:b:c, launch: {server: s, model: m, args: [1]}}]",
    CELL % "warm_n: 1" + "\nnodes: {a: {quiet_hours: '2-5'}}",
    CELL % "warm_n: 1" + "\nbrain: {hosts: ['https://h']}",
    CELL % "warm_n: 1" + "\nnode: {}",
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = config.json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_a_good_file_is_valid_for_both(validator: Draft202012Validator, problems: Check) -> None:
    assert problems(GOOD) == []
    assert list(validator.iter_errors(yaml.safe_load(GOOD))) == []
    example = Path(__file__).parents[2] / "examples/local/cells.yaml"
    assert validator.is_valid(yaml.safe_load(example.read_text(encoding="utf-8")))


@pytest.mark.parametrize("text", BAD)
def test_a_planted_mistake_is_invalid_for_both(validator: Draft202012Validator, problems: Check, text: str) -> None:
    assert problems(text) != []
    assert not validator.is_valid(yaml.safe_load(text))


def test_the_schema_explains_every_key() -> None:
    assert [path for path, doc in documented(config.json_schema(), "") if not doc] == []


def test_every_key_of_the_files_has_a_rule_and_every_rule_a_key() -> None:
    keys = {key for cls in classes(record(CellsFile)) | {PromptEntry} for key in keys_of(cls)}
    assert set(RULES) == keys - DERIVED
    assert all(rule.doc for rule in RULES.values())


def keys_of(cls: type[attrs.AttrsInstance]) -> Iterator[tuple[type, str]]:
    return ((cls, attribute.name) for attribute in attrs.fields(cls))


def classes(shape: Shape) -> set[type[attrs.AttrsInstance]]:
    """The attrs classes that a shape is made of."""
    if isinstance(shape, Record):
        return {shape.cls}.union(*(classes(value) for value in shape.keys.values()))
    if isinstance(shape, MapOf):
        return classes(shape.value)
    return classes(shape.item) if isinstance(shape, ListOf) else set()


def documented(schema: dict[str, Any], path: str) -> Iterator[tuple[str, bool]]:
    """Each property of a schema with whether it is described."""
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}", "description" in value
        for inner in (value, value.get("items", {}), value.get("additionalProperties", {})):
            if isinstance(inner, dict):
                yield from documented(inner, f"{path}.{name}")
