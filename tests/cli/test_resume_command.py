"""`weeyuga-bench run --resume`, as typed: what an interrupted run says to type, and what comes of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import golden_command
import pytest

from weeyuga_core import plugins
from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger import reader
from weeyuga_core.testing.golden_process import GoldenServer

PATIENT_S = 120.0
CELLS = """\
defaults: {{warm_n: 1}}
cells:
  - id: here:golden:g
    endpoint: {url}
    options: {{chunks: 4, interval_us: 1000, first_delay_us: 1000}}
"""
PLANNED = ["--prompts", "P-EASY", "--prompts", "P-MEDIUM", "--force-load"]


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


@pytest.fixture
def folder(golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a cells file, and a `weeyuga-bench` on the path that knows the golden engine."""
    (tmp_path / "cells.yaml").write_text(CELLS.format(url=golden))
    program = tmp_path / "bin" / "weeyuga-bench"
    program.parent.mkdir()
    script = Path(golden_command.__file__)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENT_S,
        env=os.environ | environment,
    )


def interrupt(command: str, *, after: str) -> tuple[str, str]:
    """Type a command, press Ctrl-C once it has said these words; its stdout, and the last line of its stderr."""
    done = typed(command, **{golden_command.CTRL_C: after})
    assert done.returncode == ExitCode.INTERRUPTED, done.stderr
    return done.stdout, done.stderr.splitlines(keepends=True)[-1]


def to_type(last_line: str) -> str:
    """The command that the last line of an interrupted run names."""
    found = re.fullmatch(
        r"interrupted, the ledger is kept; unreliable \(.*\): \d+ calls, 0 errors; "
        r"next: weeyuga-bench report runs/.*\.jsonl; to go on: (.*)\n",
        last_line,
    )
    assert found, last_line
    return found[1]


def the_ledger(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*.jsonl")
    return path


def test_an_interrupted_run_names_the_command_that_brings_it_to_its_end(folder: Path) -> None:
    first = shlex.join(["weeyuga-bench", "run", *PLANNED, "--sink", "jsonl=a copy.jsonl"])
    _, last = interrupt(first, after="[1/4]")
    command = to_type(last)
    path = the_ledger(folder)
    assert command == f"{first} --resume runs/{path.name}"
    report = typed(f"weeyuga-bench report {path}")
    assert f"note: this run was interrupted; to go on: the weeyuga-bench run that began it, with --resume {path}" in (
        report.stderr
    )
    out, last = interrupt(f"{command} --json", after="P-EASY warm 1")
    assert to_type(last) == f"{command} --json", "it names itself, and the ledger once"
    told = json.loads(out)["data"]
    assert (told["interrupted"], told["resumed"], told["resume_command"]) == (True, True, f"{command} --json")
    done = typed(f"{command} --json")
    assert done.returncode == ExitCode.OK, done.stderr
    told = json.loads(done.stdout)["data"]
    assert (told["interrupted"], told["resumed"], told["resume_command"]) == (False, True, None)
    assert "goes on: 1 cells, " in done.stderr
    ledger = reader.read(path)
    assert ledger.problems == ()
    assert len(ledger.resumes) == 2
    assert (folder / "a copy.jsonl").read_bytes() == path.read_bytes()
    assert typed(command).returncode == ExitCode.NOTHING_TO_DO


# --- without a process of its own ------------------------------------------------------------------------------------


@pytest.fixture
def dead(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The ledger of a run that died in its last block."""
    monkeypatch.setattr(plugins, "load", golden_command.load_with_golden)
    assert main(["run", *PLANNED]) == ExitCode.OK
    capsys.readouterr()
    path = the_ledger(folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    return path


@pytest.mark.parametrize("named", ["file", "run id"])
def test_a_dry_run_prints_what_is_left(dead: Path, capsys: pytest.CaptureFixture[str], named: str) -> None:
    ledger = str(dead) if named == "file" else dead.stem[:8]
    before = dead.read_bytes()
    assert main(["run", *PLANNED, "--resume", ledger, "--dry-run"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert [line.split()[2:4] for line in out.splitlines()[1:]] == [["P-MEDIUM", "cold"], ["P-MEDIUM", "warm"]]
    assert err.startswith("2 of 4 calls planned are left; about ")
    assert main(["run", *PLANNED, "--resume", ledger, "--dry-run", "--json"]) == ExitCode.OK
    steps = json.loads(capsys.readouterr().out)["data"]["steps"]
    assert [(step["prompt_id"], step["phase"], step["attempt"]) for step in steps] == [
        ("P-MEDIUM", "cold", 2),
        ("P-MEDIUM", "warm", 2),
    ]
    assert dead.read_bytes() == before


def test_the_ledger_stays_where_it_is(dead: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *PLANNED, "--resume", str(dead), "--out", "elsewhere"]) == ExitCode.OK
    assert not (folder / "elsewhere").exists()
    assert reader.read(dead).end is not None
    assert f"next: weeyuga-bench report {dead}\n" in capsys.readouterr().err


def test_other_options_are_refused_with_what_differs(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--dry-run"], []):
        assert main(["run", *PLANNED, "--warm-n", "3", "--resume", str(dead), *more]) == ExitCode.USAGE
        told = capsys.readouterr().err
        assert "cell here:golden:g: warm calls per prompt: 1 then, 3 now" in told
        assert "give the same options as before" in told


def test_a_ledger_that_is_not_there_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *PLANNED, "--resume", "nothing"]) == ExitCode.USAGE
    assert "no ledger 'nothing'" in capsys.readouterr().err


def test_no_variable_makes_a_run_a_resumed_one(
    dead: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEEYUGA_RUN_RESUME", str(dead))
    assert main(["run", *PLANNED, "--dry-run"]) == ExitCode.OK
    assert "4 calls planned; " in capsys.readouterr().err
