"""Values out of JSON that nobody vouches for: the right kind, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EXCERPT_CHARS = 160
"""How much of what makes no sense is quoted."""
MESSAGE_CHARS = 500
LARGEST = 2**53
"""Larger counts are nonsense, and not exact in every reader of the ledger."""


def parsed(text: str) -> Any:
    """The JSON value, in which no number is infinite or NaN; None for what is not JSON."""
    try:
        return json.loads(text, parse_constant=lambda _name: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def count(owner: Mapping[str, Any], name: str) -> int | None:
    """A whole number of zero or more."""
    value = owner.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST:
        return None
    return value


def words_of(value: Any) -> str:
    """The message of an error in any of the forms that Ollama, its other routes and proxies give it."""
    outer = mapping(value)
    inner = mapping(outer.get("error"))
    found = (inner.get("message"), outer.get("error"), outer.get("message"), outer.get("detail"))
    return next((words for words in found if isinstance(words, str) and words), "")[:MESSAGE_CHARS]


def message_of(body: bytes) -> str:
    """The words in the body of a refusal; its text where it is no JSON; empty where there are none."""
    said = body.decode("utf-8", "replace").strip()
    return (words_of(parsed(said)) or said)[:MESSAGE_CHARS]


def how_to_get(model: str) -> str:
    """The end of a sentence that says that a model is not there."""
    return f"; to get it, type: ollama pull {model}"


def excerpt(said: str) -> str:
    """The beginning of a text, quoted."""
    return repr(said if len(said) <= EXCERPT_CHARS else f"{said[:EXCERPT_CHARS]}...")


def _finite(number: str) -> float | None:
    value = float(number)
    return value if abs(value) != float("inf") else None
