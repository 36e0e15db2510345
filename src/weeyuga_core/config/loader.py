"""From the files to one `Config`, or to every error in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from weeyuga_core.config.cells import Matrix, parse_cells
from weeyuga_core.config.document import read_text
from weeyuga_core.config.problems import ConfigErrors, Problem
from weeyuga_core.config.prompts import frozen_prompts, read_prompts
from weeyuga_core.model.plan import Cell, Prompt

_NO_CELLS = (
    "`weeyuga-bench init` writes one for the engines that answer on this host; --cells-yaml FILE names another file"
)


@frozen(kw_only=True)
class Config:
    """What is to be measured, with what: the files of the user, checked and with defaults filled in.

    `prompts` holds the frozen ones first; `quiet_hours` maps a node to its `HH:MM-HH:MMZ`.
    """

    cells: tuple[Cell, ...]
    prompts: tuple[Prompt, ...]
    brain_hosts: tuple[str, ...]
    quiet_hours: Mapping[str, str]
    cells_path: Path


def load(cells_path: Path, prompts_path: Path | None = None) -> Config:
    """Read cells.yaml and, where given, a prompts file. Raises ConfigErrors with every error of both."""
    added = read_prompts(prompts_path)
    ids = None if added.ids is None else [*(prompt.id for prompt in frozen_prompts()), *sorted(added.ids)]
    source = read_text(cells_path, missing=_NO_CELLS)
    matrix = Matrix(problems=(source,)) if isinstance(source, Problem) else parse_cells(source, cells_path.parent, ids)
    if problems := matrix.problems + added.problems:
        raise ConfigErrors(problems)
    return Config(
        cells=matrix.cells,
        prompts=frozen_prompts() + added.prompts,
        brain_hosts=matrix.brain_hosts,
        quiet_hours=matrix.quiet_hours,
        cells_path=cells_path,
    )
