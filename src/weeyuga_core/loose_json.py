"""Values out of JSON that nobody vouches for: the right kind, or nothing. Never raises.

What an engine says is read by an adapter that may neither raise nor believe it: a proxy, a later version or a broken
stream puts anything anywhere. `text(mapping(chunk.get("message")).get("content"))` is a string whatever came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EXCERPT_CHARS = 160
"""How much of what makes no sense is quoted."""
MESSAGE_CHARS = 500
"""How much of an engine's words is kept."""
LARGEST = 2**53
"""Larger numbers are nonsense, and whole ones not exact in every reader of the ledger."""


def parsed(said: str | bytes) -> Any:
    """The JSON value, in which no number is infinite or NaN; None for what is not JSON."""
    try:
        return _DECODER.decode(said if isinstance(said, str) else said.decode("utf-8-sig", "replace"))
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


def number(owner: Mapping[str, Any], name: str) -> int | float | None:
    """The number of that name where it is zero or more, and below 2**53."""
    value = owner.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return value


def count(owner: Mapping[str, Any], name: str, otherwise: int | None = None) -> int | None:
    """The whole number of that name where it is zero or more, and below 2**53; else `otherwise`."""
    value = number(owner, name)
    return value if isinstance(value, int) else otherwise


def words_of(value: Any) -> str:
    """The message of an error, in any of the forms that engines and proxies give it; empty where there is none.

    Looks at `error.message`, `error`, `message` and `detail` of an object, and keeps the first 500 characters.
    """
    outer = mapping(value)
    inner = mapping(outer.get("error"))
    found = (inner.get("message"), outer.get("error"), outer.get("message"), outer.get("detail"))
    return next((words for words in found if isinstance(words, str) and words), "")[:MESSAGE_CHARS]


def message_of(body: bytes) -> str:
    """The words in the body of a refusal; its text where it holds none, or is no JSON; empty where it is."""
    said = body.decode("utf-8-sig", "replace").strip()
    return (words_of(parsed(said)) or said)[:MESSAGE_CHARS]


def excerpt(said: str) -> str:
    """The beginning of a text, quoted."""
    return repr(said if len(said) <= EXCERPT_CHARS else f"{said[:EXCERPT_CHARS]}...")


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if abs(value) != float("inf") else None


_DECODER = json.JSONDecoder(parse_constant=lambda _name: None, parse_float=_finite)
