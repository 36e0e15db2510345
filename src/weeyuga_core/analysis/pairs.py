"""What a router costs: the paired calls of a ledger, direct against routed, call by call.

The estimate is that of Hodges and Lehmann (1963): the median of the means of every two differences, each difference
with itself among them. The interval belongs to it: it holds the shifts that Wilcoxon's signed-rank test (1945) would
not reject. Both assume that the differences lie symmetrically around the true one, which the alternating order of the
pairs makes likely, and nothing about their spread or tails: a few calls that hang move neither far.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from statistics import NormalDist
from types import MappingProxyType

from attrs import field, frozen

from weeyuga_core.analysis.blocks import measured, of_last_engine
from weeyuga_core.analysis.stats import median
from weeyuga_core.model.records import CallRecord, CellRecord

CONFIDENCE_PERCENT = 95
EXACT_N = 100
"""Up to so many pairs the distribution is counted. Above, its normal approximation stands in: there the interval it
chooses differs from the counted one by at most one of the thousands of ordered means, and its true confidence lies
between 95.0 and 95.1 %."""

_NS_PER_MS = 1_000_000


@frozen(kw_only=True)
class Difference:
    """Routed minus direct in one figure, and the medians of both. Attribute names are the keys of `overhead --json`."""

    direct_p50_ms: float | None
    routed_p50_ms: float | None
    n: int
    """Pairs in which both calls have the figure."""
    estimate_ms: float | None
    low_ms: float | None
    high_ms: float | None
    """The interval; None below 6 pairs, of which none can give 95 %."""
    confidence: float | None
    """What the interval really has: 95 % at least, as far as the distribution is counted."""
    exact: bool
    """Whether the distribution was counted, not approximated."""

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low_ms is not None and self.high_ms is not None and not self.low_ms <= 0 <= self.high_ms


@frozen(kw_only=True)
class Overhead:
    """One routed cell and its direct one, with one prompt."""

    direct: str
    routed: str
    prompt_id: str
    pairs: int
    """Pairs of which the ledger holds at least one call."""
    dropped: Mapping[str, int]
    """Why pairs are not among the compared ones -> how many."""
    first_delta: Difference
    total: Difference
    buffered: int
    """Compared pairs whose routed call came in bursts and whose direct call did not: the router holds streams back."""
    unequal: int
    """Compared pairs whose answers have different numbers of tokens: their totals compare unequal work."""
    backends: Mapping[str, int] = field(factory=dict)
    """What the routed calls say who answered -> in how many compared pairs."""

    @property
    def compared(self) -> int:
        """Pairs without an error."""
        return self.pairs - sum(self.dropped.values())


Pair = tuple[CallRecord, CallRecord]
"""The direct call and the routed one."""
Halves = Mapping[str, CallRecord]
"""What is recorded of one pair in one attempt: cell -> its call."""


def overheads(
    cells: Sequence[CellRecord], calls: Sequence[CallRecord], *, planned: Mapping[str, int] = MappingProxyType({})
) -> tuple[Overhead, ...]:
    """What each router adds, in the order in which the pairs were measured; nothing where none were.

    `planned` says how many pairs a routed cell was to make with each prompt. Of several attempts the last one counts
    that is complete, else the last; the two halves of a pair are always of one attempt, since they are compared for
    having been made a moment apart.
    """
    direct_of = {cell.cell_id: cell.routes for cell in cells if cell.routes is not None}
    groups: dict[tuple[str, str, str], dict[int, list[Halves]]] = {}
    for (_, attempt), pair in _by_pair(of_last_engine(cells, measured(calls))).items():
        ways = _ways(pair, direct_of)
        if ways is not None:
            prompt_id = str(next(iter(pair.values())).prompt_id)
            groups.setdefault((*ways, prompt_id), {}).setdefault(attempt, []).append(pair)
    return tuple(_overhead(*key, _that_count(attempts, planned.get(key[1]))) for key, attempts in groups.items())


def _by_pair(calls: Sequence[CallRecord]) -> dict[tuple[int, int], Halves]:
    """`pair_id` and attempt -> the halves, in the order of the pairs."""
    pairs: dict[tuple[int, int], dict[str, CallRecord]] = {}
    for call in sorted(calls, key=lambda call: call.seq):
        if call.pair_id is not None:
            pairs.setdefault((call.pair_id, call.attempt), {})[call.cell_id] = call
    return dict(sorted(pairs.items()))


def _that_count(attempts: Mapping[int, list[Halves]], planned: int | None) -> list[Halves]:
    """The pairs of the last complete attempt, else those of the last."""
    whole = {number: sum(len(pair) == 2 for pair in pairs) for number, pairs in attempts.items()}
    complete = [number for number, count in whole.items() if planned is not None and count >= planned]
    return attempts[max(complete or attempts)]


def _ways(pair: Halves, direct_of: Mapping[str, str]) -> tuple[str, str] | None:
    """Ids of the direct and the routed cell. Of half a pair the direct half does not tell where it belongs."""
    routed = next((cell_id for cell_id in pair if cell_id in direct_of), None)
    if routed is not None:
        return direct_of[routed], routed
    only = next(iter(pair))
    led = [routed for routed, direct in direct_of.items() if direct == only]
    return (only, led[0]) if len(led) == 1 else None


def _overhead(direct: str, routed: str, prompt_id: str, pairs: Sequence[Halves]) -> Overhead:
    reasons = [_unusable(pair.get(direct), pair.get(routed)) for pair in pairs]
    good = [(pair[direct], pair[routed]) for pair, reason in zip(pairs, reasons, strict=True) if reason is None]
    return Overhead(
        direct=direct,
        routed=routed,
        prompt_id=prompt_id,
        pairs=len(pairs),
        dropped=dict(Counter(reason for reason in reasons if reason is not None)),
        first_delta=_difference(good, lambda call: call.first_delta_ns),
        total=_difference(good, lambda call: call.total_duration_ns),
        buffered=sum(_is_buffered(theirs) and not _is_buffered(ours) for ours, theirs in good),
        unequal=sum(ours.completion_tokens != theirs.completion_tokens for ours, theirs in good),
        backends=dict(Counter(theirs.backend for _, theirs in good if theirs.backend)),
    )


def _unusable(direct: CallRecord | None, routed: CallRecord | None) -> str | None:
    """Why a pair compares nothing, or None."""
    for way, call in (("direct", direct), ("routed", routed)):
        if call is None:
            return f"{way} call missing"
        if call.error is not None:
            return f"{way} call failed: {call.error_kind or 'no kind given'}"
    return None


def _is_buffered(call: CallRecord) -> bool:
    return any(flag.startswith("buffered:") for flag in call.call_flags)


def _difference(pairs: Iterable[Pair], figure: Callable[[CallRecord], int | None]) -> Difference:
    both = [(figure(direct), figure(routed)) for direct, routed in pairs]
    known = [(direct, routed) for direct, routed in both if direct is not None and routed is not None]
    differences = [routed - direct for direct, routed in known]
    bounds = interval(differences)
    return Difference(
        direct_p50_ms=_ms(median([direct for direct, _ in known])),
        routed_p50_ms=_ms(median([routed for _, routed in known])),
        n=len(known),
        estimate_ms=_ms(hodges_lehmann(differences)),
        low_ms=_ms(bounds[0]) if bounds else None,
        high_ms=_ms(bounds[1]) if bounds else None,
        confidence=confidence(len(known)) if bounds else None,
        exact=len(known) <= EXACT_N,
    )


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / _NS_PER_MS


# --- the estimate and its interval -------------------------------------------------------------------------------


def hodges_lehmann(values: Sequence[int]) -> float | None:
    """The median of the means of every two values, each with itself among them; None for no values."""
    if not values:
        return None
    ordered, n_means = sorted(values), len(values) * (len(values) + 1) // 2
    return (_twice_mean(ordered, (n_means + 1) // 2) + _twice_mean(ordered, n_means // 2 + 1)) / 4


def interval(values: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of the shift, its ends included; None where so few values can give none.

    Equal differences, and differences of exactly 0, only make it wider than it need be.
    """
    rank = _rank(len(values))
    if rank == 0:
        return None
    ordered, n_means = sorted(values), len(values) * (len(values) + 1) // 2
    return _twice_mean(ordered, rank) / 2, _twice_mean(ordered, n_means + 1 - rank) / 2


