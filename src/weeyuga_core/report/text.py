"""Figures and foreign words as Markdown: rounding in one place, and nothing an engine says can break a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from weeyuga_core.analysis.notes import clip
from weeyuga_core.analysis.stats import Spread

NONE = "–"
"""Stands where a figure is missing; the notes of the cell say why."""

UNCERTIFIED = "†"
"""Stands behind a 95th percentile of too few values."""

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Half characters cannot be written as UTF-8; the others turn or hide the text around them.
_UNSAFE = re.compile(r"[\ud800-\udfff\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# Underscores between letters are only underscores, as in `process_start`.
_MARKUP = re.compile(r"([\\`|*~\[\]<>]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def escape(words: str) -> str:
    """Words of an engine or a user on one line, with no character that Markdown would act upon."""
    return _MARKUP.sub(r"\\\1", _UNSAFE.sub("\ufffd", _BREAKS.sub(" ", words))).strip()


def word(value: str | None) -> str:
    """One such word, or the sign for none."""
    return NONE if value is None else escape(clip(value)) or NONE


def plain(value: Any) -> str:
    """A JSON value in a few words."""
    return word(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def pairs(values: Any) -> str:
    """A mapping as `key value, key value`, or the sign for none."""
    return ", ".join(f"{escape(key)} {plain(value)}" for key, value in values.items()) or NONE


def whole(value: float | None) -> str:
    """Milliseconds or tokens, to the nearest whole one, half to even."""
    return NONE if value is None else str(round(value))


def rate(value: float | None) -> str:
    """Tokens per second: two decimals below ten, else one."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def extent(values: Spread) -> str:
    """From the smallest to the largest, or the one value that they all are."""
    low, high = whole(values.min), whole(values.max)
    return low if low == high else f"{low}..{high}"


def high(values: Spread) -> str:
    """The 95th percentile, marked where it is uncertified."""
    return whole(values.p95) if values.p95 is None or values.p95_certified else f"{whole(values.p95)} {UNCERTIFIED}"


def part(values: Spread, whole_of: Spread) -> str:
    """Tokens out of tokens, as `10 of 11`."""
    return NONE if values.n == 0 else f"{extent(values)} of {extent(whole_of)}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, columns padded for those who read it as text; all but the first stand to the right."""
    widths = [max(3, *(len(line[i]) for line in [headers, *rows])) for i in range(len(headers))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [_row(headers, widths), _row(rule, widths), *(_row(row, widths) for row in rows)]


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    first = texts[0].ljust(widths[0])
    return (
        "| "
        + " | ".join([first, *(text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True))])
        + " |"
    )
