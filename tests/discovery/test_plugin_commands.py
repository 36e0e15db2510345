"""Commands that plugins bring, and `plugins list`."""

from __future__ import annotations

import json
import sys

import pytest

from weeyuga_core.cli import LazyGroup, main, weeyuga_bench

HOOK = """
from weeyuga_core.hookspecs import Provided, hookimpl

@hookimpl
def weeyuga_cli_commands():
    return [
        Provided("dance", "Dance for the operator.", "acme_dance_command:dance"),
        Provided("{other}", "Take over.", "acme_dance_command:other"),
    ]
"""
COMMAND = """
import click

@click.command()
@click.option("--steps", type=int, default=1)
def dance(steps):
    click.echo(f"danced {steps}")
    return 3

other = "not a command"
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group remembers what is installed for the life of a process, which is one command line."""
    monkeypatch.setattr(weeyuga_bench, "_plugins", None)


@pytest.fixture
def dance(install):
    install("acme-dance", "acme_dance", HOOK.replace("{other}", "sing"))
    install("acme-dance-command", "acme_dance_command", COMMAND, entry="acme_dance_command")


def test_a_command_of_a_plugin_is_shown_without_being_imported(dance, capsys):
    assert main(["--help"]) == 0
    assert ["dance", "Dance", "for", "the", "operator."] in [x.split() for x in capsys.readouterr().out.splitlines()]


def test_a_command_of_a_plugin_runs_when_typed_with_its_environment_twin(dance, capsys, monkeypatch):
    monkeypatch.setenv("WEEYUGA_DANCE_STEPS", "4")
    assert main(["dance"]) == 3
    assert capsys.readouterr().out == "danced 4\n"


def test_a_command_of_a_plugin_is_suggested(dance, capsys):
    assert main(["dacne"]) == 2
    assert "did you mean 'dance'?" in capsys.readouterr().err


def test_something_that_is_no_command_is_refused(dance, capsys):
    assert main(["sing"]) == 2
    assert "the command 'sing' is a str, not a click.Command" in capsys.readouterr().err


def test_a_command_of_ours_cannot_be_taken_over(install, capsys):
    install("acme-dance", "acme_dance", HOOK.replace("{other}", "plugins"))
    assert main(["plugins", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["data"] if row["dist"] == "acme-dance"}
    assert (rows["dance"]["state"], rows["plugins"]["state"]) == ("ok", "broken")
    assert "pip uninstall acme-dance" in rows["plugins"]["detail"]


def test_a_plugin_is_not_even_looked_for_when_a_command_of_ours_is_typed(dance, capsys):
    group = weeyuga_bench
    assert isinstance(group, LazyGroup)
    assert main(["validate", "--help"]) == 0
    assert group._plugins is None
    assert "acme_dance" not in sys.modules


def test_an_unknown_command_names_the_broken_plugins(install, capsys):
    install("acme-faulty", "acme_faulty", "import acme_needs_this\n")
    assert main(["waltz"]) == 2
    assert "note: acme-faulty 1.0 is broken: cannot be imported: ModuleNotFoundError" in capsys.readouterr().err


def test_the_list_works_when_a_plugin_is_broken(install, capsys):
    install("acme-faulty", "acme_faulty", "import acme_needs_this\n", version="2.5")
    assert main(["plugins", "list"]) == 0
    out, err = capsys.readouterr()
    headers, *rows = [line.split() for line in out.splitlines()]
    assert headers == ["name", "kind", "dist", "version", "api", "state"]
    assert ["acme-faulty", "plugin", "acme-faulty", "2.5", "-", "broken"] in rows
    assert "No module named 'acme_needs_this'" in err


def test_the_list_as_json_carries_the_fault(install, capsys):
    install("acme-faulty", "acme_faulty", "import acme_needs_this\n")
    assert main(["plugins", "list", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"]) == ("weeyuga.plugins.v1", False)
    (row,) = [row for row in answer["data"] if row["dist"] == "acme-faulty"]
    assert list(row) == ["name", "kind", "dist", "version", "api", "state", "detail"]
    assert any("acme_needs_this" in words for words in answer["warnings"])
