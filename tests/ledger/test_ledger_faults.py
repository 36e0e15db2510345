"""Fail every system call of a run in turn: what was reported durable is there, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import pytest

from weeyuga_core.errors import LedgerError, NothingToDo
from weeyuga_core.interfaces import Line
from weeyuga_core.ledger.osio import OsIO
from weeyuga_core.ledger.reader import Ledger, read
from weeyuga_core.ledger.recover import recover
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.model.records import Record

KILLS = 20
CHILD = Path(__file__).with_name("ledger_child.py")


def write_a_run(path: Path, make: SimpleNamespace, io: Any) -> list[Line]:
    """What was reported durable until the run ended or the ledger refused."""
    durable: list[Line] = []
    with suppress(LedgerError), LedgerWriter.create(path, io=io) as writer:
        durable.append(writer.append(make.meta()))
        durable += writer.append_many([make.cell(), make.call()])
        durable.append(writer.append(make.call(1)))
        durable.append(writer.finish(make.end()))
    return durable


def calls_of_a_run(tmp_path: Path, make: SimpleNamespace, faulty: Callable[..., Any]) -> int:
    io = faulty()
    write_a_run(tmp_path / "whole.jsonl", make, io)
    return len(io.calls)


def must_be_a_prefix(path: Path, durable: list[Line]) -> None:
    """The file is exactly the lines that were reported."""
    assert path.read_bytes() == b"".join(line.raw for line in durable)
    if durable:
        assert read(path).lines == len(durable)
    else:
        with pytest.raises(NothingToDo):
            read(path)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("short_write", [False, True])
def test_whichever_call_fails_the_file_holds_what_was_reported(
    tmp_path: Path, make: SimpleNamespace, faulty: Callable[..., Any], error: int, short_write: bool
) -> None:
    total = calls_of_a_run(tmp_path, make, faulty)
    reported = []
    for nth in range(1, total + 1):
        path = tmp_path / f"{nth}.jsonl"
        io = faulty(fail_at=(nth,), error=error, short_write=short_write)
        durable = write_a_run(path, make, io)
        reported.append(len(durable))
        if path.exists():
            must_be_a_prefix(path, durable)
        else:
            assert io.calls == ["open"]
    complete = 5
    assert reported[0] == 0
    assert (complete in reported) is short_write, "a short write alone is continued; every other fault stops the run"


class HalfThenFull(OsIO):
    """The second record's write takes half of it; there is no room for the rest, and then there is again."""

    writes = 0

    def write(self, fd: int, data: bytes) -> int:
        self.writes += 1
        if self.writes == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data[: len(data) // 2] if self.writes == 2 else data)


def test_a_short_write_that_then_fails_is_cut_off(tmp_path: Path, make: SimpleNamespace) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path, io=HalfThenFull()) as writer:
        meta = writer.append(make.meta())
        with pytest.raises(LedgerError, match="No space left"):
            writer.append(make.call())
        must_be_a_prefix(path, [meta])
        assert writer.append(make.call()).seq == 1, "once there is room again the writer goes on"
        writer.finish(make.end())
    assert read(path).problems == ()


def test_a_system_that_takes_no_byte_is_an_error_not_a_loop(tmp_path: Path, make: SimpleNamespace) -> None:
    class Idle(OsIO):
        def write(self, fd: int, data: bytes) -> int:
            return 0

    writer = LedgerWriter.create(tmp_path / "run.jsonl", io=Idle())
    with writer, pytest.raises(LedgerError, match="no byte was taken"):
        writer.append(make.meta())


def test_after_a_failed_sync_nothing_more_is_written(
    tmp_path: Path, make: SimpleNamespace, faulty: Callable[..., Any]
) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path, io=faulty(fail_at=(2,), error=errno.EIO, fail_only="fsync")) as writer:
        meta = writer.append(make.meta())
        with pytest.raises(LedgerError, match="record 2 could not be made durable: Input/output error"):
            writer.append(make.call())
        with pytest.raises(LedgerError, match="nothing more is written, since a sync failed"):
            writer.append(make.call())
        with pytest.raises(LedgerError, match="nothing more is written, since a sync failed"):
            writer.finish(make.end())
        must_be_a_prefix(path, [meta])


