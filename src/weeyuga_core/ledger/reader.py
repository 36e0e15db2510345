"""Read a ledger: whole, into records, or line by line as it stands in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from weeyuga_core.errors import NothingToDo, UsageError
from weeyuga_core.interfaces import Line
from weeyuga_core.ledger.lines import RawLine, TornTail, damaged, scan
from weeyuga_core.ledger.structure import Unfit, to_record
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ResumeRecord

__all__ = ["Ledger", "Line", "TornTail", "iter_lines", "read"]


@frozen(kw_only=True)
class Ledger:
    """A ledger in memory: its records in the order of the file, and what there is to say about the file itself."""

    path_name: str
    """Name of the file, without its folder: what is derived from a ledger does not depend on where it lies."""
    meta: MetaRecord
    cells: tuple[CellRecord, ...]
    calls: tuple[CallRecord, ...]
    end: EndRecord | None
    """The end of the run as it stands now: one that a resume record follows is among `earlier_ends`."""
    torn: TornTail | None
    unknown: int
    """Lines whose `type` this version does not know; they are counted and passed over."""
    lines: int
    """Complete lines, of every type."""
    size_bytes: int
    """Length of the complete lines."""
    last_seq: int
    digest_ok: bool | None
    """Whether the bytes before each end record are the ones its digest was taken of; None where there is no digest."""
    gaps: tuple[str, ...] = ()
    """Where `seq` jumps, as `line 5: seq 4 is followed by 6`: lines were taken out."""
    resumes: tuple[ResumeRecord, ...] = ()
    """Where the run was taken up again."""
    earlier_ends: tuple[EndRecord, ...] = ()
    """Ends of an interrupted run that was taken up again."""

    @property
    def complete(self) -> bool:
        """Whether the run ended by itself, interrupted or not."""
        return self.end is not None

    @property
    def ends(self) -> tuple[EndRecord, ...]:
        """Every end, the last one included."""
        return (*self.earlier_ends, *((self.end,) if self.end is not None else ()))

    @property
    def resumable(self) -> bool:
        """Whether the run died or was interrupted, so that it can be taken up again."""
        return self.end is None or self.end.interrupted

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file, in words; empty for one that is whole and as it was written."""
        told = list(self.gaps)
        if self.torn is not None:
            told.append(f"line {self.torn.line_no}: torn, {self.torn.bytes_len} bytes set aside")
        if self.end is None:
            told.append("no end record: the run died")
        if self.digest_ok is False:
            told.append("digest mismatch: the file was changed after it was written")
        return tuple(told)


def read(path: Path) -> Ledger:
    """Read a whole ledger; the file is not changed.

    Raises LedgerDamaged, naming file, line and field, for what no writer leaves behind; NothingToDo for a file
    without a complete line; UsageError for one that cannot be read.
    """
    reading = _Reading(path)
    torn = None
    for item in scan(path):
        if isinstance(item, TornTail):
            torn = item
        else:
            reading.take(item)
    return reading.ledger(torn)


def iter_lines(path: Path, from_offset: int = 0) -> Iterator[Line]:
    """The complete lines that begin at that byte or after it, as a sink is given them. Safe while a run is writing.

    Raises LedgerDamaged as `scan` does, and UsageError when no line begins at `from_offset`.
    """
    begun = from_offset == 0
    end = 0
    for ordinal, item in enumerate(scan(path)):
        if isinstance(item, TornTail):
            break
        end = item.offset + len(item.raw)
        begun = begun or item.offset == from_offset
        if begun:
            yield Line(_seq(item.data, ordinal), item.offset, item.raw, item.data)
    if not begun and from_offset != end:
        raise UsageError(f"{path}: no line begins at byte {from_offset}", hint="replay the ledger from byte 0")


def _seq(data: Mapping[str, Any], ordinal: int) -> int:
    """`seq` of a line; ledgers from before it existed are counted from 0."""
    seq = data.get("seq", ordinal)
    return seq if type(seq) is int else ordinal


class _Reading:
    """What has been read so far, and the rules about what may follow it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._meta: MetaRecord | None = None
        self._cells: list[CellRecord] = []
        self._calls: list[CallRecord] = []
        self._end: EndRecord | None = None
        self._earlier_ends: list[EndRecord] = []
        self._resumes: list[ResumeRecord] = []
        self._gaps: list[str] = []
        self._digest = hashlib.sha256()
        self._unknown = self._lines = self._size_bytes = 0
        self._last_seq = -1
        self._digest_ok: bool | None = None

    def take(self, line: RawLine) -> None:
        """Add one line. Raises LedgerDamaged."""
        if self._end is not None and not self._goes_on(line):
            raise damaged(self._path, line.line_no, "comes after the end record")
        self._check_seq(line)
        self._sort_in(line)
        self._digest.update(line.raw)
        self._lines += 1
        self._size_bytes += len(line.raw)

    def _goes_on(self, line: RawLine) -> bool:
        """Whether the line takes an interrupted run up again."""
        return self._end is not None and self._end.interrupted and line.data.get("type") == ResumeRecord.TYPE

    def _check_seq(self, line: RawLine) -> None:
        seq = _seq(line.data, self._lines)
        if seq <= self._last_seq:
            raise damaged(
                self._path, line.line_no, f"has seq {seq} after {self._last_seq}: lines were mixed up or repeated"
            )
        if seq != self._last_seq + 1:
            self._gaps.append(f"line {line.line_no}: seq {self._last_seq} is followed by {seq}")
        self._last_seq = seq

    def _sort_in(self, line: RawLine) -> None:
        try:
            record = to_record(line.data)
        except Unfit as error:
            raise damaged(self._path, line.line_no, f"does not fit: {error}") from None
        if isinstance(record, MetaRecord) is not (self._meta is None):
            fault = "is a second meta record" if self._meta else "is not the meta record that a ledger begins with"
            raise damaged(self._path, line.line_no, fault)
        match record:
            case MetaRecord():
                self._meta = record
            case CellRecord():
                self._cells.append(record)
            case CallRecord():
                self._calls.append(record)
            case EndRecord():
                self._end = record
                self._check_digest(record)
            case ResumeRecord():
                self._resumes.append(record)
                if self._end is not None:
                    self._earlier_ends.append(self._end)
                    self._end = None
            case None:
                self._unknown += 1

    def _check_digest(self, end: EndRecord) -> None:
        """Hold the lines so far against the digest; one that does not match spoils the ledger for good."""
        if end.ledger_sha256 is not None:
            self._digest_ok = self._digest_ok is not False and end.ledger_sha256 == self._digest.hexdigest()

    def ledger(self, torn: TornTail | None) -> Ledger:
        """Everything read. Raises NothingToDo when that is nothing."""
        if self._meta is None:
            what = f"only a torn line of {torn.bytes_len} bytes" if torn else "nothing"
            raise NothingToDo(
                f"{self._path}: the ledger holds {what}: its run died before the first record was written"
            )
        return Ledger(
            path_name=self._path.name,
            meta=self._meta,
            cells=tuple(self._cells),
            calls=tuple(self._calls),
            end=self._end,
            torn=torn,
            unknown=self._unknown,
            lines=self._lines,
            size_bytes=self._size_bytes,
            last_seq=self._last_seq,
            digest_ok=self._digest_ok,
            gaps=tuple(self._gaps),
            resumes=tuple(self._resumes),
            earlier_ends=tuple(self._earlier_ends),
        )
