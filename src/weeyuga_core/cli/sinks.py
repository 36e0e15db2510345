"""`weeyuga-bench sinks`: how far the copies of a ledger got."""

from __future__ import annotations

import attrs
import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.cli.report import RUNS, find_ledger
from weeyuga_core.errors import ExitCode, NothingToDo

SCHEMA = "weeyuga.sinks-status.v1"


@click.group()
def sinks() -> None:
    """Show how far the copies of a ledger got."""


@sinks.command()
@click.argument("ledger", required=False)
@json_flag()
def status(ledger: str | None, as_json: bool) -> int:
    """Show, for each sink with a checkpoint, what its copy lacks: lines, bytes, dead letters.

    LEDGER is a file, or the first letters of a run id; without it, every ledger in ./runs. Exit code 3 when a copy
    lacks lines or has dead letters. No store is asked: `replay --verify` does that.
    """
    from weeyuga_core.sinks.status import of_ledger

    ledgers = [find_ledger(ledger)] if ledger else sorted(RUNS.glob("*.jsonl"))
    found = [one for path in ledgers for one in of_ledger(path)]
    if not found:
        where = str(ledgers[0]) if ledger else f"{RUNS}/"
        raise NothingToDo(
            f"{where}: no sink has a checkpoint here", hint="weeyuga-bench replay LEDGER --sink es begins one"
        )
    doubts = [f"{one.ledger}, {one.target}: {one.doubt}; a replay begins anew" for one in found if one.doubt]
    behind = any(one.lag_lines or one.dead for one in found)
    if as_json:
        emit_json(SCHEMA, [attrs.asdict(one) for one in found], ok=not behind, warnings=doubts)
    else:
        headers = ("ledger", "sink", "target", "acknowledged", "lag lines", "lag bytes", "dead")
        rows = [(o.ledger, o.sink, o.target, o.acknowledged, o.lag_lines, o.lag_bytes, o.dead) for o in found]
        click.echo(table(headers, rows))
        for words in doubts:
            say(f"warning: {words}")
    return ExitCode.INCOMPLETE if behind else ExitCode.OK
