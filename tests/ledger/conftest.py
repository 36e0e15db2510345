"""A golden ledger, records to write, and a file system that fails when it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import define, field

from weeyuga_core.ledger.osio import OsIO
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ResumeRecord

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_v1.jsonl"
RESUMED = GOLDEN.with_name("ledger_v1_resumed.jsonl")
"""The same run, interrupted after its fourth call and taken up again half an hour later."""
CELL_ID = "mac:echo:tiny"


def make_meta() -> MetaRecord:
    return MetaRecord(
        benchmark_run_id="run-1",
        git_sha=None,
        git_dirty=None,
        harness_version="1",
        started_at_utc="2026-04-29T02:00:00.000Z",
        host="bench",
        load_avg_start=(0.5, 0.25, 0.125),
        env_route=None,
        env_llamacpp_url=None,
        cells_planned=(CELL_ID,),
    )


def make_call(run_idx: int = 0, error: str | None = None) -> CallRecord:
    return CallRecord(
        cell_id=CELL_ID,
        prompt_id="P-EASY",
        phase="warm",
        run_idx=run_idx,
        first_delta_ms=12,
        total_duration_ms=40,
        prompt_tokens=3,
        completion_tokens=2,
        tokens_per_sec=71.4,
        finish_reason="stop",
        backend="echo",
        error=error,
    )


def make_cell() -> CellRecord:
    return CellRecord(
        cell_id=CELL_ID,
        node="mac",
        engine="echo",
        label="tiny",
        request_model="tiny",
        endpoint="http://127.0.0.1:1",
        launched=False,
        engine_version=None,
        engine_version_source=None,
        model_digest=None,
        model_digest_source=None,
        flags=(),
        options={"temperature": 0},
        prompt_cache="engine-default",
        facts={"context": 4096},
        fingerprint=None,
        fingerprint_parts={},
    )


def make_end() -> EndRecord:
    return EndRecord(
        benchmark_run_id="run-1",
        finished_at_utc="2026-04-29T02:01:00.000Z",
        load_avg_end=(0.5, 0.5, 0.25),
        verdict="valid",
        reasons=(),
        calls=1,
        errors=0,
        skipped=0,
        steps_planned=1,
    )


def make_resume() -> ResumeRecord:
    return ResumeRecord(
        benchmark_run_id="run-1",
        resumed_at_utc="2026-04-29T02:30:00.000Z",
        load_avg=(0.5, 0.5, 0.25),
        gap_s=1740.0,
        flags=(),
        warnings=(),
        git_dirty=None,
        git_dirty_files=(),
        steps_left=1,
        torn=None,
        calibration=None,
    )


@define
class FaultyIO(OsIO):
    """Counts the calls and fails those it is told to; `short_write` writes half before it fails.

    Syncs are counted, not made: a test that cuts no power cannot tell the difference, only wait for it.
    """

    fail_at: tuple[int, ...] = ()
    error: int = errno.ENOSPC
    short_write: bool = False
    fail_only: str | None = None
    """Name of the only call that counts."""
    calls: list[str] = field(factory=list)

    def _count(self, name: str) -> bool:
        if self.fail_only not in (None, name):
            return False
        self.calls.append(name)
        return len(self.calls) in self.fail_at

    def _maybe_fail(self, name: str) -> None:
        if self._count(name):
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, flags: int) -> int:
        self._maybe_fail("open")
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        if self._count("write"):
            if self.short_write and len(data) > 1:
                return super().write(fd, data[: len(data) // 2])
            raise OSError(self.error, os.strerror(self.error))
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._maybe_fail("fsync")

    def ftruncate(self, fd: int, size_bytes: int) -> None:
        self._maybe_fail("ftruncate")
        super().ftruncate(fd, size_bytes)

    def fsync_dir(self, path: Path) -> None:
        self._maybe_fail("fsync_dir")


@pytest.fixture
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def make() -> SimpleNamespace:
    """Makers of records of each kind."""
    return SimpleNamespace(meta=make_meta, call=make_call, cell=make_cell, end=make_end, resume=make_resume)


@pytest.fixture
def faulty() -> Callable[..., FaultyIO]:
    return FaultyIO


@pytest.fixture
def golden_lines() -> list[bytes]:
    return GOLDEN.read_bytes().splitlines(keepends=True)


@pytest.fixture
def resumed() -> Path:
    return RESUMED


@pytest.fixture
def resumed_lines() -> list[bytes]:
    return RESUMED.read_bytes().splitlines(keepends=True)
