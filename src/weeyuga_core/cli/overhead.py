"""`weeyuga-bench overhead`: what a router costs, from the pairs of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.cli.report import find_ledger
from weeyuga_core.errors import NothingToDo

if TYPE_CHECKING:
    from weeyuga_core.analysis.pairs import Overhead

SCHEMA = "weeyuga.overhead.v1"


@click.command()
@click.argument("ledger")
@json_flag()
def overhead(ledger: str, as_json: bool) -> None:
    """Print what a router adds to first delta and total, with 95 % intervals.

    LEDGER is a file, or the first letters of a run id whose ledger lies in ./runs; it comes from a
    `run --schedule paired`.
    """
    from weeyuga_core.analysis.assess import assess
    from weeyuga_core.ledger import reader

    path = find_ledger(ledger)
    baseline, judgement = assess(reader.read(path))
    if not baseline.overheads:
        raise NothingToDo(
            f"{path}: no pair of a direct and a routed call is recorded in this ledger",
            hint="weeyuga-bench run --schedule paired measures routed cells in pairs with their direct ones",
        )
    if as_json:
        rows = [_data(row) for row in baseline.overheads]
        emit_json(SCHEMA, rows, verdict=judgement.verdict, warnings=judgement.reasons)
        return
    click.echo(_text(baseline.overheads))
    say(judgement.line)


def _data(row: Overhead) -> dict[str, object]:
    resolved = {"first_delta_resolved": row.first_delta.resolved, "total_resolved": row.total.resolved}
    return attrs.asdict(row) | {"compared": row.compared} | resolved


def _text(rows: tuple[Overhead, ...]) -> str:
    from weeyuga_core.report.routing import notes_of, signed, span

    heads = ("routed cell", "prompt", "TTFT ms", "95 %", "total ms", "95 %", "pairs", "dropped", "buffered")
    shown = [
        (
            row.routed,
            row.prompt_id,
            signed(row.first_delta.estimate_ms),
            span(row.first_delta),
            signed(row.total.estimate_ms),
            span(row.total),
            row.compared,
            row.pairs - row.compared,
            f"{row.buffered} of {row.compared}" if row.buffered else "no",
        )
        for row in rows
    ]
    return "\n".join([table(heads, shown), *(f"note: {note}" for row in rows for note in notes_of(row))])
