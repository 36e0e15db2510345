"""`weeyuga-bench plugins`: what is installed, and in what state."""

from __future__ import annotations

import click

from weeyuga_core import plugins as installed
from weeyuga_core.cli import COMMANDS
from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table

SCHEMA = "weeyuga.plugins.v1"


@click.group()
def plugins() -> None:
    """Show the installed engines, sinks and commands."""


@plugins.command("list")
@json_flag()
def list_(as_json: bool) -> None:
    """List every plugin: name, kind, distribution, version, API range, state.

    A broken plugin is shown with its fault and changes nothing about the exit code.
    """
    found = installed.load(reserved_commands=COMMANDS)
    rows = found.rows()
    broken = [
        f"{row.kind} {row.name} of {row.dist} {row.version}: {row.detail}" for row in rows if row.state == "broken"
    ]
    if as_json:
        emit_json(SCHEMA, [row._asdict() for row in rows], ok=not broken, warnings=broken)
        return
    headers = ("name", "kind", "dist", "version", "api", "state")
    click.echo(table(headers, [(row.name, row.kind, row.dist, row.version, row.api, row.state) for row in rows]))
    for words in broken:
        say(f"\nbroken: {words}")
