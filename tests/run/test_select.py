from __future__ import annotations

import pytest

from weeyuga_core.errors import UsageError
from weeyuga_core.model.plan import Cell
from weeyuga_core.run.select import check_parallel, select_cells

CELLS = [Cell(id=f"{node}:e:m[1]", node=node, engine="e", label="m[1]") for node in ("mac", "pavilion", "predator")]


def ids(*patterns: str) -> list[str]:
    return [cell.node for cell in select_cells(CELLS, patterns)]


def test_no_pattern_takes_all() -> None:
    assert ids() == ["mac", "pavilion", "predator"]


def test_globs_and_ids_are_taken_in_the_order_of_the_file() -> None:
    assert ids("p*") == ["pavilion", "predator"]
    assert ids("predator:*", "mac:*") == ["mac", "predator"]


def test_an_id_with_glob_characters_means_itself() -> None:
    assert ids("mac:e:m[1]") == ["mac"]


def test_a_pattern_without_a_match_names_the_nearest_id_and_all_of_them() -> None:
    with pytest.raises(UsageError) as caught:
        select_cells(CELLS, ["mac:e:*", "pavillon:e:m[1]"])
    assert "--cells pavillon:e:m[1]: no such cell" in str(caught.value)
    assert "did you mean 'pavilion:e:m[1]'?" in str(caught.value)
    assert "predator:e:m[1]" in str(caught.value)


def test_streams_at_once_need_the_word_of_each_cell() -> None:
    check_parallel(CELLS, 1)
    allowed = [Cell(id="a:e:m", node="a", engine="e", label="m", parallel=True)]
    check_parallel(allowed, 64)
    off = Cell(id="o:e:m", node="o", engine="e", label="m", enabled=False)
    check_parallel([*allowed, off], 64)
    with pytest.raises(UsageError, match=r"--concurrency 2: not allowed on mac:e:m\[1\], pavilion") as caught:
        check_parallel([*CELLS, *allowed], 2)
    assert "parallel: true" in str(caught.value)
