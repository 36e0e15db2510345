"""What is wrong with a file of the user's, where, and how it is shown: the line, a caret, the way out."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

from weeyuga_core.errors import ConfigError

if TYPE_CHECKING:
    import yaml

SHOWN_WIDTH = 120
"""Columns of a source line that are shown; a longer one is cut around the caret."""

Fault: TypeAlias = tuple[str, str | None]
"""What is wrong, and the help."""

_LINE_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*(?=@)")


@frozen(kw_only=True)
class Problem:
    """One thing wrong in one file. Lines and columns count from 1; both are None where the whole file is meant."""

    message: str
    file: str
    line: int | None = None
    column: int | None = None
    length: int = 1
    help: str | None = None
    source_line: str | None = field(default=None, repr=False)
    """The line as it may be shown: secrets masked, nothing in it that a terminal would act upon."""

    def render(self) -> str:
        """The message, where it is, the source line with the place underlined, and the help."""
        lines = [self.message, *self._excerpt()]
        if self.help:
            lines.append(f"    = help: {self.help}")
        return "\n".join(lines)

    def _excerpt(self) -> list[str]:
        if self.line is None or self.column is None:
            return []
        place = f"  --> {self.file}:{self.line}:{self.column}"
        if not self.source_line:
            return [place]
        start = max(0, self.column - 1 - SHOWN_WIDTH // 2)
        shown = self.source_line[start : start + SHOWN_WIDTH]
        before, marked = shown[: self.column - 1 - start], shown[self.column - 1 - start :][: self.length]
        number = f"  {self.line}"
        return [
            place,
            f"{number} | {shown}",
            f"{' ' * len(number)} | {' ' * _columns(before)}{'^' * max(1, _columns(marked))}",
        ]


class ConfigErrors(ConfigError):
    """Every problem of the configuration files, found in one pass.

    The text is meant to follow the word `error: `, which the command line prints before every message: the first
    problem comes without it, the others bring their own.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        found = Counter(problem.file for problem in self.problems)
        counts = ", ".join(f"{n} error{'s' if n > 1 else ''} in {file}" for file, n in found.items())
        super().__init__("\nerror: ".join(problem.render() for problem in self.problems) + f"\n{counts}")


@frozen
class Source:
    """A file's name and text."""

    name: str
    text: str

    @cached_property
    def line_starts(self) -> list[int]:
        """Offset of each line's first character, split as YAML splits."""
        return [0, *(match.end() for match in _LINE_BREAK.finditer(self.text))]

    def line(self, number: int) -> str:
        """The text of a line counted from 0, without its break; empty past the end."""
        begin, end = [*self.line_starts[number : number + 2], None, None][:2]
        return "" if begin is None else self.text[begin:end].rstrip("\r\n\x85\u2028\u2029")

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 0, of a character."""
        line = bisect_right(self.line_starts, offset) - 1
        return line, offset - self.line_starts[line]


class Log:
    """Collects the problems of one file."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._problems: dict[Problem, None] = {}

    def at(self, node: yaml.Node, message: str, help: str | None = None, *, secret: bool = False) -> None:
        """Note a problem of a node; a `secret` one is not shown."""
        start, end = node.start_mark, node.end_mark
        rest = self.source.line(start.line)[start.column :].rstrip()
        length = end.column - start.column if end.line == start.line else len(rest)
        self.spot(start.line, start.column, message, help, length=length, secret=secret)

    def spot(
        self,
        line: int,
        column: int,
        message: str,
        help: str | None = None,
        *,
        length: int = 1,
        secret: bool = False,
    ) -> None:
        """Note a problem at a line and column counted from 0."""
        length = max(1, length)
        text = self.source.line(line)
        if secret:
            text = text[:column] + "*" * min(length, len(text) - column) + text[column + length :]
        problem = Problem(
            message=message,
            file=self.source.name,
            line=line + 1,
            column=column + 1,
            length=length,
            help=help,
            source_line=_presentable(text),
        )
        # A mapping that is merged into several others would report the same thing as often.
        self._problems.setdefault(problem)

    def whole(self, message: str, help: str | None = None) -> None:
        """Note a problem of the file as a whole."""
        self._problems.setdefault(Problem(message=message, file=self.source.name, help=help))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems from the top of the file to its end, each once."""
        return tuple(sorted(self._problems, key=lambda problem: (problem.line or 0, problem.column or 0)))


def shown(value: str) -> str:
    """A value quoted for a message: short, printable, and without the credentials of a URL."""
    value = _masked(value)
    return repr(value if len(value) <= 60 else value[:57] + "...")


def bare(value: str) -> str:
    """A value as `shown` shows it, without the quotes."""
    return shown(value)[1:-1]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The nearest known word, if one is near, and all that are known."""
    near = get_close_matches(word, known, n=1)
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return (f"did you mean {near[0]!r}? " if near else "") + f"allowed: {listed or 'none'}"


def _masked(text: str) -> str:
    return _URL_CREDENTIALS.sub(lambda match: "*" * len(match[0]), text)


def _presentable(text: str) -> str:
    """The same number of characters, tabs as spaces, what cannot be printed as U+FFFD."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in _masked(text))


def _columns(text: str) -> int:
    """How many terminal columns a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
