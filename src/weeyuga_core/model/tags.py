"""The one place that spells how benchmark traffic is tagged, in headers and in telemetry documents."""

from __future__ import annotations

HEADER_TEST = "X-Weeyuga-Test"
HEADER_RUN_ID = "X-Weeyuga-Benchmark-Run-Id"
HEADER_CELL_ID = "X-Weeyuga-Benchmark-Cell-Id"
HEADER_PROMPT_ID = "X-Weeyuga-Benchmark-Prompt-Id"
HEADER_PHASE = "X-Weeyuga-Benchmark-Phase"
HEADER_RUN_IDX = "X-Weeyuga-Benchmark-Run-Idx"
HEADER_BACKEND = "X-Weeyuga-Backend"
"""Set by a brain on its answer: which backend served the call."""

ROUTE_ENV = "WEEYUGA_INFERENCE_ROUTE"
LLAMACPP_URL_ENV = "WEEYUGA_QWEN35_LLAMACPP_URL"
