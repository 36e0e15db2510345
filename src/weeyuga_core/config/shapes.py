"""The shape of the files, read off the attrs classes: the one source of walk and JSON Schema."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeAlias, Union

import attrs
from attrs import frozen

from weeyuga_core.config.rules import DERIVED, RULES, Rule


@frozen
class Text:
    """A string."""

    rule: Rule


@frozen
class Number:
    """A number; `whole` where it may have no fraction."""

    rule: Rule
    whole: bool


@frozen
class Flag:
    """true or false."""

    rule: Rule


@frozen
class Choice:
    """One of a few words."""

    rule: Rule
    words: tuple[str, ...]


@frozen
class Json:
    """Anything that JSON can say."""

    rule: Rule


@frozen
class ListOf:
    """A list."""

    rule: Rule
    item: Shape


@frozen
class MapOf:
    """A mapping with keys of the user's choice."""

    rule: Rule
    key: Text
    value: Shape


@frozen
class Record:
    """A mapping with the keys of an attrs class."""

    rule: Rule
    cls: type[attrs.AttrsInstance]
    keys: Mapping[str, Shape]
    required: tuple[str, ...]


Shape: TypeAlias = Text | Number | Flag | Choice | Json | ListOf | MapOf | Record


@cache
def record(cls: type[attrs.AttrsInstance]) -> Record:
    """The shape of an attrs class."""
    hints = typing.get_type_hints(cls)
    keys, required = {}, []
    for attribute in attrs.fields(cls):
        if (cls, attribute.name) in DERIVED:
            continue
        keys[attribute.name] = _shape(hints[attribute.name], RULES.get((cls, attribute.name), Rule(doc="")))
        if attribute.default is attrs.NOTHING:
            required.append(attribute.name)
    doc = Rule(doc=(cls.__doc__ or "").partition("\n")[0])
    return Record(doc, cls, keys, tuple(required))


def _shape(hint: Any, rule: Rule) -> Shape:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        # Optional: a key that may be left out. Nothing in the files is written as null.
        (hint,) = (arg for arg in args if arg is not types.NoneType)
        return _shape(hint, rule)
    if origin is Literal:
        return Choice(rule, args)
    if origin is tuple:
        return ListOf(rule, _shape(args[0], attrs.evolve(rule, at_least_one=False)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key = Text(Rule(doc="", pattern=rule.pattern, expected=rule.expected))
        return MapOf(rule, key, _shape(args[1], Rule(doc=rule.doc)))
    if attrs.has(hint):
        return attrs.evolve(record(hint), rule=rule)
    if hint in (int, float):
        return Number(rule, whole=hint is int)
    return Text(rule) if hint is str else Flag(rule) if hint is bool else Json(rule)
