"""A YAML file as a tree of nodes that know their place, with what YAML lets pass but no person means refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from attrs import define, frozen

from weeyuga_core.config.problems import Fault, Log, Problem, Source, bare, did_you_mean, shown

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 200_000
"""Nodes with every alias written out: a few nested aliases can mean billions."""

TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_text(path: Path, *, missing: str) -> Source | Problem:
    """The text of a file, or what keeps it from being read. `missing` is the help where there is no such file."""
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Problem(message=f"{name}: no such file", file=name, help=missing)
    except IsADirectoryError:
        return Problem(message=f"{name} is a directory, not a file", file=name, help=missing)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return Problem(message=f"{name} cannot be read: {why}", file=name)
    if len(raw) > MAX_BYTES:
        return Problem(message=f"{name} is larger than {MAX_BYTES} bytes", file=name, help="is it the right file?")
    try:
        return Source(name, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = Source(name, raw[: error.start].decode("utf-8-sig", "replace"))
        line, column = before.place(len(before.text))
        log = Log(Source(name, raw.decode("utf-8-sig", "replace")))
        log.spot(line, column, f"not UTF-8: byte 0x{raw[error.start]:02x}", "save the file as UTF-8")
        return log.problems[0]


def compose(log: Log) -> yaml.Node | None:
    """The root node of a file, or None where there is none or the log says why there is none."""
    if bad := _NOT_YAML.search(log.source.text):
        line, column = log.source.place(bad.start())
        log.spot(line, column, f"YAML allows no character U+{ord(bad[0]):04X}", "remove it")
        return None
    try:
        if not _composable(log):
            return None
        root: yaml.Node | None = yaml.compose(log.source.text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        _not_yaml(log, error)
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The parser written in Python lets a few malformed escapes and version numbers through to chr() and int().
        log.spot(0, 0, f"not valid YAML: {error}")
        return None
    if root is not None:
        _refuse_duplicates(log, root, "", set())
    return root


def _not_yaml(log: Log, error: yaml.MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    began = f" that began on line {error.context_mark.line + 1}" if error.context and error.context_mark else ""
    words = ", ".join(part for part in (f"{error.context}{began}" if error.context else "", error.problem) if part)
    text = log.source.line(line)
    help_ = None
    if "\t" in text[: column + 1]:
        help_ = "YAML allows no tabs between the start of a line and its text: use spaces"
    elif "mapping values are not allowed" in words:
        help_ = 'a value that contains ": " must be quoted; or is the line indented too far?'
    elif "duplicate anchor" in words:
        help_ = "give each anchor (&name) a name of its own"
    log.spot(line, column, f"not valid YAML: {words}", help_)


@define
class _Branch:
    """A collection that is being surveyed: how many nodes it holds so far, and how deep."""

    anchor: str | None
    size: int = 1
    depth: int = 1

    def add(self, child: _Branch) -> None:
        self.size += child.size
        self.depth = max(self.depth, child.depth + 1)


class _Survey:
    """Looks over the events of a file, which needs no recursion, for what must not be composed into nodes."""

    def __init__(self) -> None:
        self.branches = [_Branch(None)]
        self.anchors: dict[str, _Branch] = {}
        self.documents = 0

    def fault(self, event: yaml.Event) -> Fault | None:
        """What is wrong with the file as far as this event."""
        fault: Fault | None = None
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                fault = "a second document begins here", "one file holds one document: remove this `---`"
        elif isinstance(event, yaml.CollectionStartEvent):
            self.branches.append(_Branch(event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self.branches.pop())
        elif isinstance(event, yaml.ScalarEvent):
            self._close(_Branch(event.anchor, depth=0))
        elif isinstance(event, yaml.AliasEvent):
            fault = self._alias(str(event.anchor))
        return fault or self._excess()

    def _close(self, branch: _Branch) -> None:
        self.branches[-1].add(branch)
        if branch.anchor:
            self.anchors[branch.anchor] = branch

    def _alias(self, name: str) -> Fault | None:
        if any(branch.anchor == name for branch in self.branches):
            return f"the alias *{name} stands inside what it stands for", "write the value out"
        if name not in self.anchors:
            return f"no anchor &{name} before this alias", did_you_mean(name, [*self.anchors])
        self.branches[-1].add(self.anchors[name])
        return None

    def _excess(self) -> Fault | None:
        branch = self.branches[-1]
        # The outermost branch is the file, and a collection counts itself.
        if len(self.branches) - 2 + branch.depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels", "is a bracket missing?"
        if branch.size > MAX_NODES:
            return f"more than {MAX_NODES} values, aliases written out", "use fewer aliases of aliases"
        return None


def _composable(log: Log) -> bool:
    """Whether a file may be composed; the first reason why not goes to the log."""
    survey = _Survey()
    for event in yaml.parse(log.source.text, Loader=LOADER):
        if fault := survey.fault(event):
            line, column = (event.start_mark.line, event.start_mark.column) if event.start_mark else (0, 0)
            length = event.end_mark.column - column if event.end_mark else 1
            log.spot(line, column, *fault, length=length)
            return False
    return True


def _refuse_duplicates(log: Log, node: yaml.Node, path: str, seen: set[int]) -> None:
    """Report every key that a mapping gives twice, at any depth: YAML readers keep the last one in silence."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _refuse_duplicates(log, item, f"{path}[{i}]", seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in first:
                    where = f" in {path}" if path else ""
                    log.at(key, f"duplicate key {shown(key.value)}{where}", f"first given on line {first[key.value]}")
                first.setdefault(key.value, key.start_mark.line + 1)
                _refuse_duplicates(log, value, join(path, key.value), seen)
            else:
                _refuse_duplicates(log, key, path, seen)
                _refuse_duplicates(log, value, path, seen)


