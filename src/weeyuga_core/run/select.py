"""Which cells and prompts of the configuration a run takes."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import TypeVar

from weeyuga_core.errors import UsageError
from weeyuga_core.model.plan import Cell, Prompt

T = TypeVar("T", Cell, Prompt)


def select_cells(cells: Sequence[Cell], patterns: Sequence[str]) -> tuple[Cell, ...]:
    """The cells that match an id or glob, in the file's order; all where no pattern is given.

    Raises UsageError for a pattern that matches nothing.
    """
    return _select(cells, patterns, kind="cell", option="--cells")


def direct_cells(cells: Sequence[Cell], every: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells that routed ones among `cells` lead to, out of `every` cell of the file."""
    wanted = {cell.routes for cell in cells}
    return tuple(cell for cell in every if cell.id in wanted)


def paired_cells(cells: Sequence[Cell], every: Sequence[Cell]) -> tuple[Cell, ...]:
    """The routed ones among `cells` and the direct cells that they lead to, in the file's order.

    Raises UsageError where none is routed, and where a direct cell is not enabled.
    """
    routed = {cell.id: cell for cell in cells if cell.routes is not None}
    if not routed:
        raise UsageError("--schedule paired: no selected cell is a routed one", hint="`routes:` in a cell makes it one")
    for direct in direct_cells([cell for cell in routed.values() if cell.enabled], every):
        if not direct.enabled:
            raise UsageError(f"--schedule paired: {direct.id} is not enabled, so nothing can be paired with it")
    wanted = {*routed, *(cell.routes for cell in routed.values())}
    return tuple(cell for cell in every if cell.id in wanted)


def select_prompts(prompts: Sequence[Prompt], patterns: Sequence[str]) -> tuple[Prompt, ...]:
    """The prompts that match an id or glob, in order; all where no pattern is given.

    Raises UsageError for a pattern that matches nothing.
    """
    return _select(prompts, patterns, kind="prompt", option="--prompts")


def check_parallel(cells: Sequence[Cell], streams: int) -> None:
    """Raise UsageError, naming the cells, where `streams` calls at once are not what their owner allowed."""
    refused = [cell.id for cell in cells if cell.enabled and not cell.parallel]
    if streams > 1 and refused:
        raise UsageError(
            f"--concurrency {streams}: not allowed on {', '.join(refused)}",
            hint="the owner of a node allows it with `parallel: true` in its cell; or choose others with --cells",
        )


def _select(items: Sequence[T], patterns: Sequence[str], *, kind: str, option: str) -> tuple[T, ...]:
    if not patterns:
        return tuple(items)
    ids = [item.id for item in items]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in ids):
            near = difflib.get_close_matches(pattern, ids, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"{option} {pattern}: no such {kind}", hint=f"{hint}there are: {', '.join(ids) or 'none'}")
    return tuple(item for item in items if any(_matches(item.id, pattern) for pattern in patterns))


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)
