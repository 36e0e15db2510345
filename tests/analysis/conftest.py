"""Records with every required field filled in, so that a test names only what it is about."""

from collections.abc import Callable
from typing import Any

import pytest

from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ResumeRecord

CELL = "mac:echo:tiny"


@pytest.fixture
def meta() -> Callable[..., MetaRecord]:
    """A clean, quiet, single-stream run of one cell and one prompt: one cold call, two warm ones."""

    def make(**changes: Any) -> MetaRecord:
        fields: dict[str, Any] = {
            "benchmark_run_id": "run-1",
            "git_sha": "a" * 40,
            "git_dirty": False,
            "harness_version": "1",
            "started_at_utc": "2026-01-02T03:04:05Z",
            "host": "mac",
            "load_avg_start": (0.5, 0.5, 0.5),
            "env_route": None,
            "env_llamacpp_url": None,
            "cells_planned": (CELL,),
            "prompts": {"P-EASY": "0" * 64},
            "steps_planned": 3,
            "warm_n": {CELL: 2},
        }
        return MetaRecord(**fields | changes)

    return make


@pytest.fixture
def cell() -> Callable[..., CellRecord]:
    """A cell whose version and digest are known."""

    def make(**changes: Any) -> CellRecord:
        fields: dict[str, Any] = {
            "cell_id": CELL,
            "node": "mac",
            "engine": "echo",
            "label": "tiny",
            "request_model": "tiny",
            "endpoint": None,
            "launched": False,
            "engine_version": "1.0",
            "engine_version_source": "engine",
            "model_digest": "sha256:" + "b" * 64,
            "model_digest_source": "engine",
            "flags": (),
            "options": {},
            "prompt_cache": "engine-default",
            "facts": {},
            "fingerprint": None,
            "fingerprint_parts": {},
        }
        return CellRecord(**fields | changes)

    return make


@pytest.fixture
def call() -> Callable[..., CallRecord]:
    """A warm call that went well and has every figure."""

    def make(phase: str = "warm", run_idx: int = 0, **changes: Any) -> CallRecord:
        fields: dict[str, Any] = {
            "cell_id": CELL,
            "prompt_id": "P-EASY",
            "phase": phase,
            "run_idx": run_idx,
            "first_delta_ms": 100,
            "first_delta_ns": 100_000_000,
            "total_duration_ms": 300,
            "total_duration_ns": 300_000_000,
            "prompt_tokens": 11,
            "completion_tokens": 20,
            "tokens_per_sec": 100.0,
            "finish_reason": "stop",
            "backend": "echo",
            "error": None,
            "answer_chars": 40,
            "reasoning_chars": 0,
            "cached_prompt_tokens": 0,
        }
        if phase == "cold":
            fields |= {"cold_kind": "process_start", "cold_proven": True}
        return CallRecord(**fields | changes)

    return make


@pytest.fixture
def end() -> Callable[..., EndRecord]:
    """The end of a run that went well, a minute after it started."""

    def make(**changes: Any) -> EndRecord:
        fields: dict[str, Any] = {
            "benchmark_run_id": "run-1",
            "finished_at_utc": "2026-01-02T03:05:05Z",
            "load_avg_end": (0.5, 0.5, 0.5),
            "verdict": "valid",
            "reasons": (),
            "calls": 3,
            "errors": 0,
            "skipped": 0,
            "steps_planned": 3,
            "clock_drift": 0.0,
        }
        return EndRecord(**fields | changes)

    return make


@pytest.fixture
def resume() -> Callable[..., ResumeRecord]:
    """A run taken up again on a quiet machine, an hour after it was interrupted."""

    def make(**changes: Any) -> ResumeRecord:
        fields: dict[str, Any] = {
            "benchmark_run_id": "run-1",
            "resumed_at_utc": "2026-01-02T04:05:05Z",
            "load_avg": (0.5, 0.5, 0.5),
            "gap_s": 3_600.0,
            "flags": (),
            "warnings": (),
            "git_dirty": False,
            "git_dirty_files": (),
            "steps_left": 2,
            "torn": None,
            "calibration": None,
        }
        return ResumeRecord(**fields | changes)

    return make


@pytest.fixture
def block_calls(call: Callable[..., CallRecord]) -> list[CallRecord]:
    """A whole block: the cold call and both warm ones."""
    return [call("cold"), call("warm", 0), call("warm", 1)]
