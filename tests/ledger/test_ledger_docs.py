"""The page about the ledger names every field, in the order of the file, and its jq commands print what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which

import attrs
import pytest

from weeyuga_core.ledger.structure import RECORDS
from weeyuga_core.model.records import Record

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ledger.md").read_text()
APPENDED = "—"


def documented(kind: str) -> list[str]:
    """The first column of that record's table."""
    section = PAGE.split(f"\n## `{kind}`", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"^\| `?(\w+|{APPENDED})`? \|", section, re.MULTILINE)[1:]


def fields_of(record: type[Record]) -> list[str]:
    """Every field, with the mark where the ones with a default begin."""
    fields = attrs.fields(record)
    demanded = [field.name for field in fields if field.default is attrs.NOTHING]
    return ["type", *demanded, APPENDED, *[field.name for field in fields][len(demanded) :]]


@pytest.mark.parametrize("kind", list(RECORDS))
def test_every_field_is_documented_in_the_order_of_the_file(kind: str) -> None:
    assert documented(kind) == fields_of(RECORDS[kind])


def jq_commands() -> list[tuple[str, str]]:
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [
        (command, expected)
        for block in blocks
        for command, expected in re.findall(r"^\$ (jq .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def test_the_page_has_jq_commands() -> None:
    assert len(jq_commands()) == 4


@pytest.mark.parametrize(("command", "expected"), jq_commands(), ids=lambda text: text[:30])
def test_a_jq_command_prints_what_the_page_says(command: str, expected: str) -> None:
    if which("jq") is None:
        pytest.skip("jq is not installed")
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
