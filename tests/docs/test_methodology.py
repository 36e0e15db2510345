"""The page of definitions defines every figure, and the pages of decisions keep their form."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import attrs
import pytest

from weeyuga_core.model.records import CallRecord
from weeyuga_core.provenance import clockcheck, gates

DOCS = Path(__file__).parents[2] / "docs"
METHODOLOGY = (DOCS / "methodology.md").read_text(encoding="utf-8")
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))

FIGURES = [name for name in attrs.fields_dict(CallRecord) if re.search(r"_(ms|ns|s)$|tokens_per_sec|_tokens$", name)]


@pytest.mark.parametrize("name", FIGURES)
def test_every_time_rate_and_count_of_a_call_is_defined(name: str) -> None:
    assert f"`{name}`" in METHODOLOGY


def test_no_figure_is_defined_that_no_record_has() -> None:
    named = set(re.findall(r"`(\w+_(?:ms|ns)|\w*tokens_per_sec)`", METHODOLOGY))
    assert named <= set(attrs.fields_dict(CallRecord))


def test_every_event_of_the_drawing_is_a_field() -> None:
    (drawing,) = re.findall(r"## One call, drawn\n+```text\n(.*?)```", METHODOLOGY, re.DOTALL)
    drawn = set(re.findall(r"\w+_ns", drawing))
    assert drawn <= set(attrs.fields_dict(CallRecord))
    assert {"connect_ns", "write_ns", "first_delta_ns", "total_duration_ns", "body_end_ns"} <= drawn


def test_the_limits_it_quotes_are_those_of_the_program() -> None:
    assert f"above {gates.MAX_LOAD:.1f}" in METHODOLOGY
    assert f"more than {clockcheck.WARN:.1%}".replace("%", " %") in METHODOLOGY
    assert f"more than {clockcheck.INVALID:.0%}".replace("%", " %") in METHODOLOGY
    assert f"Less than {clockcheck.RESOLUTION_S * 1000:.0f} ms" in METHODOLOGY


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_number_and_its_three_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]} ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[^\w-]", wanted, maxsplit=1)[0].lower() for wanted in project["dependencies"]}
    page = (DOCS / "decisions" / "0006-dependencies.md").read_text(encoding="utf-8")
    listed = {name.lower() for name in re.findall(r"^\| (\w+) \| (?:MIT|BSD-3-Clause) \|", page, re.MULTILINE)}
    assert listed <= needed
    assert all(name in page.lower() for name in needed)