def join(path: str, key: str) -> str:
    """The path of a key below a path, as messages spell it."""
    key = key if len(key) <= 60 and key.isprintable() else shown(key)
    return f"{path}.{key}" if path else key


def items(log: Log, node: yaml.MappingNode, path: str) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping: its own, then those that `<<` brings and it does not give itself."""
    own = [(key, value) for key, value in node.value if key.tag != MERGE]
    yield from own
    taken = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
    for key, value in node.value:
        if key.tag != MERGE:
            continue
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(merged, yaml.MappingNode):
                log.at(merged, f"{join(path, '<<')}: expected a mapping, got {kind_of(merged)}", "merge `*anchor`")
                continue
            for name, content in items(log, merged, path):
                if isinstance(name, yaml.ScalarNode) and name.value not in taken:
                    taken.add(name.value)
                    yield name, content


def kind_of(node: yaml.Node) -> str:
    """What a node is, in the words of a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return read_scalar(node).words if isinstance(node, yaml.ScalarNode) else "a list"


@frozen(kw_only=True)
class Scalar:
    """What a scalar says: its value, the words for it, and where it is a trap, what the writer should know."""

    value: str | int | float | bool | None
    words: str
    trap: str | None = None
    """Set where YAML 1.1 reads something else than what is written; then `value` must not be used."""


_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FRACTION = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NUMBER_BY_LOOKS = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F]+)")
LARGEST = 2**53


def read_scalar(node: yaml.ScalarNode) -> Scalar:
    """Read a scalar as strictly as JSON would: `"7"` is no number, `yes` no boolean, `12:30` nothing but a trap."""
    text = str(node.value)
    match node.tag.removeprefix(TAG):
        case "str":
            plain_number = not node.style and _NUMBER_BY_LOOKS.fullmatch(text)
            trap = f"{text}, which YAML reads as a string, not as a number" if plain_number else None
            return Scalar(value=text, words=f"the string {shown(text)}", trap=trap)
        case "null":
            return Scalar(value=None, words="null" if text else "nothing")
        case "bool" if text.lower() in ("true", "false"):
            return Scalar(value=text.lower() == "true", words=text)
        case "bool":
            return _trap(text, f"as {'true' if text.lower() in ('yes', 'on', 'y') else 'false'}")
        case "int" if _DECIMAL.fullmatch(text):
            return _number(text, int(text) if len(text) < 20 else math.inf)
        case "float" if _FRACTION.fullmatch(text):
            return _number(text, float(text))
        case "int" | "float":
            return _trap(text, _as_number(node))
        case "timestamp":
            return _trap(text, "as a date")
        case "merge" | "value":
            return _trap(text, "as a key of its own")
        case _:
            return _trap(f"{node.tag} {text}", "as a type of its own")


def _number(text: str, value: int | float) -> Scalar:
    words = f"the number {bare(text)}"
    too_large = None if abs(value) <= LARGEST else f"{words}, beyond what every JSON reader keeps exactly"
    return Scalar(value=value, words=words, trap=too_large)


def _trap(text: str, meaning: str) -> Scalar:
    words = f"{bare(text)}, which YAML reads {meaning}"
    return Scalar(value=None, words=words, trap=words)


def _as_number(node: yaml.ScalarNode) -> str:
    """How YAML 1.1 reads a number that is not written in plain decimals."""
    if len(node.value) > 40:
        return "as a number"
    build = yaml.SafeLoader("")
    try:
        value = build.construct_yaml_int(node) if node.tag == f"{TAG}int" else build.construct_yaml_float(node)
        return f"as the number {value}"
    except (ValueError, IndexError, OverflowError, yaml.YAMLError):
        return "as a number"
