"""The lines that a store refused for good, each with its words, until somebody mends the cause."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from weeyuga_core.errors import UsageError
from weeyuga_core.ledger.osio import OS_IO
from weeyuga_core.sinks.elasticsearch.bulk import Item, Outcome
from weeyuga_core.sinks.elasticsearch.checkpoint import replace


class DeadLetters:
    """A file with one JSON object per dead line, each at most once. It is there only while it holds something."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a line that a crash broke off is cut, since its item was not acknowledged.

        Raises UsageError for a file that holds something else.
        """
        self.path = path
        self._letters: dict[str, dict[str, Any]] = {}
        for number, raw in enumerate(_complete_lines(path), start=1):
            letter = _parse(path, number, raw)
            self._letters[letter["id"]] = letter

    @property
    def ids(self) -> Collection[str]:
        """Identities of the dead."""
        return self._letters.keys()

    def reasons(self) -> dict[str, int]:
        """The stores' words -> how many died of it."""
        return dict(Counter(_words(letter) for letter in self._letters.values()))

    def add(self, refused: Iterable[tuple[Item, Outcome]]) -> None:
        """Keep the refused items; they are durable on return. Raises OSError."""
        new = [_letter(item, outcome) for item, outcome in refused if item.id not in self._letters]
        if not new:
            return
        created = not self.path.exists()
        with self.path.open("ab") as file:
            file.write(b"".join(_line(letter) for letter in new))
            file.flush()
            os.fsync(file.fileno())
        if created:
            OS_IO.fsync_dir(self.path.parent)
        self._letters |= {letter["id"]: letter for letter in new}

    def drop(self, ids: Collection[str]) -> None:
        """Forget those that are in the store after all. Raises OSError."""
        kept = {id_: letter for id_, letter in self._letters.items() if id_ not in ids}
        if len(kept) == len(self._letters):
            return
        if kept:
            replace(self.path, b"".join(map(_line, kept.values())))
        else:
            self.path.unlink()
            OS_IO.fsync_dir(self.path.parent)
        self._letters = kept


def count(path: Path) -> int:
    """How many letters a file holds."""
    return sum(1 for raw in _whole(path) if raw.endswith(b"\n"))


def _complete_lines(path: Path) -> list[bytes]:
    """The complete lines; the file is cut behind the last of them."""
    lines = _whole(path)
    if lines and not lines[-1].endswith(b"\n"):
        torn = lines.pop()
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(torn))
            os.fsync(file.fileno())
    return lines


def _parse(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    try:
        letter = json.loads(raw)
    except ValueError:
        letter = None
    if not isinstance(letter, dict) or not {"id", "status", "error_type", "reason"} <= letter.keys():
        raise UsageError(
            f"{path}:{number}: the line is no dead letter", hint="move the file away and replay the ledger --from-start"
        )
    return letter


def _whole(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _words(letter: Mapping[str, Any]) -> str:
    return ": ".join(str(letter[name]) for name in ("status", "error_type", "reason") if letter[name])


def _letter(item: Item, outcome: Outcome) -> dict[str, Any]:
    return {
        "id": item.id,
        "index": item.index,
        "status": outcome.status,
        "error_type": outcome.kind,
        "reason": outcome.reason,
        "record_sha256": item.record_sha256,
        "record": json.loads(item.raw),
    }


def _line(letter: Mapping[str, Any]) -> bytes:
    return json.dumps(letter, separators=(",", ":")).encode() + b"\n"
