"""The JSON Schema of cells.yaml, made from the same shapes that the file is checked with."""

from __future__ import annotations

from typing import Any

import attrs

from weeyuga_core.config.cells import ROUTED_TAKES_OVER
from weeyuga_core.config.rules import CellsFile, Rule
from weeyuga_core.config.shapes import Choice, Flag, Json, ListOf, MapOf, Number, Record, Shape, Text, record
from weeyuga_core.model.plan import Cell

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_CELL_RULES = {
    "not": {"required": ["endpoint", "launch"]},
    "if": {"properties": {"enabled": {"const": False}}, "required": ["enabled"]},
    "then": {"required": ["reason"]},
    "else": {"anyOf": [{"required": ["endpoint"]}, {"required": ["launch"]}]},
    "dependentSchemas": {"routes": {"properties": dict.fromkeys(ROUTED_TAKES_OVER, False)}},
}
"""What no single key of a cell can say. Ids that other keys refer to are beyond a schema: `validate` checks them."""


def json_schema() -> dict[str, Any]:
    """The schema of cells.yaml (JSON Schema 2020-12)."""
    shape = record(CellsFile)
    return {"$schema": DIALECT, "title": "cells.yaml of weeyuga-bench", **_schema(shape)}


def _schema(shape: Shape) -> dict[str, Any]:
    return ({"description": shape.rule.doc} if shape.rule.doc else {}) | _constraints(shape)


def _constraints(shape: Shape) -> dict[str, Any]:
    match shape:
        case Record():
            return _record(shape)
        case MapOf():
            return {
                "type": "object",
                "propertyNames": _constraints(shape.key),
                "additionalProperties": _schema(shape.value),
            }
        case ListOf():
            least = {"minItems": 1} if shape.rule.at_least_one else {}
            return {"type": "array", "items": _constraints(shape.item)} | least
        case Text():
            return {"type": "string", "minLength": 1} | _pattern(shape.rule)
        case Number():
            return {"type": "integer" if shape.whole else "number"} | _range(shape.rule)
        case Choice():
            return {"enum": list(shape.words)}
        case Flag():
            return {"type": "boolean"}
        case Json():
            return {}


def _record(shape: Record) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _schema(value) | _default(shape, name) for name, value in shape.keys.items()},
        "additionalProperties": False,
    }
    if shape.required:
        schema["required"] = list(shape.required)
    return schema | (_CELL_RULES if shape.cls is Cell else {})


def _default(shape: Record, name: str) -> dict[str, Any]:
    """The default of a key, where it is a scalar that can be shown."""
    value = getattr(attrs.fields_dict(shape.cls)[name], "default", None)
    return {"default": value} if isinstance(value, bool | int | float | str) and value != "" else {}


def _pattern(rule: Rule) -> dict[str, Any]:
    return {"pattern": f"^(?:{rule.pattern})$"} if rule.pattern else {}


def _range(rule: Rule) -> dict[str, Any]:
    limits = {"minimum": rule.minimum, "exclusiveMinimum": rule.above, "maximum": rule.maximum}
    return {word: limit for word, limit in limits.items() if limit is not None}
