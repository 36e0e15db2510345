"""Pure schedules: cells and prompts in, the explicit tuple of steps out. Nobody else owns order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count, groupby

from attrs import evolve

from weeyuga_core.model.plan import Cell, Prompt, RunPlan, Step


def blocks(cells: Sequence[Cell], prompts: Sequence[Prompt], *, streams: int = 1) -> tuple[Step, ...]:
    """One cold call, then the cell's `warm_n` warm ones per stream, for each prompt of each enabled cell in turn."""
    return tuple(
        step
        for cell in cells
        if cell.enabled
        for prompt in prompts
        for step in (
            Step(cell_id=cell.id, prompt_id=prompt.id, phase="cold", run_idx=0),
            *(
                Step(cell_id=cell.id, prompt_id=prompt.id, phase="warm", run_idx=i)
                for i in range(cell.warm_n * streams)
            ),
        )
    )


def paired(cells: Sequence[Cell], prompts: Sequence[Prompt], *, pairs: int) -> tuple[Step, ...]:
    """`pairs` pairs of warm calls for each prompt of each routed cell: one call direct, one through the router.

    Every other pair goes the other way round (direct, routed; routed, direct; ...), so that a machine that grows slower
    or faster by the minute favours neither. `pair_id` counts over the whole plan from 0. Cells that are not enabled,
    and routed ones whose direct cell is not among `cells` or not enabled, have no steps.
    """
    enabled = {cell.id for cell in cells if cell.enabled}
    ways = [(cell.routes, cell.id) for cell in cells if cell.routes in enabled and cell.id in enabled]
    of_pair, of_block = count(), defaultdict[tuple[str, str], Iterator[int]](count)
    return tuple(
        Step(
            cell_id=cell_id,
            prompt_id=prompt.id,
            phase="warm",
            run_idx=next(of_block[cell_id, prompt.id]),
            pair_id=pair_id,
        )
        for direct, routed in ways
        for prompt in prompts
        for number, pair_id in zip(range(pairs), of_pair, strict=False)
        for cell_id in ((routed, direct) if number % 2 else (direct, routed))
    )


def with_planned_warm_n(cells: Sequence[Cell], steps: Sequence[Step]) -> tuple[Cell, ...]:
    """The cells, each with the number of warm calls per prompt that the steps hold."""
    blocks_of = Counter((step.cell_id, step.prompt_id) for step in steps)
    planned = {cell_id: number for (cell_id, _), number in blocks_of.items()}
    return tuple(evolve(cell, warm_n=planned.get(cell.id, 0)) for cell in cells)


def pairs_of(steps: Sequence[Step]) -> dict[int | None, set[str]]:
    """`pair_id` -> the cells of that pair."""
    pairs: dict[int | None, set[str]] = {}
    for step in steps:
        if step.pair_id is not None:
            pairs.setdefault(step.pair_id, set()).add(step.cell_id)
    return pairs


def smoke(cells: Sequence[Cell], prompts: Sequence[Prompt]) -> tuple[Step, ...]:
    """A single cold call: the first enabled cell, the first prompt."""
    cell = next((cell for cell in cells if cell.enabled), None)
    if cell is None or not prompts:
        return ()
    return (Step(cell_id=cell.id, prompt_id=prompts[0].id, phase="cold", run_idx=0),)


def turns(plan: RunPlan) -> Iterator[tuple[Step, ...]]:
    """The plan's steps in their order, each alone; in a parallel run the warm ones of a (cell, prompt) together."""
    if plan.concurrency == 1:
        yield from ((step,) for step in plan.steps)
        return
    for _, group in groupby(plan.steps, key=lambda step: (step.cell_id, step.prompt_id, step.phase)):
        yield tuple(group)
