"""`weeyuga-bench probe`: can every cell be measured now?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.errors import ExitCode


@click.command()
@click.option("--cells-yaml", type=click.Path(path_type=Path), default=Path("cells.yaml"), show_default=True)
@click.option("--prompts-yaml", type=click.Path(path_type=Path), help="The prompts that cells.yaml refers to.")
@click.option("--cells", "cell_ids", multiple=True, metavar="ID", help="Only these cells (repeatable, globs).")
@json_flag()
def probe(cells_yaml: Path, prompts_yaml: Path | None, cell_ids: tuple[str, ...], as_json: bool) -> int:
    """Ask every cell once, within 1 s, whether it can be measured.

    For a cell that is launched by us: whether its files are there. Exits with 3 when one is down.
    """
    from weeyuga_core import config, plugins
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.interfaces import Health
    from weeyuga_core.run.select import direct_cells, select_cells
    from weeyuga_core.run.start import open_sessions, probe_all

    loaded = config.load(cells_yaml, prompts_yaml)
    cells = select_cells(loaded.cells, cell_ids)

    async def ask() -> dict[str, Health]:
        # A probe launches nothing, so nothing is ever written there.
        unused = Path(tempfile.gettempdir())
        async with open_sessions(
            cells, plugins.load(), unused, brain_hosts=loaded.brain_hosts, routed_to=direct_cells(cells, loaded.cells)
        ) as sessions:
            return await probe_all(sessions)

    answers = run_to_end(ask())
    rows = [
        (cell.id, answers[cell.id].state, answers[cell.id].detail)
        if cell.enabled
        else (cell.id, "disabled", cell.reason or "")
        for cell in cells
    ]
    down = [cell_id for cell_id, state, _ in rows if state == "down"]
    if as_json:
        data = [{"cell_id": cell_id, "state": state, "detail": detail} for cell_id, state, detail in rows]
        emit_json("weeyuga.probe.v1", data, ok=not down)
    else:
        click.echo(table(("cell", "state", "detail"), rows))
    say(
        f"{len(down)} of {len(rows)} cells are down"
        if down
        else f"all {len(rows)} cells can be measured or are disabled"
    )
    return ExitCode.INCOMPLETE if down else ExitCode.OK
