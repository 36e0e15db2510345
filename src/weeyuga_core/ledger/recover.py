"""Repair the only damage that a dying writer may leave: a torn last line."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import attrs

from weeyuga_core.errors import LedgerError
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.lines import TornTail, scan
from weeyuga_core.ledger.osio import OS_IO, LedgerIO, os_words, write_all


def recover(path: Path, *, io: LedgerIO = OS_IO) -> TornTail | None:
    """Move a torn tail to a file of its own beside the ledger and cut it off; None when there is none.

    The bytes are durable in their new place before the ledger is touched, so a crash in between loses nothing and
    recovering again is safe. Raises LedgerDamaged for every other damage, LedgerError when a file cannot be written.
    """
    torn = _torn_tail(path)
    if torn is None:
        return None
    aside = path.with_name(f"{path.name}.torn-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        _keep(_tail_bytes(path, torn), aside, io)
        _cut(path, torn.offset, io)
    except OSError as error:
        raise LedgerError(
            f"{path}: the torn tail at byte {torn.offset} could not be moved to {aside.name}: {os_words(error)}",
            hint="the complete lines before it are untouched",
        ) from error
    return attrs.evolve(torn, moved_to=aside.name)


def _torn_tail(path: Path) -> TornTail | None:
    """The torn tail of a ledger that is otherwise sound; a torn first line leaves nothing to be sound."""
    found = list(scan(path))
    if len(found) == 1 and isinstance(found[0], TornTail):
        return found[0]
    return reader.read(path).torn if found else None


def _tail_bytes(path: Path, torn: TornTail) -> bytes:
    with path.open("rb") as file:
        file.seek(torn.offset)
        return file.read()


def _keep(data: bytes, aside: Path, io: LedgerIO) -> None:
    fd = io.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(io, fd, data)
        io.fsync(fd)
    finally:
        io.close(fd)
    io.fsync_dir(aside.parent)


def _cut(path: Path, size_bytes: int, io: LedgerIO) -> None:
    fd = io.open(path, os.O_WRONLY)
    try:
        io.ftruncate(fd, size_bytes)
        io.fsync(fd)
    finally:
        io.close(fd)
