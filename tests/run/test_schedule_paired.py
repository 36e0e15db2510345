"""The order of paired calls."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import UsageError
from weeyuga_core.model.plan import Cell, Prompt
from weeyuga_core.run.schedule import paired, pairs_of, with_planned_warm_n
from weeyuga_core.run.select import direct_cells, paired_cells


def cell(name: str, **changes: Any) -> Cell:
    return Cell(id=f"n:e:{name}", node="n", engine="e", label=name, **changes)


def prompts(number: int) -> list[Prompt]:
    return [Prompt(id=f"P-{i}", text="x", max_tokens=8) for i in range(number)]


DIRECT = cell("direct")
ROUTED = cell("routed", routes="n:e:direct")


def test_every_other_pair_goes_the_other_way_round() -> None:
    steps = paired([ROUTED, DIRECT], prompts(1), pairs=3)
    assert [(step.cell_id.split(":")[-1], step.pair_id, step.run_idx) for step in steps] == [
        ("direct", 0, 0),
        ("routed", 0, 0),
        ("routed", 1, 1),
        ("direct", 1, 1),
        ("direct", 2, 2),
        ("routed", 2, 2),
    ]
    assert {(step.phase, step.prompt_id, step.attempt) for step in steps} == {("warm", "P-0", 1)}


@given(st.integers(0, 7), st.integers(0, 3), st.integers(1, 3))
def test_pairs_are_whole_neighbours_and_cancel_a_drift(pairs: int, n_prompts: int, n_routed: int) -> None:
    routed = [cell(f"routed{i}", routes=DIRECT.id) for i in range(n_routed)]
    steps = paired([DIRECT, *routed, cell("other")], prompts(n_prompts), pairs=pairs)
    assert len(steps) == 2 * pairs * n_prompts * n_routed
    for number, (first, second) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        assert first.pair_id == second.pair_id == number
        assert first.prompt_id == second.prompt_id
        assert {first.cell_id, second.cell_id} & {DIRECT.id} == {DIRECT.id}
        assert first.cell_id != second.cell_id
    assert len({(s.cell_id, s.prompt_id, s.phase, s.run_idx) for s in steps}) == len(steps), "each step has its own key"
    for way in routed:
        for prompt in prompts(n_prompts):
            # Where each call stands in time: a straight drift adds as much to one way as to the other.
            mine = {i for i, cells in pairs_of(steps).items() if way.id in cells}
            placed = [(i, s) for i, s in enumerate(steps) if s.pair_id in mine and s.prompt_id == prompt.id]
            sums = Counter[str]()
            for i, step in placed:
                sums[step.cell_id] += i
            assert abs(sums[way.id] - sums[DIRECT.id]) == (pairs % 2), "at most the last pair is left over"


def test_one_way_to_an_engine_is_never_three_times_in_a_row() -> None:
    ids = [step.cell_id for step in paired([DIRECT, ROUTED], prompts(1), pairs=9)]
    assert all(len({a, b, c}) > 1 for (a, b), (_, c) in pairwise(pairwise(ids)))


def test_cells_that_cannot_be_paired_have_no_steps() -> None:
    off = cell("off", enabled=False, reason="later")
    assert paired([DIRECT, cell("r", routes=DIRECT.id, enabled=False)], prompts(1), pairs=2) == ()
    assert paired([off, cell("r", routes=off.id)], prompts(1), pairs=2) == ()
    assert paired([cell("r", routes=DIRECT.id)], prompts(1), pairs=2) == ()


def test_the_planned_number_of_warm_calls_is_that_of_the_steps() -> None:
    cells = [DIRECT, ROUTED, cell("second", routes=DIRECT.id), cell("other")]
    counted = with_planned_warm_n(cells, paired(cells, prompts(2), pairs=4))
    assert [one.warm_n for one in counted] == [8, 4, 4, 0]


def test_a_routed_cell_brings_its_direct_one() -> None:
    every = [cell("other"), DIRECT, ROUTED]
    assert paired_cells([ROUTED], every) == (DIRECT, ROUTED)
    assert direct_cells([ROUTED], every) == (DIRECT,)
    with pytest.raises(UsageError, match="no selected cell is a routed one"):
        paired_cells([DIRECT], every)
    with pytest.raises(UsageError, match="n:e:off is not enabled"):
        paired_cells([cell("r", routes="n:e:off")], [cell("off", enabled=False), cell("r", routes="n:e:off")])
