"""Statistics against the standard library and against exact fractions."""

import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weeyuga_core.analysis.stats import mean, median, percentile, spread, success_interval

durations = st.lists(st.integers(0, 10**13), min_size=2, max_size=60)
rates = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(durations, st.integers(1, 99))
def test_percentiles_are_those_of_the_standard_library(values: list[int], p: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[p - 1]
    assert percentile(values, p) == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=40), st.integers(0, 100))
def test_percentiles_of_integers_are_the_exact_fraction_rounded_once(values: list[int], p: int) -> None:
    ordered = sorted(values)
    position = Fraction(p, 100) * (len(values) - 1)
    below = math.floor(position)
    above = min(below + 1, len(values) - 1)
    exact = ordered[below] + (position - below) * (ordered[above] - ordered[below])
    assert percentile(values, p) == float(exact)


@given(rates)
def test_percentiles_stay_inside_the_sample_and_in_order(values: list[float]) -> None:
    low, middle, high = (percentile(values, p) for p in (0, 50, 100))
    assert low == min(values)
    assert high == max(values)
    assert middle is not None
    assert min(values) <= middle <= max(values)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40))
def test_median_and_mean_are_those_of_the_standard_library(values: list[int]) -> None:
    assert median(values) == statistics.median(values)
    assert mean(values) == pytest.approx(statistics.fmean(values), rel=1e-15)


def test_an_empty_sample_has_no_statistics() -> None:
    assert percentile([], 50) is None
    assert median([]) is None
    assert mean([]) is None
    empty = spread([])
    assert (empty.n, empty.p50, empty.p95, empty.min, empty.max, empty.mean) == (0, None, None, None, None, None)


@pytest.mark.parametrize("p", [-1, 101])
def test_a_percentile_outside_the_sample_is_refused(p: int) -> None:
    with pytest.raises(ValueError, match=str(p)):
        percentile([1, 2], p)


def test_the_95th_percentile_of_five_is_four_fifths_of_the_way_from_the_second_largest_to_the_largest() -> None:
    assert percentile([1, 2, 3, 10, 20], 95) == 10 + (20 - 10) * 0.8


@pytest.mark.parametrize(("n", "certified"), [(0, False), (5, False), (19, False), (20, True), (21, True)])
def test_the_95th_percentile_is_certified_from_twenty_values_on(n: int, certified: bool) -> None:
    assert spread(list(range(n))).p95_certified is certified


def test_a_spread_is_scaled_to_its_unit_after_the_percentile_is_taken() -> None:
    found = spread([1_000_001, 2_000_002], unit=1_000_000)
    assert (found.n, found.p50, found.min, found.max, found.mean) == (2, 1.5000015, 1.000001, 2.000002, 1.5000015)


def at_most(k: int, n: int, rate: Fraction) -> Fraction:
    """The binomial distribution in exact fractions."""
    return sum((math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k + 1)), Fraction(0))


@settings(max_examples=40, deadline=None)  # exact fractions of 53-bit rates are slow
@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_each_end_of_a_success_interval_leaves_half_of_the_rest_to_its_tail(drawn: tuple[int, int]) -> None:
    successes, n = drawn
    low, high = success_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    if successes:
        assert float(1 - at_most(successes - 1, n, Fraction(low))) == pytest.approx(0.025, rel=1e-6)
    else:
        assert low == 0
    if successes < n:
        assert float(at_most(successes, n, Fraction(high))) == pytest.approx(0.025, rel=1e-6)
    else:
        assert high == 1


def test_all_of_n_has_the_closed_form_that_the_definition_gives() -> None:
    # With no failure the lower end solves rate ** n = 0.025.
    for n in (1, 5, 20, 5_000):
        assert success_interval(n, n) == pytest.approx((0.025 ** (1 / n), 1.0), rel=1e-9)
        assert success_interval(0, n) == pytest.approx((0.0, 1 - 0.025 ** (1 / n)), rel=1e-6)


def test_no_calls_say_nothing_about_the_success_rate() -> None:
    assert success_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 300))
def test_successes_and_failures_mirror_each_other(successes: int) -> None:
    seen, mirrored = success_interval(successes, 300), success_interval(300 - successes, 300)
    assert seen == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_more_successes_than_calls_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        success_interval(successes, n)
