"""The records of a ledger. The order of the fields is the file format: append, never rename, never reorder.

History of the shape (`HARNESS_VERSION`):

1. first shape: the specification's fields first, in its order, then ours. A run that is taken up again adds `resume`
   lines. They change no field of another record and no figure, so the version stays: it is part of every fingerprint.

Conventions. `_ns` fields are integer durations counted from the stamp just before the first send of the call
(never clock values); the `_ms` field of the same stem is that figure in whole milliseconds, rounded half-even.
Absolute times are ISO 8601 strings in UTC. A field that could not be known is null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from attrs import asdict, field, frozen

HARNESS_VERSION = "1"
"""The shape of the record, not the version of the package. Part of every fingerprint."""

Verdict = Literal["valid", "unreliable", "invalid"]


def ms(ns: int | None) -> int | None:
    """Whole milliseconds of a duration in ns, rounded half to even; None stays None."""
    if ns is None:
        return None
    whole, rest = divmod(ns, 1_000_000)
    if rest > 500_000 or (rest == 500_000 and whole % 2):
        return whole + 1
    return whole


@frozen(kw_only=True)
class MetaRecord:
    """The first line: one invocation of the harness."""

    TYPE: ClassVar[str] = "meta"

    benchmark_run_id: str
    git_sha: str | None
    git_dirty: bool | None
    harness_version: str
    started_at_utc: str
    host: str
    load_avg_start: tuple[float, float, float]
    env_route: str | None
    env_llamacpp_url: str | None
    cells_planned: tuple[str, ...]
    # Ours.
    seq: int = 0
    git_dirty_files: tuple[str, ...] = ()
    git_note: str | None = None
    prompts: Mapping[str, str] = field(factory=dict)
    """prompt id -> sha256 of the bytes sent."""
    max_tokens: Mapping[str, int] = field(factory=dict)
    steps_planned: int = 0
    plan_sha256: str | None = None
    warm_n: Mapping[str, int] = field(factory=dict)
    """cell id -> planned warm calls per prompt."""
    pace_s: float | None = None
    smoke: bool = False
    for_publication: bool = False
    flags: tuple[str, ...] = ()
    """Gate flags given by the operator, such as `--allow-dirty`."""
    versions: Mapping[str, str] = field(factory=dict)
    """distribution -> version, of the harness and every plugin in use."""
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cpu_count: int | None = None
    memory_bytes: int | None = None
    plugins: Mapping[str, Any] = field(factory=dict)
    """distribution -> what its `weeyuga_run_metadata` hook said."""
    warnings: tuple[str, ...] = ()
    """Reasons, known at the start, why the run is unreliable (forced gates among them)."""
    concurrency: int = 1
    """Streams per cell. More than 1 is a parallel run, aggregated apart from single-stream baselines."""
    calibration: Mapping[str, Any] | None = None
    """The newest calibration of this host: the measurement error that a baseline quotes."""
    kernel_stamps: bool = False
    """The kernel's receive stamps were asked for."""


