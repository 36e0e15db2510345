"""`weeyuga-bench replay`: bring a sink's copy level with its ledger, and prove it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say
from weeyuga_core.cli.report import find_ledger
from weeyuga_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from weeyuga_core.sinks.replay import DryRun, ReplayReport, Replays

SCHEMA = "weeyuga.replay.v1"


@click.command()
@click.argument("ledger")
@click.option("--sink", "sink", required=True, metavar="NAME[=TARGET]", help="The copy to bring level, such as es=URL.")
@click.option("--from-start", is_flag=True, help="Send every line again, whatever is acknowledged.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; ask nobody, write nothing.")
@click.option("--verify", is_flag=True, help="Look every line up afterwards.")
@click.option("--redrive-dlq", is_flag=True, help="Send the dead letters once more.")
@json_flag()
def replay(
    ledger: str, sink: str, from_start: bool, dry_run: bool, verify: bool, redrive_dlq: bool, as_json: bool
) -> int:
    """Bring a sink's copy level with its ledger.

    LEDGER is a file, or the first letters of a run id whose ledger lies in ./runs. Sending a line twice is harmless.
    Exit code 0 only when every line is in the store or in the dead-letter file, 3 otherwise.
    """
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.sinks.replay import ReplayOptions

    options = ReplayOptions(from_start=from_start, verify=verify, redrive_dlq=redrive_dlq)
    copy = _replaying_sink(ledger, sink)
    if dry_run:
        return _told(copy.dry_run(options), as_json=as_json)
    return _reported(run_to_end(copy.replay(options, say)), as_json=as_json)


def _replaying_sink(ledger: str, sink: str) -> Replays:
    from weeyuga_core import plugins
    from weeyuga_core.cli.run import parse_sink
    from weeyuga_core.interfaces import SinkTarget
    from weeyuga_core.sinks.replay import Replays

    path = find_ledger(ledger)
    name, target = parse_sink(sink)
    kind = plugins.load().sink(name)
    if not issubclass(kind, Replays):
        raise UsageError(
            f"--sink {name}: this sink keeps no checkpoint, so there is nothing to bring level",
            hint="weeyuga-bench report LEDGER makes the baseline again; the ledger itself is the JSON Lines copy",
        )
    made = kind(SinkTarget(target=target, ledger_path=str(path), side_dir=str(path.with_suffix(".d"))))
    assert isinstance(made, Replays)
    return made


def _told(found: DryRun, *, as_json: bool) -> int:
    total = sum(found.indices.values())
    if as_json:
        emit_json("weeyuga.replay-dry-run.v1", attrs.asdict(found))
        return ExitCode.OK
    if found.example is not None:
        click.echo(json.dumps(found.example, indent=2))
    for index, count in found.indices.items():
        say(f"{count:8} lines to {index}")
    say(
        f"{total} lines, {found.size_bytes} bytes would be sent to {found.url}, {found.acknowledged} are acknowledged; "
        f"nothing was sent{'; above: the last document of a call' if found.example is not None else ''}"
    )
    return ExitCode.OK


def _reported(report: ReplayReport, *, as_json: bool) -> int:
    if as_json:
        warnings = [report.stopped] if report.stopped else []
        emit_json(SCHEMA, attrs.asdict(report), ok=report.level, warnings=warnings)
    else:
        click.echo(_figures(report))
    for reason, count in report.dead_reasons.items():
        say(f"dead: {count} x {reason}")
    if report.dead:
        say(f"dead letters lie in {report.dead_file}; mend the cause, then replay with --redrive-dlq")
    if report.missing:
        shown = ", ".join(report.missing_ids)
        say(f"missing: {shown}{', ...' if report.missing > len(report.missing_ids) else ''}; replay with --from-start")
    if report.stopped:
        say(f"stopped: {report.stopped}")
        if report.hint:
            say(f"  = help: {report.hint}")
    return report.exit_code


def _figures(report: ReplayReport) -> str:
    parts = [
        f"created {report.created}",
        f"duplicate {report.duplicate}",
        f"retried {report.retried}",
        f"dead {report.dead}",
    ]
    if report.missing is not None:
        parts += [f"stored {report.stored}", f"missing {report.missing}"]
    else:
        parts.append("missing unknown (--verify looks)")
    return f"{', '.join(parts)}; {report.acknowledged} of {report.lines} lines acknowledged"
