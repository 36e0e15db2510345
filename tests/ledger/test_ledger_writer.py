from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from weeyuga_core.errors import ExitCode, LedgerDamaged, LedgerError
from weeyuga_core.ledger.osio import OsIO
from weeyuga_core.ledger.reader import read
from weeyuga_core.ledger.writer import LedgerWriter


def test_records_become_lines_with_ascending_seq_and_true_offsets(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path) as writer:
        lines = [writer.append(make.meta()), *writer.append_many([make.cell(), make.call()]), writer.finish(make.end())]
    raw = path.read_bytes()
    assert [line.seq for line in lines] == [0, 1, 2, 3]
    assert [raw[line.offset : line.offset + len(line.raw)] for line in lines] == [line.raw for line in lines]
    assert b"".join(line.raw for line in lines) == raw
    assert [json.loads(line.raw) for line in lines] == [line.record for line in lines]


def test_the_end_record_counts_and_digests_what_stands_before_it(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path) as writer:
        writer.append_many([make.meta(), make.call()])
        before = path.read_bytes()
        assert (writer.size, writer.record_count) == (len(before), 2)
        end = writer.finish(make.end())
    assert end.record["record_count"] == 2
    assert end.record["ledger_sha256"] == hashlib.sha256(before).hexdigest()
    assert writer.sha256_hex == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read(path).digest_ok is True


def test_missing_folders_are_made_and_the_file_is_private_to_no_one(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "a" / "b" / "run.jsonl"
    with LedgerWriter.create(path) as writer:
        writer.append(make.meta())
        assert writer.path == path
    assert not stat.S_IMODE(path.stat().st_mode) & 0o111
    assert read(path).meta == make.meta()


def test_every_record_is_one_write_and_a_batch_is_synced_once(
    tmp_path: Path, make: SimpleNamespace, faulty: Callable[..., Any]
) -> None:
    io = faulty()
    with LedgerWriter.create(tmp_path / "run.jsonl", io=io) as writer:
        writer.append_many([make.meta(), make.cell(), make.call()])
        writer.append(make.call(1))
    assert io.calls == ["open", "fsync_dir", "write", "write", "write", "fsync", "write", "fsync"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("precious")
    with pytest.raises(LedgerError, match="is there already"):
        LedgerWriter.create(path)
    assert path.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"file/run\.jsonl: the ledger cannot be created: Not a directory"):
        LedgerWriter.create(tmp_path / "file" / "run.jsonl")


@pytest.mark.parametrize(
    "kinds",
    [
        *("call", "cell", "resume", "meta meta", "meta end call", "meta end end", "meta end resume"),
        *("meta interrupted call", "meta interrupted end", "meta interrupted meta", "meta interrupted resume meta"),
        "meta interrupted resume end resume",
    ],
)
def test_records_in_the_wrong_place_are_refused_and_not_written(
    tmp_path: Path, make: SimpleNamespace, kinds: str
) -> None:
    path = tmp_path / "run.jsonl"
    *good, bad = kinds.split()
    with LedgerWriter.create(path) as writer:
        for kind in good:
            put(writer, make, kind)
        before = path.read_bytes()
        with pytest.raises(LedgerError):
            put(writer, make, bad)
        assert path.read_bytes() == before


def put(writer: LedgerWriter, make: SimpleNamespace, kind: str) -> None:
    if kind in ("end", "interrupted"):
        writer.finish(attrs.evolve(make.end(), interrupted=kind == "interrupted"))
    else:
        writer.append(getattr(make, kind)())


@pytest.mark.parametrize(
    "kinds",
    ["meta resume call end", "meta interrupted resume call end", "meta interrupted resume interrupted resume end"],
)
def test_an_interrupted_run_goes_on_behind_its_end(tmp_path: Path, make: SimpleNamespace, kinds: str) -> None:
    path = tmp_path / "run.jsonl"
    first, *rest = kinds.split()
    with LedgerWriter.create(path) as writer:
        put(writer, make, first)
    for kind in rest:
        with LedgerWriter.reopen(path) as writer:
            put(writer, make, kind)
    ledger = read(path)
    assert (ledger.problems, ledger.digest_ok, ledger.lines) == ((), True, len(kinds.split()))
    assert len(ledger.resumes) == kinds.count("resume")
    assert len(ledger.earlier_ends) == kinds.count("interrupted")
    assert ledger.end is not None
    assert ledger.end.record_count == ledger.lines - 1


def test_an_end_record_without_its_digest_is_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    with LedgerWriter.create(tmp_path / "run.jsonl") as writer:
        writer.append(make.meta())
        with pytest.raises(LedgerError, match=r"finish\(\)"):
            writer.append(make.end())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens_per_sec": float("nan")}, "what JSON cannot"),
        ({"engine_timings": {"raw": object()}}, "what JSON cannot"),
        ({"first_delta_ms": 1.5}, "field `first_delta_ms` must be a whole number, not 1.5"),
    ],
)
def test_what_no_reader_would_take_is_not_written(
    tmp_path: Path, make: SimpleNamespace, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path) as writer:
        writer.append(make.meta())
        before = path.read_bytes()
        with pytest.raises(LedgerError, match=words):
            writer.append_many([make.call(), attrs.evolve(make.call(1), **change)])
        assert path.read_bytes() == before
        assert writer.append(make.call()).seq == 1


