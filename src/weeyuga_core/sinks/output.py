"""Where a sink of the core writes: a file that must be new, or stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from weeyuga_core.errors import UsageError

STDOUT = "-"


class Output:
    """A new file, or stdout for `-`. `option` is how the operator asked for it, for messages."""

    def __init__(self, target: str, *, option: str) -> None:
        """Refuse a target that cannot be written, before anything is measured. Raises UsageError."""
        self._path = None if target == STDOUT else Path(target)
        self._option = option
        self._file: BinaryIO | None = None
        if self._path is None:
            return
        if self._path.exists():
            raise self._refusal("is there already; it is never overwritten")
        if not self._path.parent.is_dir():
            raise self._refusal(f"has no folder to lie in: there is no {self._path.parent}")

    def open(self) -> None:
        """Create the file. Raises UsageError, also when it has appeared since."""
        if self._path is None:
            return
        try:
            self._file = self._path.open("xb")
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

    def _stdout(self) -> BinaryIO:
        sys.stdout.flush()  # what the command printed before comes before
        return sys.stdout.buffer

    def _refusal(self, words: str) -> UsageError:
        return UsageError(f"{self._option}: {self._path} {words}", hint="give another target, or move that one away")
