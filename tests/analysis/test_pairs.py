"""What a router costs, from paired calls: the statistics against brute force, and what is made of the records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from random import Random
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weeyuga_core.analysis import pairs
from weeyuga_core.analysis.pairs import EXACT_N, Overhead, confidence, hodges_lehmann, interval, overheads
from weeyuga_core.model.records import CallRecord, CellRecord

MS = 1_000_000
NS = st.integers(-(10**10), 10**10)


def means(values: Sequence[int]) -> list[float]:
    """The means of every two values and of each with itself, in order."""
    return sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])


# --- the estimate and its interval --------------------------------------------------------------------------------


@given(st.lists(NS, min_size=1, max_size=25))
def test_the_estimate_is_the_median_of_all_means_of_two(values: list[int]) -> None:
    assert hodges_lehmann(values) == median(means(values))


@given(st.lists(NS, min_size=6, max_size=25))
def test_the_ends_of_the_interval_are_means_equally_far_from_both_sides(values: list[int]) -> None:
    ordered, found = means(values), interval(values)
    assert found is not None
    rank = pairs._rank(len(values))
    assert found == (ordered[rank - 1], ordered[-rank])
    estimate = hodges_lehmann(values)
    assert estimate is not None
    assert found[0] <= estimate <= found[1]


def signed_rank_p(values: Sequence[int]) -> float:
    """The two-sided exact p of the signed-rank test, by trying every choice of signs. No ties, no zeros."""
    order = sorted(values, key=abs)
    seen = sum(rank for rank, value in enumerate(order, 1) if value > 0)
    n = len(values)
    totals = [sum(ranks) for size in range(n + 1) for ranks in combinations(range(1, n + 1), size)]
    low = sum(total <= seen for total in totals)
    high = sum(total >= seen for total in totals)
    return min(1.0, 2 * min(low, high) / 2**n)


@settings(max_examples=60)
@given(st.lists(st.integers(-300, 300), min_size=6, max_size=9, unique_by=abs), st.integers(-300, 300))
def test_the_interval_holds_the_shifts_that_the_exact_test_does_not_reject(values: list[int], shift: int) -> None:
    # A quarter beside every possible mean of two: no shifted value is 0, and none is as large as another.
    shifted = [4 * value - 4 * shift - 1 for value in values]
    if len({abs(value) for value in shifted}) < len(shifted):
        return
    found = interval([4 * value for value in values])
    assert found is not None
    inside = found[0] <= 4 * shift + 1 <= found[1]
    assert inside is (signed_rank_p(shifted) > 0.05)


@pytest.mark.parametrize("n", range(6, 15))
def test_the_confidence_is_the_share_of_signs_that_the_interval_survives(n: int) -> None:
    # Under any symmetric noise each choice of signs is as likely as the others.
    sizes = [2**i for i in range(n)]
    held = 0
    for signs in product((1, -1), repeat=n):
        found = interval([sign * size for sign, size in zip(signs, sizes, strict=True)])
        assert found is not None
        held += found[0] <= 0 <= found[1]
    assert held / 2**n == pytest.approx(confidence(n))
    assert 0.95 <= confidence(n) < 1
    assert 1 - 2 * sum(pairs._ways_to(n)[: pairs._rank(n) + 1]) / 2**n < 0.95, "a narrower one would not have 95 %"


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_pairs_give_no_interval(n: int) -> None:
    assert interval(list(range(n))) is None
    assert confidence(n) == 0


def test_no_pairs_give_no_estimate() -> None:
    assert hodges_lehmann([]) is None


# Critical values of the two-sided 5 % signed-rank test, as in Wilcoxon and Wilcox (1964); the interval begins one up.
@pytest.mark.parametrize(("n", "critical"), [(6, 0), (10, 8), (15, 25), (20, 52), (25, 89), (30, 137)])
def test_the_ranks_are_those_of_the_published_table(n: int, critical: int) -> None:
    assert pairs._rank(n) == critical + 1


@pytest.mark.parametrize("n", [EXACT_N + 1, 130, 200])
def test_the_approximation_is_as_close_as_it_says(n: int) -> None:
    ways, allowed, counted, below = pairs._ways_to(n), 2**n // 40, 0, 0
    for number in ways:
        below += number
        if below > allowed:
            break
        counted += 1
    approximated = pairs._rank(n)
    assert abs(approximated - counted) <= 1
    assert 0.950 <= 1 - 2 * sum(ways[:approximated]) / 2**n <= 0.951


@given(st.lists(NS, min_size=6, max_size=12), NS, st.integers(1, 5))
def test_a_shift_shifts_and_a_stretch_stretches(values: list[int], shift: int, factor: int) -> None:
    estimate, found = hodges_lehmann(values), interval(values)
    assert estimate is not None
    assert found is not None
    moved = [factor * value + shift for value in values]
    assert hodges_lehmann(moved) == pytest.approx(factor * estimate + shift, abs=1e-3)
    assert interval(moved) == pytest.approx((factor * found[0] + shift, factor * found[1] + shift), abs=1e-3)
    mirrored = interval([-value for value in values])
    assert mirrored == (-found[1], -found[0])


def test_a_few_calls_that_hang_move_neither_far() -> None:
    calm = [MS + i * 1_000 for i in range(30)]
    hung = [*calm[:-3], *[60_000 * MS] * 3]
    found = interval(hung)
    assert found is not None
    assert found[0] >= min(calm)
    assert found[1] <= 2 * MS


# --- from records -------------------------------------------------------------------------------------------------

DIRECT, ROUTED = "n:e:m", "n:r:m"


def cell(cell_id: str, routes: str | None = None) -> CellRecord:
    node, engine, label = cell_id.split(":", 2)
    return CellRecord(
        cell_id=cell_id,
        node=node,
        engine=engine,
        label=label,
        request_model=label,
        endpoint="http://h",
        launched=False,
        engine_version="1",
        engine_version_source="engine",
        model_digest=None,
        model_digest_source=None,
        flags=(),
        options={},
        prompt_cache="engine-default",
        facts={},
        fingerprint=None,
        fingerprint_parts={},
        routes=routes,
    )


def call(cell_id: str, pair_id: int | None, first_ns: int | None, total_ns: int | None, **more: Any) -> CallRecord:
    known: dict[str, Any] = {
        "cell_id": cell_id,
        "prompt_id": "P",
        "phase": "warm",
        "run_idx": pair_id or 0,
        "first_delta_ms": None,
        "total_duration_ms": None,
        "prompt_tokens": 3,
        "completion_tokens": 20,
        "tokens_per_sec": None,
        "finish_reason": "stop",
        "backend": "e",
        "error": None,
        "pair_id": pair_id,
        "first_delta_ns": first_ns,
        "total_duration_ns": total_ns,
    }
    return CallRecord(**known | more)


CELLS = (cell(DIRECT), cell(ROUTED, routes=DIRECT))


def only(calls: Sequence[CallRecord], cells: Sequence[CellRecord] = CELLS) -> Overhead:
    (found,) = overheads(cells, calls)
    return found


def noisy(
    number: int, *, delay_ns: int, first_ns: int = 200 * MS, noise_ns: int = MS, seed: int = 1
) -> list[CallRecord]:
    """Pairs whose calls each have noise of their own, and whose routed calls come that much later."""
    random = Random(seed)

    def one(cell_id: str, pair_id: int, later: int) -> CallRecord:
        first = first_ns + later + round(random.gauss(0, noise_ns))
        return call(cell_id, pair_id, first, first + 400 * MS + round(random.gauss(0, noise_ns)))

    return [one(cell_id, i, later) for i in range(number) for cell_id, later in ((DIRECT, 0), (ROUTED, delay_ns))]


def test_thirty_pairs_resolve_a_millisecond_under_noise_as_large() -> None:
    found = only(noisy(30, delay_ns=MS))
    assert found.first_delta.resolved
    assert found.first_delta.low_ms is not None
    assert found.first_delta.high_ms is not None
    assert found.first_delta.low_ms <= 1 <= found.first_delta.high_ms
    assert (found.first_delta.n, found.first_delta.exact) == (30, True)
    assert found.first_delta.confidence == confidence(30)


def test_no_delay_is_resolved_in_about_one_experiment_of_twenty() -> None:
    resolved = sum(only(noisy(30, delay_ns=0, seed=seed)).first_delta.resolved for seed in range(200))
    # Binomial(200, 1 - confidence(30) = 0.0497): outside of 1 to 21 with a probability under 0.1 %.
    assert 1 <= resolved <= 21


def test_first_delta_and_total_are_told_apart() -> None:
    calls = [
        one
        for i in range(6)
        for one in (call(DIRECT, i, 100 * MS, 500 * MS), call(ROUTED, i, 103 * MS, 500 * MS + i * MS))
    ]
    found = only(calls)
    assert (found.first_delta.estimate_ms, found.first_delta.low_ms, found.first_delta.high_ms) == (3, 3, 3)
    assert (found.first_delta.direct_p50_ms, found.first_delta.routed_p50_ms) == (100, 103)
    assert (found.total.estimate_ms, found.total.low_ms, found.total.high_ms) == (2.5, 0, 5)
    assert found.first_delta.resolved
    assert not found.total.resolved


def test_pairs_with_an_error_or_a_missing_call_are_counted_and_left_out() -> None:
    failed = {"error": "no answer", "error_kind": "idle_timeout"}
    calls = [
        *noisy(6, delay_ns=MS),
        call(DIRECT, 6, MS, MS, **failed),
        call(ROUTED, 6, MS, MS),
        call(DIRECT, 7, MS, MS),
        call(ROUTED, 7, MS, MS, **failed),
        call(DIRECT, 8, MS, MS),
        call(ROUTED, 9, MS, MS),
    ]
    found = only(calls)
    assert (found.pairs, found.compared, found.first_delta.n) == (10, 6, 6)
    assert found.dropped == {
        "direct call failed: idle_timeout": 1,
        "routed call failed: idle_timeout": 1,
        "routed call missing": 1,
        "direct call missing": 1,
    }


def test_a_call_without_a_delta_still_has_a_total() -> None:
    calls = noisy(6, delay_ns=MS) + [call(DIRECT, 6, None, 5 * MS), call(ROUTED, 6, None, 6 * MS)]
    found = only(calls)
    assert (found.first_delta.n, found.total.n, found.compared) == (6, 7, 7)


@pytest.mark.parametrize(
    ("direct", "routed", "buffered"), [((), ("buffered: x",), 1), (("buffered: x",), ("buffered: x",), 0), ((), (), 0)]
)
def test_a_router_that_holds_back_is_told_from_an_engine_that_does(
    direct: tuple[str, ...], routed: tuple[str, ...], buffered: int
) -> None:
    calls = [call(DIRECT, 0, MS, MS, call_flags=direct), call(ROUTED, 0, MS, MS, call_flags=routed)]
    assert only(calls).buffered == buffered


def test_unequal_answers_and_backends_are_counted() -> None:
    calls = [
        call(DIRECT, 0, MS, MS),
        call(ROUTED, 0, MS, MS, completion_tokens=21, backend="a"),
        call(DIRECT, 1, MS, MS),
        call(ROUTED, 1, MS, MS, backend="b"),
    ]
    found = only(calls)
    assert (found.unequal, found.backends) == (1, {"a": 1, "b": 1})


def test_the_last_attempt_counts() -> None:
    first = [call(DIRECT, 0, MS, MS), call(ROUTED, 0, 5 * MS, MS)]
    again = [call(DIRECT, 0, MS, MS, attempt=2, seq=8), call(ROUTED, 0, 2 * MS, MS, attempt=2, seq=9)]
    assert only([*first, *again]).first_delta.estimate_ms == 1


def test_halves_of_two_attempts_are_no_pair() -> None:
    calls = [call(DIRECT, 0, MS, MS), call(ROUTED, 0, 5 * MS, MS), call(ROUTED, 0, 2 * MS, MS, attempt=2, seq=9)]
    found = only(calls)
    assert (found.pairs, found.compared, dict(found.dropped)) == (1, 0, {"direct call missing": 1})


def test_a_complete_attempt_counts_before_a_later_one_that_is_not() -> None:
    pairs = [call(cell_id, pair, ms * MS, MS) for pair in (0, 1) for cell_id, ms in ((DIRECT, 1), (ROUTED, 3))]
    later = [call(DIRECT, 0, MS, MS, attempt=2, seq=9), call(ROUTED, 0, 9 * MS, MS, attempt=2, seq=10)]
    (found,) = overheads(CELLS, [*pairs, *later], planned={ROUTED: 2})
    assert (found.pairs, found.first_delta.estimate_ms) == (2, 2)
    (last,) = overheads(CELLS, [*pairs, *later], planned={ROUTED: 3})
    assert (last.pairs, last.first_delta.estimate_ms) == (1, 8)


def test_two_routers_before_one_engine_are_kept_apart() -> None:
    other = "n:r:other"
    cells = (*CELLS, cell(other, routes=DIRECT))
    calls = [
        call(DIRECT, 0, MS, MS),
        call(ROUTED, 0, 2 * MS, MS),
        call(DIRECT, 1, MS, MS),
        call(other, 1, 9 * MS, MS),
    ]
    assert [(one.routed, one.first_delta.estimate_ms) for one in overheads(cells, calls)] == [(ROUTED, 1), (other, 8)]


def test_a_run_without_pairs_has_no_overhead() -> None:
    assert overheads(CELLS, [call(DIRECT, None, MS, MS), call(ROUTED, None, MS, MS)]) == ()
