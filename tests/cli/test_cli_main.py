"""The command as a whole: what it imports, what it suggests, and what each ending is worth."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import click
import pytest

from weeyuga_core import cli, errors
from weeyuga_core.cli._options import gate_flag, json_flag

ASK_MODULES = """
import json, sys
from weeyuga_core.cli import main
code = main(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""
HEAVY = {"httpx", "yaml", "rich", "cattrs", "httptools", "asyncio", "ssl", "packaging"}
"""What `--help` has no use for, and what takes the longest to import."""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module to define commands in; each attribute is a command of that name while the test runs."""

    class Commands(ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            table[name] = ("for a test", f"commands_of_a_test:{name}")

    table = dict(cli.COMMANDS)
    module = Commands("commands_of_a_test")
    monkeypatch.setattr(cli, "COMMANDS", table)
    monkeypatch.setitem(sys.modules, "commands_of_a_test", module)
    return module


def raising(error: BaseException) -> click.Command:
    """A command that ends with that exception."""

    def callback() -> None:
        raise error

    return click.Command("break", callback=callback)


def modules_after(*args: str) -> tuple[int, set[str]]:
    ended = subprocess.run([sys.executable, "-c", ASK_MODULES, *args], capture_output=True, text=True, timeout=60)
    code, modules = json.loads(ended.stderr.splitlines()[-1])
    return code, set(modules)


def test_help_imports_no_command_and_nothing_heavy():
    code, modules = modules_after("--help")
    assert code == 0
    assert not HEAVY & modules
    commands = {target.partition(":")[0] for _, target in cli.COMMANDS.values()}
    assert not commands & modules


def test_listing_plugins_imports_nothing_heavy():
    code, modules = modules_after("plugins", "list")
    assert code == 0
    assert not HEAVY & modules
    assert "weeyuga_core.cli.run" not in modules


def test_help_shows_every_command_with_its_summary(capsys):
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (summary, _) in cli.COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in lines), name


def test_version_is_that_of_the_distribution(capsys):
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.split()[-1] == version("weeyuga-bench")


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(capsys):
    assert cli.main(["vaildate"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no command 'vaildate'" in err
    assert "did you mean 'validate'?" in err


def test_no_command_at_all_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_mistyped_option_is_a_usage_error(capsys):
    assert cli.main(["plugins", "list", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("bad\n  --> cells.yaml:1:1"), 2),
        (errors.GateRefused("busy"), 4),
        (errors.NothingToDo("empty"), 5),
        (errors.LedgerError("full"), 74),
        (errors.LaunchError("no port", hint="free one"), 3),
    ],
)
def test_an_error_of_ours_is_told_in_its_words_and_ends_with_its_code(commands, capsys, error, code):
    commands.broken = raising(error)
    assert cli.main(["broken"]) == code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize("error", [click.UsageError("no"), click.FileError("f"), click.ClickException("no")])
def test_every_error_of_click_is_a_usage_error(commands, capsys, error):
    commands.broken = raising(error)
    assert cli.main(["broken"]) == 2
    assert "Error:" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_with_130(commands, capsys, error):
    commands.broken = raising(error)
    assert cli.main(["broken"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_defect_is_called_one_and_shows_where(commands, capsys):
    commands.broken = raising(RuntimeError("impossible"))
    assert cli.main(["broken"]) == 70
    err = capsys.readouterr().err
    assert "RuntimeError: impossible" in err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: this is a defect of weeyuga-bench")


def test_a_pipe_that_breaks_elsewhere_is_a_defect(commands, capsys):
    commands.broken = raising(BrokenPipeError("an engine hung up"))
    assert cli.main(["broken"]) == 70
    assert "an engine hung up" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (3, 3), (errors.ExitCode.REGRESSION, 1)])
def test_what_a_command_returns_is_the_exit_code(commands, answer, code):
    commands.works = click.Command("works", callback=lambda: answer)
    assert cli.main(["works"]) == code


def test_what_a_command_exits_with_is_the_exit_code(commands):
    commands.works = click.Command("works", callback=lambda: click.get_current_context().exit(5))
    assert cli.main(["works"]) == 5


@pytest.mark.parametrize("args", [("--help",), ("plugins", "list", "--json")])
def test_a_reader_that_goes_away_is_no_error(args):
    with subprocess.Popen(
        [sys.executable, "-m", "weeyuga_core", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        assert "Traceback" not in (said := running.stderr.read()), said
        assert "Exception ignored" not in said
    assert running.returncode == 0


def test_options_have_environment_twins_and_gate_flags_have_none(commands, monkeypatch, capsys):
    @click.command()
    @click.option("--warm-n", type=int)
    @gate_flag("--allow-dirty", help="let it be")
    @json_flag()
    def gated(warm_n: int | None, allow_dirty: bool, as_json: bool) -> None:
        click.echo(json.dumps([warm_n, allow_dirty, as_json]))

    commands.gated = gated
    monkeypatch.setenv("WEEYUGA_GATED_WARM_N", "7")
    monkeypatch.setenv("WEEYUGA_GATED_ALLOW_DIRTY", "1")
    assert cli.main(["gated"]) == 0
    assert json.loads(capsys.readouterr().out) == [7, False, False]
    assert cli.main(["gated", "--allow-dirty", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [7, True, True]


def test_windows_gets_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "win32")
    assert cli.main(["--help"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_the_shell_completes_commands_without_importing_them(monkeypatch, capsys):
    monkeypatch.setenv("_WEEYUGA_BENCH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "weeyuga-bench pl")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli.main([]) == 0
    assert capsys.readouterr().out.split() == ["plain,plugins"]


def test_every_command_of_the_table_is_there():
    import importlib

    for name, (_, target) in cli.COMMANDS.items():
        module, _, attribute = target.partition(":")
        assert isinstance(getattr(importlib.import_module(module), attribute), click.Command), name