class Broken(OsIO):
    """A call's write breaks off, and from then on nothing can be cut off either."""

    def write(self, fd: int, data: bytes) -> int:
        if b'"call"' not in data:
            return super().write(fd, data)
        super().write(fd, data[:20])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def ftruncate(self, fd: int, size_bytes: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_where_cutting_off_fails_too_the_writer_stops_and_the_reader_copes(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    path = tmp_path / "run.jsonl"
    with LedgerWriter.create(path, io=Broken()) as writer:
        meta = writer.append(make.meta())
        with pytest.raises(LedgerError, match="could not be cut off"):
            writer.append(make.call())
        with pytest.raises(LedgerError, match="nothing more is written"):
            writer.append(make.call())
    ledger = read(path)
    assert (ledger.lines, ledger.torn and ledger.torn.bytes_len) == (1, 20)
    recover(path)
    must_be_a_prefix(path, [meta])


@pytest.mark.parametrize("nth", range(1, 10))
def test_whichever_call_of_a_recovery_fails_no_byte_is_lost(
    tmp_path: Path, golden_lines: list[bytes], faulty: Callable[..., Any], nth: int
) -> None:
    path = tmp_path / "run.jsonl"
    good, torn = b"".join(golden_lines[:3]), golden_lines[3][:100]
    path.write_bytes(good + torn)
    io = faulty(fail_at=(nth,))
    error = failure_of(lambda: recover(path, io=io))
    assert (error is not None) is (nth <= len(io.calls))
    assert error is None or "could not be moved" in error.message
    asides = [one.read_bytes() for one in tmp_path.glob("run.jsonl.torn-*")]
    assert path.read_bytes() == good + torn or (path.read_bytes() == good and torn in asides)
    recover(path)
    assert path.read_bytes() == good
    assert torn in [one.read_bytes() for one in tmp_path.glob("run.jsonl.torn-*")]


def failure_of(action: Callable[[], object]) -> LedgerError | None:
    try:
        action()
    except LedgerError as error:
        return error
    return None


def test_no_space_from_the_kernel_stops_the_run_with_a_sound_ledger(tmp_path: Path) -> None:
    strace = which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    path = tmp_path / "run.jsonl"
    inject = "inject=write:error=ENOSPC:when=4"
    traced = [strace, "-f", "-qq", "-o", str(tmp_path / "trace"), "-P", str(path), "-e", inject]
    done = subprocess.run(
        [*traced, sys.executable, str(CHILD), str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 74, done.stderr
    assert "No space left on device" in done.stderr
    assert done.stdout.split() == ["0", "1", "2"]
    ledger = read(path)
    assert (ledger.lines, ledger.torn) == (3, None)


def test_a_killed_writer_leaves_every_record_it_had_reported(tmp_path: Path, make: SimpleNamespace) -> None:
    for cycle in range(KILLS):
        path = tmp_path / f"{cycle}.jsonl"
        durable = kill_after(path, records=1 + cycle)
        ledger = read(path)
        assert ledger.lines > durable
        torn = recover(path)
        assert (torn is None) is (ledger.torn is None)
        assert_goes_on(path, ledger, make.call())


def kill_after(path: Path, records: int) -> int:
    """Start a writer, kill it once it has reported that many records, return the last seq it reported."""
    with subprocess.Popen([sys.executable, str(CHILD), str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(records):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    reported = rest.splitlines(keepends=True)
    whole = [line for line in reported if line.endswith(b"\n")]
    return int(whole[-1]) if whole else records - 1


def assert_goes_on(path: Path, before: Ledger, record: Record) -> None:
    with LedgerWriter.reopen(path) as writer:
        line = writer.append(record)
    assert line.seq == before.last_seq + 1
    assert read(path).lines == before.lines + 1
