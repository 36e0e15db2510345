"""Latencies under load: exact for few calls, a mergeable histogram for many."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.analysis.load import latencies
from weeyuga_core.analysis.stats import EXACT_N, HISTOGRAM_NS, LatencyHistogram

MS = 1_000_000


def test_few_calls_have_exact_percentiles_and_no_histogram() -> None:
    found = latencies([n * MS for n in range(1, 102)])
    assert (found.n, found.p50, found.p90, found.p99, found.max) == (101, 51, 91, 100, 101)
    assert (found.method, found.histogram) == ("exact, linear", None)


def test_no_calls_have_no_percentiles() -> None:
    found = latencies([])
    assert (found.n, found.p50, found.max, found.histogram) == (0, None, None, None)


def test_many_calls_go_through_a_histogram_that_states_its_digits() -> None:
    values = [(n * 7919) % 5000 * MS + MS for n in range(EXACT_N * 5)]
    found = latencies(values)
    assert found.method == "HdrHistogram, 3 digits"
    assert found.p50 == pytest.approx(statistics.median(values) / MS, rel=2e-3)
    assert found.p99 == pytest.approx(sorted(values)[round(len(values) * 0.99) - 1] / MS, rel=2e-3)
    assert found.max == max(values) / MS


@given(st.lists(st.integers(*HISTOGRAM_NS), min_size=1), st.lists(st.integers(*HISTOGRAM_NS), min_size=1))
def test_merging_equals_recording_everything_in_one(first: list[int], second: list[int]) -> None:
    one, other, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for value in first:
        one.record(value)
        both.record(value)
    for value in second:
        other.record(value)
        both.record(value)
    one.merge(other.encoded())
    assert one.n == both.n == len(first) + len(second)
    assert [one.percentile(p) for p in (50, 99, 100)] == [both.percentile(p) for p in (50, 99, 100)]


def test_what_does_not_fit_is_counted_and_never_dropped_in_silence() -> None:
    histogram = LatencyHistogram()
    for value in (0, 999, HISTOGRAM_NS[1] + 1):
        histogram.record(value)
    assert (histogram.n, histogram.outside, histogram.percentile(50)) == (0, 3, None)
    assert latencies([0] * (EXACT_N + 1)).method == "exact, linear"
