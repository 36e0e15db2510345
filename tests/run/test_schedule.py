from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.model.plan import Cell, Prompt, Step
from weeyuga_core.run.schedule import blocks, smoke


def cell(name: str, *, warm_n: int = 2, enabled: bool = True) -> Cell:
    return Cell(id=f"n:e:{name}", node="n", engine="e", label=name, warm_n=warm_n, enabled=enabled)


def prompt(name: str) -> Prompt:
    return Prompt(id=name, text=name, max_tokens=8)


def test_a_block_is_one_cold_call_and_then_the_warm_ones() -> None:
    assert blocks([cell("a")], [prompt("P")]) == (
        Step(cell_id="n:e:a", prompt_id="P", phase="cold", run_idx=0),
        Step(cell_id="n:e:a", prompt_id="P", phase="warm", run_idx=0),
        Step(cell_id="n:e:a", prompt_id="P", phase="warm", run_idx=1),
    )


def test_disabled_cells_have_no_steps() -> None:
    assert blocks([cell("a", enabled=False)], [prompt("P")]) == ()
    assert smoke([cell("a", enabled=False)], [prompt("P")]) == ()


def test_smoke_is_the_cold_call_of_the_first_enabled_cell() -> None:
    steps = smoke([cell("a", enabled=False), cell("b"), cell("c")], [prompt("P"), prompt("Q")])
    assert steps == (Step(cell_id="n:e:b", prompt_id="P", phase="cold", run_idx=0),)


@given(st.lists(st.integers(0, 4), max_size=4), st.integers(0, 3))
def test_every_cell_and_prompt_gets_one_cold_and_its_warm_calls(warm_ns: list[int], prompts: int) -> None:
    cells = [cell(str(i), warm_n=n) for i, n in enumerate(warm_ns)]
    steps = blocks(cells, [prompt(str(i)) for i in range(prompts)])
    assert len(steps) == sum(1 + n for n in warm_ns) * prompts
    assert len(set(steps)) == len(steps)
    for before, after in zip(steps, steps[1:], strict=False):
        if after.phase == "warm":
            assert (before.cell_id, before.prompt_id) == (after.cell_id, after.prompt_id)
