"""Nodes held against shapes: values where they fit, a located problem where they do not, never an exception."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, TypeGuard, TypeVar

import attrs
import yaml
from attrs import define, field

from weeyuga_core.config.document import MERGE, TAG, Scalar, items, join, kind_of, read_scalar
from weeyuga_core.config.problems import Log, did_you_mean, shown
from weeyuga_core.config.rules import Rule
from weeyuga_core.config.shapes import Choice, Flag, Json, ListOf, MapOf, Number, Record, Shape, Text

N = TypeVar("N", bound=yaml.CollectionNode)


class _Bad:
    """Stands for a value that a problem was reported for."""


BAD = _Bad()


@define
class Section:
    """A mapping that was walked: good values, and the node of every key that was given, good or bad."""

    cls: type[attrs.AttrsInstance] | None
    node: yaml.Node
    path: str
    values: dict[str, Any] = field(factory=dict)
    keys: dict[str, yaml.Node] = field(factory=dict)
    nodes: dict[str, yaml.Node] = field(factory=dict)
    meant: set[str] = field(factory=set)
    """Known keys that an unknown one is probably a misspelling of: they are not reported as missing as well."""

    def lacks(self, *names: str) -> bool:
        """Whether none of these keys is there, not even misspelt."""
        return not any(name in self.keys or name in self.meant for name in names)

    def put(self, key: yaml.Node, name: str, node: yaml.Node, value: Any) -> None:
        """Keep a key; of a duplicate, which is reported elsewhere, the first."""
        if name in self.keys:
            return
        self.keys[name], self.nodes[name] = key, node
        if value is not BAD:
            self.values[name] = value

    def build(self) -> Any:
        """The attrs value, or the dict, that the section stands for. Only for a file without a problem."""
        values = {name: plain(value) for name, value in self.values.items()}
        return values if self.cls is None else self.cls(**values)


def plain(value: Any) -> Any:
    """A walked value with its sections built."""
    if isinstance(value, Section):
        return value.build()
    return tuple(plain(item) for item in value) if isinstance(value, tuple) else value


def walk(log: Log, node: yaml.Node, shape: Shape, path: str) -> Any:
    """The value of a node, `BAD` where it does not fit; mappings of a known shape become a `Section`."""
    match shape:
        case Record():
            return _record(log, node, shape, path)
        case MapOf():
            return _map(log, node, shape, path)
        case ListOf():
            return _list(log, node, shape, path)
        case Json():
            return _json(log, node, path)
        case Text():
            return _text(log, node, shape, path)
        case Number():
            return _number(log, node, shape, path)
        case Flag() | Choice():
            return _word(log, node, shape, path)


def at(path: str) -> str:
    """The path as the beginning of a message."""
    return path or "top level"


# --- collections -----------------------------------------------------------------------------------------


def _is(node: yaml.Node, log: Log, kind: type[N], path: str, help_: str) -> TypeGuard[N]:
    """Whether a node is a plain mapping or list; a problem where it is not."""
    words, tag = ("a mapping", "map") if kind is yaml.MappingNode else ("a list", "seq")
    if not isinstance(node, kind):
        log.at(node, f"{at(path)}: expected {words}, got {kind_of(node)}", help_)
    elif node.tag != TAG + tag:
        log.at(node, f"{at(path)}: expected plain {words[2:]}, got the type {shown(node.tag)}", "remove the `!`")
    else:
        return True
    return False


def _record(log: Log, node: yaml.Node, shape: Record, path: str) -> Any:
    if not _is(node, log, yaml.MappingNode, path, f"keys: {', '.join(shape.keys)}"):
        return BAD
    section = Section(shape.cls, node, path)
    for key, value in items(log, node, path):
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else kind_of(key)
        if name in shape.keys:
            section.put(key, name, value, walk(log, value, shape.keys[name], join(path, name)))
        else:
            where = f" in {path}" if path else ""
            log.at(key, f"unknown key {shown(name)}{where}", did_you_mean(name, [*shape.keys]))
            section.meant.update(get_close_matches(name, shape.keys, n=1))
    for name in shape.required:
        if section.lacks(name):
            log.at(node, f"{at(path)}: required key {name!r} is missing", shape.keys[name].rule.doc)
    return section


def _map(log: Log, node: yaml.Node, shape: MapOf, path: str) -> Any:
    if not _is(node, log, yaml.MappingNode, path, shape.rule.doc):
        return BAD
    section = Section(None, node, path)
    for key, value in items(log, node, path):
        name = _text(log, key, shape.key, f"key of {at(path)}")
        walked = walk(log, value, shape.value, join(path, str(key.value)[:60] if name is BAD else name))
        if name is not BAD:
            section.put(key, name, value, walked)
    return section


def _list(log: Log, node: yaml.Node, shape: ListOf, path: str) -> Any:
    if not _is(node, log, yaml.SequenceNode, path, "begin each entry with `- `"):
        return BAD
    if shape.rule.at_least_one and not node.value:
        log.at(node, f"{at(path)}: expected at least one entry", shape.rule.doc)
    values = [walk(log, item, shape.item, f"{path}[{i}]") for i, item in enumerate(node.value)]
    return tuple(value for value in values if value is not BAD)


def _json(log: Log, node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        section = _map(log, node, MapOf(Rule(doc=""), Text(Rule(doc="")), Json(Rule(doc=""))), path)
        return BAD if section is BAD else section.build()
    if isinstance(node, yaml.SequenceNode):
        if not _is(node, log, yaml.SequenceNode, path, ""):
            return BAD
        return [_json(log, item, f"{path}[{i}]") for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    scalar = read_scalar(node)
    if scalar.trap:
        log.at(node, f"{path}: ambiguous: {scalar.trap}", _way_out(node, scalar))
        return BAD
    return scalar.value


def _way_out(node: yaml.Node, scalar: Scalar) -> str:
    if node.tag == f"{TAG}bool":
        return f'write true or false, or quote it: "{node.value}"'
    if node.tag == f"{TAG}timestamp" or isinstance(scalar.value, str):
        return f'quote it: "{node.value}"; a number is written in plain decimals, such as 0.001 or 1000'
    return f'quote it: "{node.value[:60]}"; or write a plain decimal number'


# --- scalars ---------------------------------------------------------------------------------------------


def _text(log: Log, node: yaml.Node, shape: Text, path: str) -> Any:
    rule = shape.rule
    if not isinstance(node, yaml.ScalarNode) or not isinstance(value := read_scalar(node).value, str):
        _not_text(log, node, rule, path)
        return BAD
    fault = _text_fault(value, rule)
    if fault is None:
        return value
    log.at(node, f"{path}: {fault[0]}", fault[1], secret=rule.secret)
    return BAD


def _not_text(log: Log, node: yaml.Node, rule: Rule, path: str) -> None:
    got = kind_of(node)
    if not isinstance(node, yaml.ScalarNode) or node.tag == f"{TAG}null":
        help_ = rule.doc or None
    elif node.tag == MERGE:
        help_ = 'quote it: "<<"'
    elif node.tag.startswith(TAG):
        help_ = f'quote it: "{node.value[:60]}"'
    else:
        help_ = "remove the `!`"
    log.at(node, f"{path}: expected a string, got {got}", help_, secret=rule.secret)


def _text_fault(value: str, rule: Rule) -> tuple[str, str | None] | None:
    """What is wrong with a string, and the help."""
    got = "" if rule.secret else f", got {shown(value)}"
    if not value.strip():
        return "expected some text, got an empty string", rule.doc or None
    if any("\ud800" <= c <= "\udfff" for c in value):
        return f"expected whole characters{got}", "write the character itself, not half of it"
    if not rule.multiline and not value.isprintable():
        return f"expected one line of printable text{got}", None
    if rule.check and (fault := rule.check(value)):
        return fault
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        return f"expected {rule.expected or rule.pattern}{got}", None
    return None


def _number(log: Log, node: yaml.Node, shape: Number, path: str) -> Any:
    kind = "a whole number" if shape.whole else "a number"
    if not isinstance(node, yaml.ScalarNode):
        log.at(node, f"{path}: expected {kind}, got {kind_of(node)}", shape.rule.doc)
        return BAD
    scalar = read_scalar(node)
    value = scalar.value
    fits = isinstance(value, int if shape.whole else (int, float)) and not isinstance(value, bool)
    if scalar.trap or not isinstance(value, (int, float)) or not fits:
        log.at(node, f"{path}: expected {kind}, got {scalar.trap or scalar.words}", _number_help(value, shape))
        return BAD
    if (limit := _limit(value, shape.rule)) is not None:
        log.at(node, f"{path}: expected {kind} {limit}, got {node.value}", shape.rule.doc)
        return BAD
    return value if shape.whole else float(value)


def _number_help(value: object, shape: Number) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value):
        return f"write {int(value[:30])}, without quotes or leading zeros"
    return f"write it in plain decimals, such as {'5' if shape.whole else '0.5'}"


def _limit(value: float, rule: Rule) -> str | None:
    """The limit that a number breaks, in words."""
    if rule.above is not None and value <= rule.above:
        return f"above {rule.above:g}"
    if rule.minimum is not None and value < rule.minimum:
        return f"of at least {rule.minimum:g}"
    if rule.maximum is not None and value > rule.maximum:
        return f"of at most {rule.maximum:g}"
    return None


def _word(log: Log, node: yaml.Node, shape: Flag | Choice, path: str) -> Any:
    words = shape.words if isinstance(shape, Choice) else ("true", "false")
    scalar = read_scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if scalar and not scalar.trap:
        if isinstance(shape, Flag) and isinstance(scalar.value, bool):
            return scalar.value
        if isinstance(shape, Choice) and scalar.value in words and isinstance(scalar.value, str):
            return scalar.value
    got = (scalar.trap if scalar else None) or kind_of(node)
    if scalar and node.tag == f"{TAG}bool":
        help_ = f"write {' or '.join(words)}" if isinstance(shape, Choice) else f"write {got.rpartition(' ')[2]}"
    else:
        help_ = did_you_mean(node.value if scalar else "", words)
    log.at(node, f"{path}: expected {' or '.join(words)}, got {got}", help_)
    return BAD