def test_a_closed_writer_says_so(tmp_path: Path, make: SimpleNamespace) -> None:
    writer = LedgerWriter.create(tmp_path / "run.jsonl")
    writer.close()
    writer.close()
    with pytest.raises(LedgerError, match="closed"):
        writer.append(make.meta())


def test_an_interruption_between_write_and_sync_leaves_no_fragment(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path, io=InterruptedOnce()) as writer:
        writer.append(make.meta())
        before = path.read_bytes()
        with pytest.raises(KeyboardInterrupt):
            writer.append(make.call())
        assert path.read_bytes() == before
        writer.append(make.call())
        writer.finish(make.end())
    assert read(path).problems == ()


class InterruptedOnce(OsIO):
    syncs = 0

    def fsync(self, fd: int) -> None:
        self.syncs += 1
        if self.syncs == 2:
            raise KeyboardInterrupt
        super().fsync(fd)


def test_reopening_goes_on_with_seq_offset_and_digest(tmp_path: Path, make: SimpleNamespace) -> None:
    path, straight = tmp_path / "run.jsonl", tmp_path / "straight.jsonl"
    with LedgerWriter.create(path) as writer:
        writer.append_many([make.meta(), make.call()])
    with LedgerWriter.reopen(path) as writer:
        line = writer.append(make.call(1))
        assert line.seq == 2
        writer.finish(make.end())
    with LedgerWriter.create(straight) as writer:
        writer.append_many([make.meta(), make.call(), make.call(1)])
        writer.finish(make.end())
    assert path.read_bytes() == straight.read_bytes()
    assert read(path).problems == ()


def test_a_complete_ledger_is_not_reopened(golden: Path) -> None:
    with pytest.raises(LedgerDamaged, match="end record"):
        LedgerWriter.reopen(golden)


def test_a_torn_ledger_is_not_reopened(tmp_path: Path, golden_lines: list[bytes]) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(golden_lines[0] + golden_lines[1][:-1])
    with pytest.raises(LedgerDamaged, match=r"run\.jsonl:2: the last line is torn"):
        LedgerWriter.reopen(path)


def test_a_full_device_is_told_with_the_files_name(tmp_path: Path, make: SimpleNamespace) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")

    class OnFullDevice(OsIO):
        def open(self, path: Path, flags: int) -> int:
            return os.open(full, os.O_WRONLY)

        def ftruncate(self, fd: int, size_bytes: int) -> None:
            """A device has no size."""

    with LedgerWriter.create(tmp_path / "run.jsonl", io=OnFullDevice()) as writer:
        with pytest.raises(LedgerError, match=r"run\.jsonl: record 1 could not be written: No space left") as caught:
            writer.append(make.meta())
        assert caught.value.exit_code == ExitCode.LEDGER
