"""From the JSON of a ledger line to its record: tolerant of what is older or newer, strict about every type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, get_args, get_origin

from cattrs import ClassValidationError, Converter

from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, Record, ResumeRecord

RECORDS: Mapping[str, type[Record]] = {
    kind.TYPE: kind for kind in (MetaRecord, CellRecord, CallRecord, EndRecord, ResumeRecord)
}
"""`type` of a line -> its class."""

IF_SET = ("env_route", "env_llamacpp_url")
"""Fields of the meta record that ledgers from before this harness hold only where the variable was set."""

SHOWN_CHARS = 40


class Unfit(ValueError):
    """A line that is a JSON object but not the record its `type` says. The message names every field at fault."""


def to_record(data: Mapping[str, Any]) -> Record | None:
    """The record of a line, or None for a type this version does not know.

    Fields that were appended since the line was written take their defaults, fields appended after this version are
    passed over. Raises Unfit.
    """
    kind = data.get("type")
    if not isinstance(kind, str):
        raise Unfit(f"field `type` {_found('a text', kind) if 'type' in data else 'is missing'}")
    if kind not in RECORDS:
        return None
    if kind == MetaRecord.TYPE:
        data = dict.fromkeys(IF_SET) | dict(data)
    try:
        return _converter.structure(data, RECORDS[kind])
    except ClassValidationError as error:
        raise Unfit(f"{kind} record: {'; '.join(_faults(error))}") from None


def _faults(error: ClassValidationError) -> Iterator[str]:
    """Each field at fault, in words."""
    noted, _ = error.group_exceptions()
    for cause, note in noted:
        yield f"field `{note.name}` {'is missing' if isinstance(cause, KeyError) else cause}"


def _found(expected: str, value: Any) -> str:
    """What should stand there and what does, shortened."""
    shown = json.dumps(value, default=str)
    return f"must be {expected}, not {shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + '...'}"


def _scalar(kind: type, expected: str) -> Callable[[Any, Any], Any]:
    """A check without conversion: "7" is no number and true is none either."""

    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(_found(expected, value))
        return value

    return check


def _float(value: Any, _: Any) -> float:
    """A finite number; JSON writers may leave the fraction of a whole one away."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(_found("a number", value))
    return float(value)


def _tuple(kind: Any) -> Callable[[Any, Any], tuple[Any, ...]]:
    """A list of one type, or of fixed length."""
    kinds = get_args(kind)

    def check(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(_found("a list", value))
        wanted = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        if len(value) != len(wanted):
            raise ValueError(_found(f"a list of {len(wanted)}", value))
        return tuple(_converter.structure(one, of) for one, of in zip(value, wanted, strict=True))

    return check


def _mapping(kind: Any) -> Callable[[Any, Any], dict[str, Any]]:
    """An object, its values of one type."""
    of = get_args(kind)[1]

    def check(value: Any, _: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(_found("an object", value))
        return value if of is Any else {key: _converter.structure(one, of) for key, one in value.items()}

    return check


def _is_a(origin: Any, kind: Any) -> bool:
    """Whether that is the generic behind a type such as `tuple[str, ...]`."""
    return get_origin(kind) is origin


def _strict_converter() -> Converter:
    """Checks where cattrs would convert."""
    converter = Converter()
    for kind, expected in {bool: "true or false", int: "a whole number", str: "a text"}.items():
        converter.register_structure_hook(kind, _scalar(kind, expected))
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook_factory(partial(_is_a, tuple), _tuple)
    converter.register_structure_hook_factory(partial(_is_a, Mapping), _mapping)
    return converter


_converter = _strict_converter()
