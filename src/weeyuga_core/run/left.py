"""What is left of a plan when a ledger holds some of its calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from weeyuga_core.model.plan import Step
from weeyuga_core.model.records import CallRecord

Block: TypeAlias = tuple[str, str]
"""Cell and prompt."""
_Made: TypeAlias = Mapping[Block, Mapping[int, set[tuple[str, int]]]]
"""Block -> attempt -> phase and `run_idx` of the calls that are recorded."""


@frozen(kw_only=True)
class Unit:
    """Steps that count together or not at all, in the order of the plan, and what a ledger holds of them.

    One (cell, prompt): a warm call needs the one before it. Where calls are paired, all that the pairs link: a direct
    cell has one block with a prompt, whichever routed cells it is compared with, and a block is of one attempt.
    """

    steps: tuple[Step, ...]
    complete: int | None
    """The last attempt in which every step has a record; an error is one, too."""
    attempts: int
    """The highest attempt that has any record; 0 for none."""

    @property
    def blocks(self) -> frozenset[Block]:
        """The blocks of its steps."""
        return frozenset(map(block_of, self.steps))


def units(steps: Sequence[Step], calls: Iterable[CallRecord] = ()) -> tuple[Unit, ...]:
    """The units of a plan, in the order of their first steps, held against the calls of a ledger."""
    made: dict[Block, dict[int, set[tuple[str, int]]]] = {}
    for call in calls:
        if call.prompt_id is not None:
            attempts = made.setdefault((call.cell_id, call.prompt_id), {})
            attempts.setdefault(call.attempt, set()).add((call.phase, call.run_idx))
    return tuple(_unit(found, made) for found in _linked(steps))


def left(steps: Sequence[Step], calls: Iterable[CallRecord]) -> tuple[Step, ...]:
    """The steps of units that are not complete, whole, each in the attempt after the highest of its unit."""
    again = {block: unit.attempts + 1 for unit in units(steps, calls) if unit.complete is None for block in unit.blocks}
    return tuple(evolve(step, attempt=again[block_of(step)]) for step in steps if block_of(step) in again)


def kept(steps: Sequence[Step], calls: Sequence[CallRecord]) -> tuple[CallRecord, ...]:
    """The calls that are not made again: those of complete units, of the attempt that is complete."""
    counts = {block: unit.complete for unit in units(steps, calls) for block in unit.blocks}
    return tuple(
        call for call in calls if call.prompt_id and counts.get((call.cell_id, call.prompt_id)) == call.attempt
    )


def block_of(step: Step) -> Block:
    """The cell and the prompt of a step."""
    return step.cell_id, step.prompt_id


def _unit(steps: Sequence[Step], made: _Made) -> Unit:
    attempts = {number for step in steps for number in made.get(block_of(step), ())}
    complete = [
        number
        for number in attempts
        if all((step.phase, step.run_idx) in made.get(block_of(step), {}).get(number, ()) for step in steps)
    ]
    return Unit(steps=tuple(steps), complete=max(complete, default=None), attempts=max(attempts, default=0))


def _linked(steps: Sequence[Step]) -> Iterable[list[Step]]:
    """The steps, those of one block together, and those of blocks that a pair links."""
    linked: dict[Block, set[Block]] = {}
    of_pair: dict[int, Block] = {}
    for step in steps:
        blocks = linked.setdefault(block_of(step), {block_of(step)})
        if step.pair_id is not None:
            others = linked[of_pair.setdefault(step.pair_id, block_of(step))]
            blocks |= others
            linked.update(dict.fromkeys(blocks, blocks))
    found: dict[int, list[Step]] = {}
    for step in steps:
        found.setdefault(id(linked[block_of(step)]), []).append(step)
    return found.values()
