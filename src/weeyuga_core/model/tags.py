"""The one place that spells how benchmark traffic is tagged, in headers and in telemetry documents."""

from __future__ import annotations

from hashlib import sha256

HEADER_TEST = "X-Weeyuga-Test"
HEADER_RUN_ID = "X-Weeyuga-Benchmark-Run-Id"
HEADER_CELL_ID = "X-Weeyuga-Benchmark-Cell-Id"
HEADER_PROMPT_ID = "X-Weeyuga-Benchmark-Prompt-Id"
HEADER_PHASE = "X-Weeyuga-Benchmark-Phase"
HEADER_RUN_IDX = "X-Weeyuga-Benchmark-Run-Idx"
HEADER_BACKEND = "X-Weeyuga-Backend"
"""Set by a brain on its answer: which backend served the call."""
HEADER_ROUTE = "X-Weeyuga-Inference-Route"
"""Ours: where the brain is asked to send the call. No tag: it is not copied into telemetry."""
HEADER_TRACE = "traceparent"
"""W3C Trace Context."""

ROUTE_ENV = "WEEYUGA_INFERENCE_ROUTE"
LLAMACPP_URL_ENV = "WEEYUGA_QWEN35_LLAMACPP_URL"

# --- the same tags in telemetry documents -------------------------------------------------------------------------

METADATA = "metadata"
"""The object that holds the tags in telemetry indices."""
LABELS = "labels"
"""The object that holds them in logs indices, where every value is a text."""

TAG_TEST = "test"
TAG_RUN_ID = "benchmark_run_id"
TAG_CELL_ID = "benchmark_cell_id"
TAG_PROMPT_ID = "benchmark_prompt_id"
TAG_PHASE = "benchmark_phase"
TAG_RUN_IDX = "benchmark_run_idx"
TAG_HARNESS_VERSION = "harness_version"
TAG_RECORD_SHA256 = "benchmark_record_sha256"
"""Ours alone: sha256 of the ledger line, newline included."""


def trace_ids(run_id: str, seq: int) -> tuple[str, str]:
    """The W3C trace id and span id of one call: derived, so that two ends can join them without having stored them."""
    digest = sha256(f"{run_id}|{seq}".encode()).hexdigest()
    return digest[:32], digest[32:48]


HEADER_OF_TAG = {
    TAG_TEST: HEADER_TEST,
    TAG_RUN_ID: HEADER_RUN_ID,
    TAG_CELL_ID: HEADER_CELL_ID,
    TAG_PROMPT_ID: HEADER_PROMPT_ID,
    TAG_PHASE: HEADER_PHASE,
    TAG_RUN_IDX: HEADER_RUN_IDX,
}
"""Key in a telemetry document -> the header that a brain copies there."""


def call_headers(*, run_id: str, seq: int, cell_id: str, prompt_id: str, phase: str, run_idx: int) -> dict[str, str]:
    """The headers that mark one call as benchmark traffic, its trace among them.

    The trace is unsampled: a tracer that starts to record would change the very timing that is measured.
    """
    trace_id, span_id = trace_ids(run_id, seq)
    return {
        HEADER_TEST: "true",
        HEADER_RUN_ID: run_id,
        HEADER_CELL_ID: cell_id,
        HEADER_PROMPT_ID: prompt_id,
        HEADER_PHASE: phase,
        HEADER_RUN_IDX: str(run_idx),
        HEADER_TRACE: f"00-{trace_id}-{span_id}-00",
    }
