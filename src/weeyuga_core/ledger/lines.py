"""The lines of a ledger file, without asking what they mean: complete ones, and a torn one at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from weeyuga_core.errors import LedgerDamaged, UsageError
from weeyuga_core.ledger.osio import os_words

START = b'{"type":"meta"'
"""How every ledger of this harness begins."""

HINT_DAMAGED = "restore the file from a copy; nothing in it was changed, and no line is passed over in silence"


@frozen(kw_only=True)
class TornTail:
    """What a writer that died, or a full disk, left behind the last complete line."""

    offset: int
    bytes_len: int
    line_no: int
    moved_to: str | None = None
    """Name of the file beside the ledger that keeps the bytes, once they were moved there."""


@frozen(kw_only=True)
class RawLine:
    """A complete line: its number from 1, where it begins, its bytes (newline included) and the JSON object in it."""

    line_no: int
    offset: int
    raw: bytes
    data: dict[str, Any]


def scan(path: Path) -> Iterator[RawLine | TornTail]:
    """Yield the complete lines of a ledger, then the torn tail if it has one. Never changes the file.

    A tail is torn when its newline is missing, or when the last line is no JSON object: after a crash, file systems
    may show zeros where bytes were promised. Raises LedgerDamaged for any other line of that kind, and UsageError
    for a file that cannot be read.
    """
    offset, torn = 0, None
    for line_no, raw in enumerate(_raw_lines(path), start=1):
        if torn is not None:
            raise damaged(path, torn.line_no, "is no JSON object, and more lines follow")
        data = _parse(raw)
        if data is None:
            if line_no == 1 and not _may_begin_a_ledger(raw):
                raise damaged(path, 1, "is not the meta record that a ledger begins with")
            torn = TornTail(offset=offset, bytes_len=len(raw), line_no=line_no)
        else:
            yield RawLine(line_no=line_no, offset=offset, raw=raw, data=data)
        offset += len(raw)
    if torn is not None:
        yield torn


def damaged(path: Path, line_no: int, words: str) -> LedgerDamaged:
    """The error for one line, by file and number."""
    return LedgerDamaged(f"{path}:{line_no}: the line {words}", hint=HINT_DAMAGED)


def _raw_lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes, up to the first that has no newline: a writer may be finishing that one while we read."""
    try:
        with path.open("rb") as file:
            for raw in file:
                yield raw
                if not raw.endswith(b"\n"):
                    return
    except OSError as error:
        raise UsageError(f"{path}: the ledger cannot be read: {os_words(error)}") from error


def _parse(raw: bytes) -> dict[str, Any] | None:
    """The JSON object of a complete line, or None."""
    if not raw.endswith(b"\n"):
        return None
    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _refuse(word: str) -> None:
    """NaN and the infinities are no JSON, whatever Python says."""
    raise ValueError(f"{word} is not JSON")


def _may_begin_a_ledger(raw: bytes) -> bool:
    """Whether these bytes can be what is left of a meta record: else the file is something else altogether."""
    return START.startswith(raw[: len(START)]) or not raw.strip(b"\0")
