"""What a cell does under many streams at once: latencies of the warm calls, and the rate of all streams together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import frozen

from weeyuga_core.analysis.blocks import Block
from weeyuga_core.analysis.stats import EXACT_N, HISTOGRAM_DIGITS, LatencyHistogram, percentile
from weeyuga_core.model.records import CallRecord

SHOWN = (50, 90, 95, 99)
NS_PER_MS = 1_000_000


@frozen(kw_only=True)
class Latencies:
    """One duration over the calls of a block, in ms. Percentiles are None where nothing was measured."""

    n: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    method: str
    """`exact, linear`, or the histogram and its digits."""
    histogram: str | None
    """The encoded histogram, to be merged with those of other runs; None where the percentiles are exact."""


@frozen(kw_only=True)
class Load:
    """One (cell, prompt) of a parallel run."""

    cell_id: str
    prompt_id: str
    calls: int
    errors: int
    first_delta_ms: Latencies
    total_duration_ms: Latencies
    tokens_per_sec_all: float | None
    """Completion tokens of all streams over the time from the first start to the last end."""


def loads(blocks: Iterable[Block]) -> tuple[Load, ...]:
    """A row for each block that has warm calls."""
    return tuple(_load(block) for block in blocks if block.warm)


def _load(block: Block) -> Load:
    ok = block.warm_ok
    return Load(
        cell_id=block.cell_id,
        prompt_id=block.prompt_id,
        calls=len(block.warm),
        errors=len(block.warm) - len(ok),
        first_delta_ms=latencies([call.first_delta_ns for call in ok if call.first_delta_ns is not None]),
        total_duration_ms=latencies([call.total_duration_ns for call in ok if call.total_duration_ns is not None]),
        tokens_per_sec_all=_rate_of_all(ok),
    )


def latencies(values: Sequence[int]) -> Latencies:
    """Of durations in ns: exact percentiles up to EXACT_N values, those of a histogram beyond, where there is one."""
    found = _histogram(values) if len(values) > EXACT_N else None
    at = [found.percentile(p) if found else percentile(values, p) for p in SHOWN]
    p50, p90, p95, p99 = (None if ns is None else ns / NS_PER_MS for ns in at)
    return Latencies(
        n=len(values),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=max(values) / NS_PER_MS if values else None,
        method=f"HdrHistogram, {HISTOGRAM_DIGITS} digits" if found else "exact, linear",
        histogram=found.encoded() if found else None,
    )


def _histogram(values: Iterable[int]) -> LatencyHistogram | None:
    try:
        histogram = LatencyHistogram()
    except ImportError:
        return None  # exact lists stand in, and `method` says so
    for value in values:
        histogram.record(value)
    return None if histogram.outside else histogram


def _rate_of_all(calls: Sequence[CallRecord]) -> float | None:
    spans = [
        (start, start + call.total_duration_ns / 1e9)
        for call in calls
        if call.started_at_utc is not None and call.total_duration_ns is not None
        for start in [datetime.fromisoformat(call.started_at_utc).timestamp()]
    ]
    if not spans:
        return None
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    tokens = sum(call.completion_tokens or 0 for call in calls)
    return round(tokens / seconds, 3) if seconds > 0 and tokens else None