def confidence(n: int) -> float:
    """What the interval of n values really has, where it is counted; 0 where there is none, else 0.95."""
    if n > EXACT_N:
        return CONFIDENCE_PERCENT / 100
    rank = _rank(n)
    return 1 - 2 * sum(_ways_to(n)[:rank]) / 2**n if rank else 0.0


def _twice_mean(ordered: Sequence[int], k: int) -> int:
    """The k-th smallest (from 1) sum of two of the values, each with itself among them.

    By halving the range of the sums: a list of them all would grow with the square of the pairs.
    """
    return (
        bisect_left(range(2 * ordered[0], 2 * ordered[-1]), k, key=lambda s: _sums_up_to(ordered, s)) + 2 * ordered[0]
    )


def _sums_up_to(ordered: Sequence[int], limit: int) -> int:
    """How many sums of two values, each with itself among them, are at most `limit`."""
    found, high = 0, len(ordered) - 1
    for low, value in enumerate(ordered):
        while high >= low and value + ordered[high] > limit:
            high -= 1
        if high < low:
            break
        found += high - low + 1
    return found


@cache
def _rank(n: int) -> int:
    """Which of the ordered means, from below and from above, are the ends of the interval of n values; 0 for none."""
    tail = (100 - CONFIDENCE_PERCENT) / 200
    if n > EXACT_N:
        spread = (n * (n + 1) * (2 * n + 1) / 24) ** 0.5
        return int(n * (n + 1) / 4 + NormalDist().inv_cdf(tail) * spread + 0.5)
    allowed, rank, below = 2**n * (100 - CONFIDENCE_PERCENT) // 200, 0, 0
    for ways in _ways_to(n):
        below += ways
        if below > allowed:
            break
        rank += 1
    return rank


@cache
def _ways_to(n: int) -> tuple[int, ...]:
    """In how many of the 2**n sets of the ranks 1 to n the ranks add up to 0, 1, 2, ..."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for total, number in enumerate(ways):
            longer[total + rank] += number
        ways = longer
    return tuple(ways)
