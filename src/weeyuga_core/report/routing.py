"""The section of a baseline that says what routers cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from weeyuga_core.analysis.pairs import Difference, Overhead
from weeyuga_core.report.text import NONE, escape, table, whole, word

COLUMNS: tuple[tuple[str, Callable[[Overhead], str]], ...] = (
    ("prompt", lambda row: escape(row.prompt_id)),
    ("first_delta_ms", lambda row: signed(row.first_delta.estimate_ms)),
    ("95 %", lambda row: span(row.first_delta)),
    ("total_duration_ms", lambda row: signed(row.total.estimate_ms)),
    ("95 %", lambda row: span(row.total)),
    ("pairs", lambda row: str(row.compared)),
    ("dropped", lambda row: str(row.pairs - row.compared)),
    ("first_delta_ms direct", lambda row: whole(row.first_delta.direct_p50_ms)),
    ("routed", lambda row: whole(row.first_delta.routed_p50_ms)),
    ("total_duration_ms direct", lambda row: whole(row.total.direct_p50_ms)),
    ("routed", lambda row: whole(row.total.routed_p50_ms)),
    ("buffered", lambda row: f"{row.buffered} of {row.compared}" if row.buffered else "no"),
)

HOW_TO_READ = (
    "Each pair is one call straight to the engine and one through the router, a moment apart, in turns one or the "
    "other first. The figures are routed minus direct: the Hodges-Lehmann estimate, and the 95 % interval of the "
    "signed-rank test that belongs to it. An interval that holds 0 has not resolved a cost.",
    "`direct` and `routed` are the medians of the same calls; their difference is not the estimate.",
    "`buffered` counts the pairs in which the routed answer came in bursts and the direct one did not: the tokens "
    "then waited in the router, and its `first_delta_ms` is no time to the first token.",
)


def sections(overheads: Sequence[Overhead]) -> Iterator[list[str]]:
    """One heading, one table per routed cell, and how to read them; nothing where there are no pairs."""
    if not overheads:
        return
    yield ["## Routing overhead"]
    for (routed, direct), found in groupby(overheads, key=lambda one: (one.routed, one.direct)):
        rows = list(found)
        shown = table([title for title, _ in COLUMNS], [[show(row) for _, show in COLUMNS] for row in rows])
        notes = [f"- {note}" for row in rows for note in notes_of(row)]
        yield [f"### {escape(routed)} against {escape(direct)}", "", *shown, *(["", *notes] if notes else [])]
    yield [f"- {line}" for line in HOW_TO_READ]


def notes_of(row: Overhead) -> Iterator[str]:
    """What a reader must know before believing the row."""
    for reason, number in row.dropped.items():
        yield f"{escape(row.prompt_id)}: {number} of {row.pairs} pairs dropped: {word(reason)}"
    if row.buffered:
        yield (
            f"{escape(row.prompt_id)}: the router holds the stream back: {row.buffered} of {row.compared} routed "
            "answers came in bursts, the direct ones beside them did not"
        )
    if row.unequal:
        yield (
            f"{escape(row.prompt_id)}: in {row.unequal} of {row.compared} pairs the answers have different numbers of "
            "tokens, so their totals compare unequal work"
        )
    if row.compared and row.first_delta.low_ms is None:
        yield f"{escape(row.prompt_id)}: {row.first_delta.n} pairs give no 95 % interval; it takes 6"
    if len(row.backends) > 1:
        told = ", ".join(f"{word(name)} {number}" for name, number in row.backends.items())
        yield f"{escape(row.prompt_id)}: more than one backend answered the routed calls: {told}"


def signed(ms: float | None) -> str:
    """A difference in ms, with its sign: two decimals below ten, else one."""
    if ms is None:
        return NONE
    return f"{ms:+.2f}" if abs(ms) < 10 else f"{ms:+.1f}"


def span(difference: Difference) -> str:
    """From one end of the interval to the other."""
    if difference.low_ms is None or difference.high_ms is None:
        return NONE
    return f"{signed(difference.low_ms)}..{signed(difference.high_ms)}"
