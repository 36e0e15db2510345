"""Pure schedules: cells and prompts in, the explicit tuple of steps out. Nobody else owns order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

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
