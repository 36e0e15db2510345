"""`weeyuga-bench init`: a cells.yaml for the engines that answer on this host."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weeyuga_core.cli._output import say
from weeyuga_core.errors import ExitCode, NothingToDo, UsageError

if TYPE_CHECKING:
    from weeyuga_core.interfaces import Found


@click.command()
@click.option("--url", "urls", multiple=True, metavar="URL", help="Ask there instead of the engines' default ports.")
@click.option("--cells-yaml", type=click.Path(path_type=Path), default=Path("cells.yaml"), show_default=True)
@click.option("--node", help="What to call this machine in cell ids. Default: its host name.")
def init(urls: tuple[str, ...], cells_yaml: Path, node: str | None) -> int:
    """Write a cells.yaml for the engines that answer on this host.

    Every installed engine plugin is asked. An existing file is never overwritten.
    """
    if cells_yaml.exists():
        raise UsageError(f"{cells_yaml} is already there", hint="name another file with --cells-yaml, or move it away")
    asked, found = _discover(urls)
    models = [(server, model) for server in found for model in server.models]
    if not models:
        where = (
            ", ".join(urls) or f"the default ports of: {', '.join(asked) or 'no engine; no engine plugin is installed'}"
        )
        raise NothingToDo(
            f"no engine with a model answered ({where})", hint="start one, or name it: weeyuga-bench init --url URL"
        )
    with cells_yaml.open("x", encoding="utf-8") as file:
        file.write(_render(node or node_name(socket.gethostname()), models))
    for server, model in models:
        click.echo(f"{server.engine} {server.version or ''} at {server.url}: {model}")
    say(f"wrote {cells_yaml} with {len(models)} cells; next: weeyuga-bench run --cells-yaml {cells_yaml} --smoke")
    return ExitCode.OK


def _discover(urls: Sequence[str]) -> tuple[list[str], list[Found]]:
    import asyncio

    import httpx

    from weeyuga_core import plugins
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.interfaces import Discovers

    installed = plugins.load()
    finders = {
        name: finder for name in installed.engines() if (finder := plugins.ability(installed.engine(name), Discovers))
    }

    async def ask() -> list[Found]:
        async with httpx.AsyncClient(trust_env=False, timeout=1.0) as http:
            answers = await asyncio.gather(*(finder.discover(http, urls) for finder in finders.values()))
        return [server for answer in answers for server in answer]

    return list(finders), run_to_end(ask())


def node_name(host: str) -> str:
    """The host's name as the node part of a cell id: lower case, `[a-z0-9][a-z0-9._-]*`."""
    return re.sub(r"[^a-z0-9._-]+", "-", host.lower()).lstrip("._-") or "local"


def _render(node: str, models: Sequence[tuple[Found, str]]) -> str:
    head = """\
# Cells: what is measured. One entry per (node, engine, model); the id is node:engine:label.
# Check it with `weeyuga-bench validate`, ask the servers with `weeyuga-bench probe`.
defaults:
  warm_n: 5                     # warm calls per cell and prompt, after one cold call
  options: {temperature: 0, seed: 1}   # sent with every call; part of what makes two runs comparable
cells:
"""
    return head + "".join(_entry(node, server, model) for server, model in models)


def _entry(node: str, server: Found, model: str) -> str:
    # A JSON string is a YAML string, whatever the model is called.
    version = f" {server.version}" if server.version else ""
    note = f"; {server.note}" if server.note else ""
    return (
        f"  # {server.engine}{version}{note}\n".replace("\r", " ")
        + f"  - id: {json.dumps(f'{node}:{server.engine}:{model}')}\n"
        + f"    endpoint: {json.dumps(server.url)}\n"
    )
