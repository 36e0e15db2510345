"""Exact statistics for the small samples of a baseline, with the standard library alone.

An empty sample has no percentile and no mean: they are None for it, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

CERTIFIED_N = 20
"""From this many values on, a 95th percentile lies between two of them that are not simply the largest ones."""

CONFIDENCE = 0.95

EXACT_N = 1_000
"""Up to this many values percentiles are exact; beyond, they come from a histogram that can be merged with others."""

HISTOGRAM_DIGITS = 3
HISTOGRAM_NS = (1_000, 3_600 * 10**9)
"""One layout for all, 1 us to 1 h with 3 significant digits (0.1 %): histograms merge only where it is the same."""


def percentile(values: Sequence[float], p: int) -> float | None:
    """The p-th percentile (0 to 100) by linear interpolation, "inclusive": p 0 is the smallest value, 100 the largest.

    Definition 7 of Hyndman and Fan (1996), which `statistics.quantiles(method="inclusive")` follows too. Integers
    are weighed as integers, so that nanoseconds lose nothing before the one division. Raises ValueError for a p
    outside 0 to 100.
    """
    if not 0 <= p <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {p}")
    if not values:
        return None
    ordered = sorted(values)
    below, weight = divmod(p * (len(ordered) - 1), 100)
    if weight == 0 or ordered[below] == ordered[below + 1]:
        return float(ordered[below])
    return (ordered[below] * (100 - weight) + ordered[below + 1] * weight) / 100


def median(values: Sequence[float]) -> float | None:
    """The 50th percentile."""
    return percentile(values, 50)


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; the sum is rounded once."""
    return math.fsum(values) / len(values) if values else None


@frozen(kw_only=True)
class Spread:
    """One quantity over the calls that have it: how many they are and how the values lie."""

    n: int
    p50: float | None
    p95: float | None
    p95_certified: bool
    """False below `CERTIFIED_N` values: the figure is then little more than the largest value."""
    min: float | None
    max: float | None
    mean: float | None


def spread(values: Sequence[float], unit: int = 1) -> Spread:
    """The spread of values, each figure divided by `unit` (1,000,000 turns nanoseconds into milliseconds)."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else value / unit

    return Spread(
        n=len(values),
        p50=scaled(median(values)),
        p95=scaled(percentile(values, 95)),
        p95_certified=len(values) >= CERTIFIED_N,
        min=scaled(min(values, default=None)),
        max=scaled(max(values, default=None)),
        mean=scaled(mean(values)),
    )


class LatencyHistogram:
    """Durations in ns, counted in buckets of equal relative width; many of them merge into one.

    Gil Tene's HdrHistogram. Its percentiles are nearest-rank with 0.1 % of error, not the interpolated ones of
    `percentile`: the two are never mixed in one column. Raises ImportError where the platform has no `hdrhistogram`.
    """

    def __init__(self) -> None:
        from hdrh.histogram import HdrHistogram  # only where a histogram is wanted: not every platform has a wheel

        self._counts = HdrHistogram(*HISTOGRAM_NS, HISTOGRAM_DIGITS)
        self.outside = 0
        """Values below 1 us or above 1 h, which are in no percentile."""

    def record(self, ns: int) -> None:
        """Count one value."""
        low, high = HISTOGRAM_NS
        if not (low <= ns <= high and self._counts.record_value(ns)):
            self.outside += 1

    def merge(self, encoded: str) -> None:
        """Add the counts of another histogram, as `encoded` gives them."""
        self._counts.decode_and_add(encoded.encode())

    def encoded(self) -> str:
        """HdrHistogram's own compressed text, which its other implementations read too."""
        return str(self._counts.encode().decode())

    @property
    def n(self) -> int:
        """How many values are counted."""
        return int(self._counts.get_total_count())

    def percentile(self, p: float) -> float | None:
        """The p-th percentile in ns, or None where nothing is counted."""
        return float(self._counts.get_value_at_percentile(p)) if self.n else None


def success_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a success rate, as (low, high) shares.

    Clopper and Pearson (1934): `high` is the rate at which so few successes have half of what the confidence leaves
    over as their probability; `low` is the same of the failures, seen from the other end. It never covers less than
    it promises, which matters more at five calls than being narrow. No calls say nothing: (0, 1). Raises ValueError
    unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes do not fit into {n} calls")
    tail = (1 - confidence) / 2
    return 1.0 - _highest_rate(n - successes, n, tail), _highest_rate(successes, n, tail)


def _highest_rate(k: int, n: int, tail: float) -> float:
    """The rate at which at most k of n has probability `tail`, by halving; 1 where k is n."""
    if k == n:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(k, n, middle) > tail else (low, middle)
    return (low + high) / 2


def _at_most(k: int, n: int, rate: float) -> float:
    """Probability of at most k of n, 0 <= k < n, 0 < rate < 1; summed on the side with fewer terms."""
    if k > n // 2:
        return 1 - _at_most(n - k - 1, n, 1 - rate)
    log_rate, log_miss = math.log(rate), math.log1p(-rate)

    def term(i: int) -> float:
        # By logarithm: from about a thousand calls on the coefficients outgrow a float.
        ways = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        return math.exp(ways + i * log_rate + (n - i) * log_miss)

    return math.fsum(term(i) for i in range(k + 1))