@frozen(kw_only=True)
class CellRecord:
    """A cell that is ready to be measured: what exactly answers there."""

    TYPE: ClassVar[str] = "cell"

    cell_id: str
    node: str
    engine: str
    label: str
    request_model: str
    endpoint: str | None
    launched: bool
    engine_version: str | None
    engine_version_source: str | None
    """`engine` (it said so), `cell` (the operator's word) or null."""
    model_digest: str | None
    model_digest_source: str | None
    flags: tuple[str, ...]
    """Command line of a server of our own, paths reduced to file names."""
    options: Mapping[str, Any]
    prompt_cache: str
    facts: Mapping[str, Any]
    """What the engine says of model and server: quantisation, context, build, ..."""
    fingerprint: str | None
    fingerprint_parts: Mapping[str, Any]
    seq: int = 0
    ready_at_utc: str | None = None
    engine_ready_ms: int | None = None
    engine_ready_ns: int | None = None
    adapter: str | None = None
    """`distribution version` of the plugin."""
    routes: str | None = None
    sanity: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class CallRecord:
    """One call, or one skipped cell (phase `skipped`, prompt_id null, error = the reason)."""

    TYPE: ClassVar[str] = "call"

    # The specification's fields, in its order.
    cell_id: str
    prompt_id: str | None
    phase: str
    run_idx: int
    first_delta_ms: int | None
    total_duration_ms: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens_per_sec: float | None
    finish_reason: str | None
    backend: str | None
    error: str | None
    # Ours.
    seq: int = 0
    attempt: int = 1
    pair_id: int | None = None
    error_kind: str | None = None
    """A short stable word for `error`, such as `connect`, `idle_timeout`, `http_404`, `stream_truncated`."""
    cold_kind: str | None = None
    cold_proven: bool | None = None
    cold_proof: str | None = None
    started_at_utc: str | None = None
    response_id: str | None = None
    http_status: int | None = None
    stamp_point: str | None = None
    """Where reads are stamped: socket, tls or kernel."""
    connection: str | None = None
    """`new` or `reused`."""
    connection_retried: bool = False
    connect_ms: int | None = None
    connect_ns: int | None = None
    """What connecting cost; it lies before t0 and is in no other duration. Null on a reused connection."""
    write_ns: int | None = None
    headers_ms: int | None = None
    headers_ns: int | None = None
    first_chunk_ms: int | None = None
    first_chunk_ns: int | None = None
    first_delta_ns: int | None = None
    first_reasoning_ms: int | None = None
    first_reasoning_ns: int | None = None
    first_answer_ms: int | None = None
    first_answer_ns: int | None = None
    last_delta_ms: int | None = None
    last_delta_ns: int | None = None
    total_duration_ns: int | None = None
    body_end_ms: int | None = None
    body_end_ns: int | None = None
    tokens_per_sec_null_reason: str | None = None
    decode_tokens_per_sec: float | None = None
    """(n - 1) tokens over the time from first to last delta."""
    engine_tokens_per_sec: float | None = None
    cached_prompt_tokens: int | None = None
    reasoning_tokens: int | None = None
    answer_chars: int | None = None
    reasoning_chars: int | None = None
    delta_count: int | None = None
    read_count: int | None = None
    coalesced_deltas: int | None = None
    """Deltas that shared a read with an earlier one: they all carry that read's stamp."""
    gap_p50_ns: int | None = None
    gap_max_ns: int | None = None
    """Gaps between consecutive deltas."""
    engine_timings: Mapping[str, Any] | None = None
    gap_before_s: float | None = None
    """From the end of the previous call to this cell to the start of this one."""
    primed: str | None = None
    """Why an unrecorded priming call was made just before, or null."""
    engine_ready_ms: int | None = None
    engine_ready_ns: int | None = None
    """Spawn to healthy, of the fresh process a cold call of a launched cell talks to."""
    call_flags: tuple[str, ...] = ()
    """What a reader must know before believing the row, as `word: detail`."""
    client_lag_ns: int | None = None
    """Largest event-loop lag seen during the call."""
    stamp_note: str | None = None
    """Why the kernel's stamps were not had, or not for every read, where they were asked for."""
    receive_lag_p50_ns: int | None = None
    receive_lag_max_ns: int | None = None
    """How much later than the kernel this process had the bytes, over the reads that have the kernel's stamp."""


@frozen(kw_only=True)
class EndRecord:
    """The last line of a run that ended by itself, even when interrupted.

    `calls`, `errors` and `skipped` count over the whole ledger: calls of attempts that were repeated are among them,
    `skipped` lines of cells that a resumed run asked again are not.
    """

    TYPE: ClassVar[str] = "end"

    benchmark_run_id: str
    finished_at_utc: str
    load_avg_end: tuple[float, float, float]
    verdict: Verdict
    reasons: tuple[str, ...]
    calls: int
    errors: int
    skipped: int
    steps_planned: int
    seq: int = 0
    interrupted: bool = False
    record_count: int = 0
    """Lines before this one."""
    ledger_sha256: str | None = None
    """sha256 of all bytes before this line."""
    clock_drift: float | None = None
    """Relative difference of the monotonic and the wall clock over the run."""


@frozen(kw_only=True)
class ResumeRecord:
    """The run was taken up again: what followed is the work of another process. Stands behind any line but the first.

    The only record that may follow an end record, and only that of an interrupted run.
    """

    TYPE: ClassVar[str] = "resume"

    benchmark_run_id: str
    resumed_at_utc: str
    load_avg: tuple[float, float, float]
    gap_s: float | None
    """From the last time that the ledger knows of, by the wall clock; below 0 where that was set back meanwhile."""
    flags: tuple[str, ...]
    """Gate flags given by the operator this time."""
    warnings: tuple[str, ...]
    """Reasons, known now, why the run is unreliable (forced gates among them)."""
    git_dirty: bool | None
    git_dirty_files: tuple[str, ...]
    steps_left: int
    """Planned calls that are made after this line: units that were not complete, whole."""
    torn: str | None
    """Name of the file beside the ledger where a torn last line went, or null."""
    calibration: Mapping[str, Any] | None
    """The newest calibration of this host, as in the meta record."""
    seq: int = 0


Record: TypeAlias = MetaRecord | CellRecord | CallRecord | EndRecord | ResumeRecord


def to_json(record: Record) -> dict[str, Any]:
    """The record as a plain mapping, `type` first, then the fields in their order."""
    return {"type": record.TYPE, **asdict(record)}


def to_line(record: Record) -> bytes:
    """One ledger line, newline included. ASCII only, so that no engine's broken text can spoil the file."""
    return json.dumps(to_json(record), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
