"""`weeyuga-bench es`: templates and dashboards for Elasticsearch and OpenSearch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from weeyuga_core.sinks.elasticsearch.settings import Settings
    from weeyuga_core.sinks.elasticsearch.setup import Setup

SCHEMA = "weeyuga.es-setup.v1"


@click.group()
def es() -> None:
    """Prepare Elasticsearch or OpenSearch, and Kibana, for the lines of `--sink es`."""


@es.command()
@click.option("--url", help="The store; default: the variable WEEYUGA_ES_URL.")
@click.option("--dry-run", is_flag=True, help="Show what is there and what would be done; change nothing.")
@json_flag()
def setup(url: str | None, dry_run: bool, as_json: bool) -> int:
    """Install composable templates of our own names; templates of others are never changed.

    Exit code 3 when an index template of somebody else governs our indices: its owner must add our component.
    """
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.sinks.elasticsearch.settings import from_env

    found = run_to_end(_set_up(from_env(url, option="--url URL"), dry_run=dry_run))
    if as_json:
        emit_json(SCHEMA, attrs.asdict(found) | {"dry_run": dry_run}, ok=not _left(found), warnings=found.notes)
    else:
        _show(found, dry_run=dry_run)
    return ExitCode.INCOMPLETE if _left(found) else ExitCode.OK


@es.command()
@click.option("--out", type=click.Path(path_type=Path), help="A new file; default: stdout.")
def dashboards(out: Path | None) -> None:
    """Write saved objects for Kibana or OpenSearch Dashboards: Stack Management, Saved Objects, Import.

    Benchmark traffic is hidden by a filter that is switched on and can be switched off.
    """
    from weeyuga_core.sinks.elasticsearch.kibana import saved_objects
    from weeyuga_core.sinks.elasticsearch.settings import prefix_from_env

    lines = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in saved_objects(prefix_from_env()))
    if out is None:
        click.echo(lines, nl=False)
        return
    try:
        with out.open("x", encoding="ascii") as file:
            file.write(lines)
    except FileExistsError:
        raise UsageError(f"--out {out} is there already; it is never overwritten") from None
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    say(f"saved objects written to {out}; import them in Kibana under Stack Management, Saved Objects")


async def _set_up(settings: Settings, *, dry_run: bool) -> Setup:
    from weeyuga_core.sinks.elasticsearch.setup import install, plan

    async with settings.client() as http:
        found = await plan(http, settings)
        if not dry_run:
            await install(http, found)
        return found


def _left(found: Setup) -> bool:
    return any(step.action == "leave" for step in found.steps)


def _show(found: Setup, *, dry_run: bool) -> None:
    if dry_run:
        for step in found.steps:
            click.echo(f"PUT {step.path}\n{json.dumps(step.body, indent=2)}")
    say(found.store)
    say(table(("action", "template", "why"), [(step.action, step.path, step.why) for step in found.steps]))
    for note in found.notes:
        say(f"note: {note}")
    if dry_run:
        say("nothing was changed")
