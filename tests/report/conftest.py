"""The run behind tests/golden/baseline_v1.md, built in code: what a reader may meet, in two cells and a skipped one."""

from itertools import count
from typing import Any

import pytest
from attrs import evolve, frozen

from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ms

FAST, REASONER, DOWN = "mac:echo:tiny", "mac:echo:reasoner@ctx4k", "far:echo:tiny"


@frozen(kw_only=True)
class Run:
    """The records of one ledger."""

    meta: MetaRecord
    cells: tuple[CellRecord, ...]
    calls: tuple[CallRecord, ...]
    end: EndRecord | None


def timed(
    cell_id: str, prompt_id: str, phase: str, run_idx: int, first_us: int, total_us: int, **more: Any
) -> CallRecord:
    """A call that took so many microseconds to its first delta and to its end."""
    first_ns, total_ns = first_us * 1_000, total_us * 1_000
    tokens = more.pop("completion_tokens", 20)
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "prompt_id": prompt_id,
        "phase": phase,
        "run_idx": run_idx,
        "first_delta_ms": ms(first_ns),
        "first_delta_ns": first_ns,
        "total_duration_ms": ms(total_ns),
        "total_duration_ns": total_ns,
        "prompt_tokens": 11,
        "completion_tokens": tokens,
        "tokens_per_sec": tokens / ((total_ns - first_ns) / 1e9),
        "decode_tokens_per_sec": (tokens - 1) / ((total_ns - first_ns) / 1e9),
        "finish_reason": "stop",
        "backend": "echo",
        "error": None,
        "first_answer_ms": ms(first_ns),
        "first_answer_ns": first_ns,
        "answer_chars": 4 * tokens,
        "reasoning_chars": 0,
        "cached_prompt_tokens": 10 if phase == "warm" else 0,
    }
    if phase == "cold":
        fields |= {
            "cold_kind": "process_start",
            "cold_proven": True,
            "engine_ready_ns": 812_345_678,
            "connect_ns": 600_000,
        }
    return CallRecord(**fields | more)


def failed(call: CallRecord, kind: str, words: str) -> CallRecord:
    """The same call, had it failed."""
    return evolve(
        call, error_kind=kind, error=words, finish_reason="error", tokens_per_sec=None, completion_tokens=None
    )


def skipped(cell_id: str, reason: str) -> CallRecord:
    """A cell that was not measured."""
    nothing = dict.fromkeys(
        ("prompt_id", "first_delta_ms", "total_duration_ms", "prompt_tokens", "completion_tokens", "tokens_per_sec")
    )
    return CallRecord(
        cell_id=cell_id, phase="skipped", run_idx=0, finish_reason=None, backend=None, error=reason, **nothing
    )


def cell(cell_id: str, **changes: Any) -> CellRecord:
    """A launched cell that is fully identified."""
    node, engine, label = cell_id.split(":", 2)
    fields: dict[str, Any] = {
        "cell_id": cell_id,
        "node": node,
        "engine": engine,
        "label": label,
        "request_model": label,
        "endpoint": None,
        "launched": True,
        "engine_version": "1.0",
        "engine_version_source": "engine",
        "model_digest": "sha256:" + "b" * 64,
        "model_digest_source": "engine",
        "flags": ("echo-server", "--model", "tiny.bin"),
        "options": {"temperature": 0, "seed": 1},
        "prompt_cache": "engine-default",
        "facts": {"quantisation": "Q4", "context": 4096},
        "fingerprint": "f" * 16,
        "fingerprint_parts": {},
        "engine_ready_ms": 812,
        "adapter": "engine-echo 0.1",
    }
    return CellRecord(**fields | changes)


@pytest.fixture
def run() -> Run:
    """Five warm calls each: a clean prompt, one that fails once, a reasoner that never answers, a cell that is down."""
    easy = [
        timed(FAST, "P-EASY", "warm", i, us, us + 200_000)
        for i, us in enumerate((100_400, 98_200, 101_900, 99_000, 140_500))
    ]
    hard = [
        timed(FAST, "P-HARD", "warm", i, us, us + 4_000_000, completion_tokens=200 + i, cached_prompt_tokens=None)
        for i, us in enumerate((120_000, 121_500, 119_000, 122_000, 118_500))
    ]
    hard[3] = failed(hard[3], "http_500", "slot unavailable | try `again`\nlater")
    silent = {"finish_reason": "length", "answer_chars": 0, "reasoning_chars": 300, "completion_tokens": 64}
    silent |= {"first_answer_ms": None, "first_answer_ns": None, "call_flags": ("buffered: 3 bursts",)}
    mute = [timed(REASONER, "P-EASY", "warm", i, 50_000 + i, 700_000 + i, **silent) for i in range(5)]
    calls = (
        timed(FAST, "P-EASY", "cold", 0, 310_000, 520_000),
        *easy,
        timed(FAST, "P-HARD", "cold", 0, 345_678, 4_400_500, completion_tokens=210),
        *hard,
        timed(
            REASONER,
            "P-EASY",
            "cold",
            0,
            400_000,
            1_100_000,
            cold_proven=None,
            cold_proof="no load time given",
            **silent,
        ),
        *mute,
        skipped(DOWN, "connection refused"),
    )
    meta = MetaRecord(
        benchmark_run_id="6f6e3f5e-0000-4000-8000-000000000001",
        git_sha="a" * 40,
        git_dirty=True,
        git_dirty_files=("M cells.yaml",),
        harness_version="1",
        started_at_utc="2026-01-02T03:04:05Z",
        host="mac",
        load_avg_start=(0.52, 0.61, 0.7),
        env_route=None,
        env_llamacpp_url=None,
        cells_planned=(FAST, REASONER),
        prompts={"P-EASY": "98ea6e4f216f" + "0" * 52, "P-HARD": "63584335e7e3" + "0" * 52},
        max_tokens={"P-EASY": 64, "P-HARD": 1024},
        steps_planned=18,
        warm_n={FAST: 5, REASONER: 5},
        flags=("--allow-dirty",),
        versions={"weeyuga-bench": "0.1.0", "engine-echo": "0.1"},
        python="3.12.1",
        platform="Linux x86_64",
        cpu="Some CPU",
        cpu_count=2,
        memory_bytes=8 * 2**30,
    )
    end = EndRecord(
        benchmark_run_id=meta.benchmark_run_id,
        finished_at_utc="2026-01-02T03:06:05Z",
        load_avg_end=(1.5, 0.9, 0.8),
        verdict="unreliable",
        reasons=(),
        calls=18,
        errors=1,
        skipped=1,
        steps_planned=18,
        clock_drift=0.00001,
    )
    cells = (cell(FAST), cell(REASONER, launched=False, flags=(), model_digest=None, model_digest_source=None))
    seqs = count(1)
    return Run(
        meta=meta,
        cells=tuple(evolve(one, seq=next(seqs)) for one in cells),
        calls=tuple(evolve(call, seq=next(seqs)) for call in calls),
        end=evolve(end, seq=next(seqs)),
    )
