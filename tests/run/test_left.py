"""What is left of a plan: whole units, and nothing but what is not complete."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.model.plan import Cell, Prompt, Step
from weeyuga_core.model.records import CallRecord
from weeyuga_core.run import schedule
from weeyuga_core.run.left import Unit, block_of, kept, left, units

PROMPTS = [Prompt(id=f"P-{n}", text="x", max_tokens=1) for n in range(3)]


def cell(name: str, **changes: Any) -> Cell:
    return Cell(id=f"n:e:{name}", node="n", engine="e", label=name, **changes)


def called(step: Step, **changes: Any) -> CallRecord:
    """The record of a step, as far as it matters here."""
    known: dict[str, Any] = {field.name: None for field in attrs.fields(CallRecord) if field.default is attrs.NOTHING}
    same = {name: getattr(step, name) for name in ("cell_id", "prompt_id", "phase", "run_idx", "attempt", "pair_id")}
    return CallRecord(**(known | same | changes))


@st.composite
def plans(draw: st.DrawFn) -> tuple[Step, ...]:
    """The steps of a plan in blocks, parallel or not, or of one in pairs."""
    prompts = PROMPTS[: draw(st.integers(1, 3))]
    if draw(st.booleans()):
        cells = [cell(str(n), warm_n=draw(st.integers(0, 3))) for n in range(draw(st.integers(1, 3)))]
        return schedule.blocks(cells, prompts, streams=draw(st.integers(1, 2)))
    direct = [cell(f"d{n}") for n in range(draw(st.integers(1, 2)))]
    routed = [cell(f"r{n}", routes=draw(st.sampled_from(direct)).id) for n in range(draw(st.integers(1, 3)))]
    return schedule.paired([*direct, *routed], prompts, pairs=draw(st.integers(1, 3)))


def made_in_turns(draw: st.DrawFn, steps: Sequence[Step], turns: int) -> list[list[CallRecord]]:
    """What each of several processes recorded before it died, each after what the ones before had left."""
    calls: list[CallRecord] = []
    parts = []
    for _ in range(turns):
        todo = left(steps, calls)
        part = [
            called(step, error=draw(st.sampled_from([None, None, "reset"])))
            for step in todo[: draw(st.integers(0, len(todo)))]
        ]
        parts.append(part)
        calls += part
    return parts


@given(data=st.data(), steps=plans(), turns=st.integers(0, 4))
def test_what_is_left_completes_the_plan_and_nothing_is_measured_twice(
    data: st.DataObject, steps: tuple[Step, ...], turns: int
) -> None:
    calls: list[CallRecord] = []
    safe: set[tuple[str, str, int]] = set()
    for part in data.draw(parts_of(steps, turns)):
        assert safe.isdisjoint((call.cell_id, str(call.prompt_id), call.attempt) for call in part)
        calls += part
        kept_now = {(call.cell_id, str(call.prompt_id), call.attempt) for call in kept(steps, calls)}
        assert safe <= kept_now, "what was complete stays so"
        safe = kept_now
    todo = left(steps, calls)
    assert [attrs.evolve(step, attempt=1) for step in todo] == [
        step for step in steps if block_of(step) in set(map(block_of, todo))
    ], "the order of the plan, and whole blocks"
    whole = [*calls, *map(called, todo)]
    assert left(steps, whole) == ()
    assert sorted(map(key, kept(steps, whole))) == sorted(map(key, steps)), "each planned call is there exactly once"


@st.composite
def parts_of(draw: st.DrawFn, steps: tuple[Step, ...], turns: int) -> list[list[CallRecord]]:
    return made_in_turns(draw, steps, turns)


def key(one: Step | CallRecord) -> tuple[str, str, str, int]:
    return one.cell_id, str(one.prompt_id), one.phase, one.run_idx


@given(data=st.data(), steps=plans())
def test_a_unit_is_of_one_attempt_and_its_number_is_new(data: st.DataObject, steps: tuple[Step, ...]) -> None:
    calls = [call for part in data.draw(parts_of(steps, 3)) for call in part]
    by_unit = {block: unit for unit in units(steps, calls) for block in unit.blocks}
    for step in left(steps, calls):
        unit = by_unit[block_of(step)]
        used = {call.attempt for call in calls if (call.cell_id, call.prompt_id) in unit.blocks}
        assert step.attempt == max(used, default=0) + 1


@given(steps=plans())
def test_every_step_is_in_one_unit_and_no_pair_is_divided(steps: tuple[Step, ...]) -> None:
    found = units(steps)
    assert sorted(map(key, (step for unit in found for step in unit.steps))) == sorted(map(key, steps))
    for unit in found:
        assert (unit.complete, unit.attempts) == (None, 0)
    of_pair: dict[int, Unit] = {}
    for unit in found:
        for step in unit.steps:
            if step.pair_id is not None:
                assert of_pair.setdefault(step.pair_id, unit) is unit
            else:
                assert len(unit.blocks) == 1


def test_a_failed_call_is_a_call_and_a_skipped_cell_is_none() -> None:
    steps = schedule.blocks([cell("a", warm_n=1)], PROMPTS[:1])
    failed = [called(steps[0], error="reset"), called(steps[1], error="reset")]
    assert left(steps, failed) == ()
    skipped = called(steps[0], phase="skipped", prompt_id=None)
    assert left(steps, [skipped]) == steps
    assert [step.attempt for step in left(steps, [failed[0], skipped])] == [2, 2]


def test_attempts_are_not_pieced_together() -> None:
    steps = schedule.blocks([cell("a", warm_n=1)], PROMPTS[:1])
    halves = [called(steps[0]), called(steps[1], attempt=2)]
    assert [step.attempt for step in left(steps, halves)] == [3, 3]


def test_routed_cells_with_one_direct_cell_are_one_unit_per_prompt() -> None:
    direct, other = cell("d"), cell("d2")
    routed = [cell("r1", routes=direct.id), cell("r2", routes=direct.id), cell("r3", routes=other.id)]
    steps = schedule.paired([direct, other, *routed], PROMPTS[:2], pairs=2)
    found = [(sorted({name[4:] for name, _ in unit.blocks}), {p for _, p in unit.blocks}) for unit in units(steps)]
    assert found == [
        (["d", "r1", "r2"], {"P-0"}),
        (["d", "r1", "r2"], {"P-1"}),
        (["d2", "r3"], {"P-0"}),
        (["d2", "r3"], {"P-1"}),
    ]
    first = [called(step) for step in steps if step.prompt_id == "P-0"]
    assert {(block_of(step)) for step in left(steps, first)} == {
        (step.cell_id, "P-1") for step in steps if step.prompt_id == "P-1"
    }


def test_the_warm_calls_of_a_parallel_run_stay_together() -> None:
    steps = schedule.blocks([cell("a", warm_n=2)], PROMPTS[:2], streams=3)
    todo = left(steps, [called(step) for step in steps[:5]])
    groups = [
        (prompt, phase, len(list(group))) for (prompt, phase), group in groupby(todo, lambda s: (s.prompt_id, s.phase))
    ]
    assert groups == [("P-0", "cold", 1), ("P-0", "warm", 6), ("P-1", "cold", 1), ("P-1", "warm", 6)]
