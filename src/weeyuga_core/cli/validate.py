"""`weeyuga-bench validate`: check the files, print what a run would do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, table

if TYPE_CHECKING:
    from weeyuga_core.config import Config
    from weeyuga_core.model.plan import Cell


@click.command()
@click.option("--cells-yaml", type=click.Path(path_type=Path), default=Path("cells.yaml"), show_default=True)
@click.option("--prompts-yaml", type=click.Path(path_type=Path), help="More prompts; the frozen ones are always there.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of cells.yaml, for editors, and exit.")
@json_flag()
def validate(cells_yaml: Path, prompts_yaml: Path | None, schema: bool, as_json: bool) -> None:
    """Check cells.yaml and prompts.yaml; print the resolved plan.

    Every error of both files is shown at once, with its place. Nothing is contacted, launched or written.
    """
    import json

    from weeyuga_core import config

    if schema:
        click.echo(json.dumps(config.json_schema(), indent=2, ensure_ascii=False))
        return
    try:
        loaded = config.load(cells_yaml, prompts_yaml)
    except config.ConfigErrors as errors:
        if as_json:
            problems = [attrs.asdict(problem) for problem in errors.problems]
            emit_json("weeyuga.validate.v1", {"problems": problems}, ok=False, verdict="invalid")
        raise
    if as_json:
        emit_json("weeyuga.validate.v1", _data(loaded), verdict="valid")
    else:
        click.echo(_text(loaded))


def _data(config: Config) -> dict[str, Any]:
    return {
        "problems": [],
        "cells": [attrs.asdict(cell) for cell in config.cells],
        "prompts": [attrs.asdict(prompt) | {"sha256": prompt.sha256} for prompt in config.prompts],
        "brain_hosts": list(config.brain_hosts),
        "quiet_hours": dict(config.quiet_hours),
        "steps_planned": _steps(config),
    }


def _text(config: Config) -> str:
    cells = [(cell.id, _reach(cell), cell.warm_n, cell.prompt_cache, _state(cell)) for cell in config.cells]
    prompts = [(prompt.id, prompt.max_tokens, prompt.sha256) for prompt in config.prompts]
    parts = [
        table(("cell", "reached by", "warm_n", "prompt cache", "state"), cells),
        table(("prompt", "max_tokens", "sha256"), prompts),
    ]
    if config.quiet_hours:
        parts.append(table(("node", "quiet hours"), sorted(config.quiet_hours.items())))
    if config.brain_hosts:
        parts.append(f"tagged as benchmark traffic: {', '.join(config.brain_hosts)}")
    return "\n\n".join([*parts, f"{_steps(config)} steps planned for all cells and prompts"])


def _reach(cell: Cell) -> str:
    if cell.launch:
        return f"launch {Path(cell.launch.server).name} {Path(cell.launch.model).name}"
    endpoint = cell.endpoint or "-"
    return f"{endpoint} (routes {cell.routes})" if cell.routes else endpoint


def _state(cell: Cell) -> str:
    return "enabled" if cell.enabled else f"left out: {cell.reason}"


def _steps(config: Config) -> int:
    from weeyuga_core.run.schedule import blocks

    return len(blocks(config.cells, config.prompts))
