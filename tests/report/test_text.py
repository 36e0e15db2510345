"""Figures and foreign words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.analysis.stats import spread
from weeyuga_core.report.text import NONE, UNCERTIFIED, escape, extent, high, part, rate, table, whole, word

ACTIVE = "\\`|*~[]<>"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(ACTIVE + "_\n\ud800\u202e"))))
def test_no_words_break_a_line_or_a_table_or_the_encoding(words: str) -> None:
    safe = escape(words)
    assert len(safe.splitlines()) <= 1
    assert safe.encode().decode() == safe
    # With every escaped character taken away, no active one is left.
    assert not set(re.sub(r"\\[\\`|*~\[\]<>_]", "", safe)) & set(ACTIVE)


@pytest.mark.parametrize(
    ("words", "safe"),
    [
        ("process_start", "process_start"),
        ("qwen3.5:0.8b@ngl6,ctx8k", "qwen3.5:0.8b@ngl6,ctx8k"),
        ("a/__init__.py", r"a/\_\_init\_\_.py"),
        ("a|b", r"a\|b"),
        ("one\r\ntwo\x1b[1m", r"one two \[1m"),
        ("right\u202eleft", "right\ufffdleft"),
    ],
)
def test_words_keep_what_is_harmless(words: str, safe: str) -> None:
    assert escape(words) == safe


def test_a_missing_figure_is_a_dash() -> None:
    empty = spread([])
    assert {whole(None), rate(None), word(None), word(""), extent(empty), high(empty), part(empty, empty)} == {NONE}


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0"), (1.5, "2"), (2.5, "2"), (1234.4999, "1234")])
def test_whole_numbers_are_rounded_half_to_even(value: float, shown: str) -> None:
    assert whole(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.123, "0.12"), (9.99, "9.99"), (10, "10.0"), (66.66, "66.7")])
def test_slow_rates_get_one_more_decimal(value: float, shown: str) -> None:
    assert rate(value) == shown


def test_a_95th_percentile_is_marked_until_it_is_certified() -> None:
    assert high(spread([7] * 19)) == f"7 {UNCERTIFIED}"
    assert high(spread([7] * 20)) == "7"


def test_an_extent_of_equal_values_is_that_value() -> None:
    assert extent(spread([64, 64])) == "64"
    assert extent(spread([64, 60])) == "60..64"


def test_every_row_of_a_table_has_the_columns_of_its_head() -> None:
    lines = table(["cell", "n"], [["a", "1"], ["longer", "22"]])
    assert lines == ["| cell   |   n |", "| ------ | --: |", "| a      |   1 |", "| longer |  22 |"]
