"""The section of a parallel baseline that says how a cell holds up under its streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from weeyuga_core.analysis.load import Load
from weeyuga_core.report.text import escape, rate, table, whole

COLUMNS: tuple[tuple[str, Callable[[Load], str]], ...] = (
    ("prompt", lambda row: escape(row.prompt_id)),
    ("calls", lambda row: str(row.calls)),
    ("errors", lambda row: str(row.errors)),
    ("first_delta_ms p50", lambda row: whole(row.first_delta_ms.p50)),
    ("p90", lambda row: whole(row.first_delta_ms.p90)),
    ("p95", lambda row: whole(row.first_delta_ms.p95)),
    ("p99", lambda row: whole(row.first_delta_ms.p99)),
    ("max", lambda row: whole(row.first_delta_ms.max)),
    ("total_duration_ms p50", lambda row: whole(row.total_duration_ms.p50)),
    ("p90", lambda row: whole(row.total_duration_ms.p90)),
    ("p95", lambda row: whole(row.total_duration_ms.p95)),
    ("p99", lambda row: whole(row.total_duration_ms.p99)),
    ("max", lambda row: whole(row.total_duration_ms.max)),
    ("tokens_per_sec of all streams", lambda row: rate(row.tokens_per_sec_all)),
    ("percentiles", lambda row: row.first_delta_ms.method),
)

HOW_TO_READ = (
    "The warm calls of all streams, in a closed loop: each stream sends its next call when its last has ended, so a "
    "slow engine is also asked less often. These figures are never compared with those of a single stream.",
    "Percentiles of up to 1000 calls are exact; beyond, they come from a histogram with 3 significant digits, whose "
    "encoded form `report --json` gives for merging.",
)


def sections(rows: Sequence[Load]) -> Iterator[list[str]]:
    """One heading, one table per cell, and how to read them; nothing where the run was not parallel."""
    if not rows:
        return
    yield ["## Under load"]
    for cell_id, found in groupby(rows, key=lambda row: row.cell_id):
        shown = table([title for title, _ in COLUMNS], [[show(row) for _, show in COLUMNS] for row in found])
        yield [f"### {escape(cell_id)} under load", "", *shown]
    yield [f"- {line}" for line in HOW_TO_READ]
