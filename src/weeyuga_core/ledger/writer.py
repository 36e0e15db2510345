"""Write a ledger: append-only, one write per record, durable before `append` returns.

After any failure the file is cut back to its last good size before anything else happens: a fragment that stays
would stand in the middle once a later append succeeds, and damage in the middle is refused by every reader.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import attrs
from attrs import frozen

from weeyuga_core.errors import LedgerDamaged, LedgerError
from weeyuga_core.interfaces import Line
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.osio import OS_IO, LedgerIO, os_words, write_all
from weeyuga_core.ledger.structure import Unfit, to_record
from weeyuga_core.model.records import EndRecord, MetaRecord, Record, ResumeRecord, to_line

if TYPE_CHECKING:
    from hashlib import _Hash

_APPEND = os.O_WRONLY | os.O_APPEND
_HINT_KEPT = "every record before it is safe in the file"


@frozen(kw_only=True)
class _State:
    """What is durable. One value, so that an interruption finds either the old one or the new one."""

    size: int
    record_count: int
    next_seq: int
    digest: _Hash
    ended: bool = False
    interrupted: bool = False
    """Whether the end record is that of an interrupted run, which may be taken up again."""

    def after(self, line: Line) -> _State:
        digest = self.digest.copy()
        digest.update(line.raw)
        ended = line.record["type"] == EndRecord.TYPE
        return _State(
            size=line.offset + len(line.raw),
            record_count=self.record_count + 1,
            next_seq=line.seq + 1,
            digest=digest,
            ended=ended,
            interrupted=ended and line.record["interrupted"],
        )


class LedgerWriter:
    """The one writer of a ledger. Made by `create` or `reopen`; a context manager that closes itself."""

    def __init__(self, path: Path, fd: int, state: _State, io: LedgerIO) -> None:
        self._path = path
        self._fd: int | None = fd
        self._state = state
        self._io = io
        self._dead: str | None = None

    @classmethod
    def create(cls, path: Path, *, io: LedgerIO = OS_IO) -> LedgerWriter:
        """Start a new ledger, folders included. Raises LedgerError, also when the file is there already."""
        try:
            _make_folders(path.parent, io)
            fd = io.open(path, _APPEND | os.O_CREAT | os.O_EXCL)
        except FileExistsError as error:
            raise LedgerError(f"{path}: is there already; a ledger is never overwritten") from error
        except OSError as error:
            raise LedgerError(f"{path}: the ledger cannot be created: {os_words(error)}") from error
        try:
            io.fsync_dir(path.parent)
        except OSError as error:
            io.close(fd)
            raise LedgerError(f"{path}: the ledger's name cannot be made durable: {os_words(error)}") from error
        return cls(path, fd, _State(size=0, record_count=0, next_seq=0, digest=sha256()), io)

    @classmethod
    def reopen(cls, path: Path, *, io: LedgerIO = OS_IO) -> LedgerWriter:
        """Go on with a ledger whose run died or was interrupted. Call `recover` first.

        Raises LedgerDamaged for a torn tail or other damage and for a ledger whose run is over, LedgerError when the
        file cannot be opened for writing.
        """
        ledger = reader.read(path)
        if ledger.torn is not None:
            raise LedgerDamaged(f"{path}:{ledger.torn.line_no}: the last line is torn", hint="recover the ledger first")
        if not ledger.resumable:
            raise LedgerDamaged(f"{path}: the ledger has its end record; nothing may follow it")
        try:
            digest = sha256(path.read_bytes())
            fd = io.open(path, _APPEND)
        except OSError as error:
            raise LedgerError(f"{path}: the ledger cannot be opened for writing: {os_words(error)}") from error
        state = _State(
            size=ledger.size_bytes,
            record_count=ledger.lines,
            next_seq=ledger.last_seq + 1,
            digest=digest,
            ended=ledger.complete,
            interrupted=ledger.complete,
        )
        return cls(path, fd, state, io)

    @property
    def path(self) -> Path:
        """The file, as it was given."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes that are durable."""
        return self._state.size

    @property
    def record_count(self) -> int:
        """Records that are durable."""
        return self._state.record_count

    @property
    def sha256_hex(self) -> str:
        """Digest of the bytes that are durable."""
        return self._state.digest.hexdigest()

    def append(self, record: Record) -> Line:
        """Write one record durably; `seq` is given by the writer. Raises LedgerError."""
        return self.append_many([record])[0]

    def append_many(self, records: Iterable[Record]) -> list[Line]:
        """Write several records, durable together: one sync at their end. Raises LedgerError, and keeps none then."""
        lines: list[Line] = []
        state = self._state
        for record in records:
            self._may_follow(record, state)
            line = self._encode(attrs.evolve(record, seq=state.next_seq), state.size)
            lines.append(line)
            state = state.after(line)
        if lines:
            self._commit(lines, state)
        return lines

    def finish(self, end: EndRecord) -> Line:
        """Write the end record, with the count and the digest of what stands before it. Raises LedgerError."""
        return self.append(attrs.evolve(end, record_count=self.record_count, ledger_sha256=self.sha256_hex))

    def close(self) -> None:
        """Close the file; closing twice is fine. Raises LedgerError."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            self._io.close(fd)
        except OSError as error:
            raise LedgerError(
                f"{self._path}: the ledger could not be closed: {os_words(error)}",
                hint=f"its {self.record_count} records are safe in the file",
            ) from error

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- what may be written -----------------------------------------------------------------------------------

    def _may_follow(self, record: Record, state: _State) -> None:
        """Refuse a record in the wrong place."""
        if state.ended and not (state.interrupted and isinstance(record, ResumeRecord)):
            raise LedgerError(f"{self._path}: nothing may follow the end record, and a {record.TYPE} record would")
        if isinstance(record, MetaRecord) is not (state.record_count == 0):
            raise LedgerError(
                f"{self._path}: a ledger has one meta record, the first; this {record.TYPE} record is not it"
            )
        if isinstance(record, EndRecord) and (record.ledger_sha256, record.record_count) != (
            state.digest.hexdigest(),
            state.record_count,
        ):
            raise LedgerError(f"{self._path}: an end record is written by finish(), which knows its digest")

    def _encode(self, record: Record, offset: int) -> Line:
        """The record's line. What our own reader would refuse is never written."""
        try:
            raw = to_line(record)
            data = json.loads(raw)
            to_record(data)
        except Unfit as error:
            raise LedgerError(f"{self._path}: line {record.seq + 1} would not be readable: {error}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise LedgerError(f"{self._path}: the {record.TYPE} record holds what JSON cannot: {error}") from error
        return Line(record.seq, offset, raw, data)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _commit(self, lines: Iterable[Line], state: _State) -> None:
        """Write the lines and make them durable, or leave the file as it was."""
        fd = self._open_fd()
        step = "written"
        try:
            for line in lines:
                write_all(self._io, fd, line.raw)
            step = "made durable"
            self._io.fsync(fd)
            self._state = state
        except OSError as error:
            if step == "made durable":
                # The kernel may have dropped the dirty pages; a second fsync would report success for lost bytes.
                self._dead = f"a sync failed: {os_words(error)}"
            self._fail(step, error, cut_off=self._roll_back(fd))
        except BaseException:  # Ctrl-C between two system calls must not leave a fragment either
            self._roll_back(fd)
            raise

    def _open_fd(self) -> int:
        if self._dead is not None:
            raise LedgerError(f"{self._path}: nothing more is written, since {self._dead}", hint=_HINT_KEPT)
        if self._fd is None:
            raise LedgerError(f"{self._path}: the ledger is closed")
        return self._fd

    def _roll_back(self, fd: int) -> bool:
        """Cut off what was not made durable. Where even that fails the writer is dead."""
        try:
            self._io.ftruncate(fd, self._state.size)
        except OSError as error:
            self._dead = f"a broken-off line could not be cut off: {os_words(error)}"
            return False
        return True

    def _fail(self, step: str, error: OSError, *, cut_off: bool) -> NoReturn:
        count = self._state.record_count
        tail = "" if cut_off else f"; {self._dead}; readers set such a last line aside"
        raise LedgerError(
            f"{self._path}: record {count + 1} could not be {step}: {os_words(error)}{tail}",
            hint=f"the {count} records before it are safe in the file",
        ) from error


def _make_folders(folder: Path, io: LedgerIO) -> None:
    """Create what is missing of a folder, outermost first, each name made durable in the one above."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        io.fsync_dir(one.parent)
