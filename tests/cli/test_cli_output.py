"""What a command says, and where."""

from __future__ import annotations

import json

import pytest

from weeyuga_core.cli._output import emit_json, say, table


def test_json_is_one_object_with_the_five_fields(capsys):
    emit_json("weeyuga.x.v1", {"b": 1, "a": "žluťoučký"}, ok=False, verdict="unreliable", warnings=("w",))
    out, err = capsys.readouterr()
    assert err == ""
    assert list(json.loads(out)) == ["schema", "ok", "verdict", "data", "warnings"]
    assert json.loads(out) == {
        "schema": "weeyuga.x.v1",
        "ok": False,
        "verdict": "unreliable",
        "data": {"b": 1, "a": "žluťoučký"},
        "warnings": ["w"],
    }


def test_json_has_no_nan(capsys):
    with pytest.raises(ValueError, match="JSON compliant"):
        emit_json("weeyuga.x.v1", float("nan"))
    assert capsys.readouterr().out == ""


def test_a_table_aligns_text_to_the_left_and_numbers_to_the_right():
    assert table(("cell", "n"), [("a", 5), ("long one", 12), ("b", None)]).splitlines() == [
        "cell       n",
        "a          5",
        "long one  12",
        "b          -",
    ]


def test_a_table_keeps_each_row_on_its_line():
    assert table(("a", "b"), [("x\ny", True)]).splitlines() == ["a    b", "x y  True"]


def test_a_table_without_rows_is_its_headers():
    assert table(("a", "bc"), []) == "a  bc"


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="zip"):
        table(("a",), [("x", "y")])


def test_words_for_the_person_go_to_stderr(capsys):
    say("look")
    assert capsys.readouterr() == ("", "look\n")
