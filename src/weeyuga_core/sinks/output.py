"""Where a sink of the core writes: a file that must be new, or stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias

from weeyuga_core.errors import UsageError

STDOUT = "-"

Ours: TypeAlias = Callable[[bytes], bool]
"""Content of a file that is there -> whether an earlier part of the same run wrote it."""


def nobodys(content: bytes) -> bool:
    """What is there is never ours: the run has no earlier part."""
    return False


class Output:
    """A new file, or stdout for `-`. `option` is how the operator asked for it, for messages.

    A file that is there is left alone, unless it is `ours`: then it is written anew, from the ledger that it came from.
    """

    def __init__(self, target: str, *, option: str, ours: Ours = nobodys) -> None:
        """Refuse a target that cannot be written, before anything is measured. Raises UsageError."""
        self._path = None if target == STDOUT else Path(target)
        self._option = option
        self._ours = ours
        self._file: BinaryIO | None = None
        if self._path is None:
            return
        if self._path.exists():
            self._check_ours(self._path)
        elif not self._path.parent.is_dir():
            raise self._refusal(f"has no folder to lie in: there is no {self._path.parent}")

    def open(self) -> None:
        """Create the file. Raises UsageError, also when a stranger's has appeared since."""
        if self._path is None:
            return
        anew = self._path.exists()
        if anew:
            self._check_ours(self._path)
        try:
            self._file = self._path.open("wb") if anew else self._path.open("xb")
        except FileExistsError as error:
            raise self._refusal("is there already; it is never overwritten") from error
        except OSError as error:
            raise self._refusal(f"cannot be written: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        """Write the bytes through to the operating system. Raises OSError, UsageError when not open."""
        file = self._stdout() if self._path is None else self._file
        if file is None:
            raise UsageError(f"{self._option}: the file is not open")
        file.write(data)
        file.flush()

    def close(self) -> None:
        """Make the file durable and close it; stdout stays open. Raises OSError."""
        file, self._file = self._file, None
        if file is not None:
            with file:
                file.flush()
                os.fsync(file.fileno())

    def _check_ours(self, path: Path) -> None:
        """Raise UsageError where a file is there that this run did not write."""
        try:
            ours = path.is_file() and self._ours(path.read_bytes())
        except OSError as error:
            raise self._refusal(f"is there already and cannot be read: {error.strerror}") from error
        if not ours:
            raise self._refusal("is there already; it is never overwritten")

    def _stdout(self) -> BinaryIO:
        sys.stdout.flush()  # what the command printed before comes before
        return sys.stdout.buffer

    def _refusal(self, words: str) -> UsageError:
        return UsageError(f"{self._option}: {self._path} {words}", hint="give another target, or move that one away")
