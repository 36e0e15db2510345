"""`weeyuga-bench report`, driven as typed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.model.records import to_line


@pytest.fixture
def ledger(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of the run in ./runs, with the working directory above it."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / f"{run.meta.benchmark_run_id}.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(to_line(record) for record in (run.meta, *run.cells, *run.calls, run.end)))
    return path


GOLDEN = Path(__file__).parents[1] / "golden" / "baseline_v1.md"


def test_a_ledger_becomes_the_same_page_on_stdout_every_time(ledger: Path, capfdbinary: Any) -> None:
    assert main(["report", str(ledger)]) == ExitCode.OK
    first = capfdbinary.readouterr()
    assert main(["report", str(ledger)]) == ExitCode.OK
    assert capfdbinary.readouterr().out == first.out == GOLDEN.read_bytes()
    assert first.err == b""


def test_neither_encoding_time_zone_nor_hash_order_reaches_the_page(ledger: Path) -> None:
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "TZ": "Pacific/Kiritimati"}
    command = [
        sys.executable,
        "-c",
        "import sys; from weeyuga_core.cli import main; sys.exit(main())",
        "report",
        "6f6e",
    ]
    for seed in ("1", "2"):
        done = subprocess.run(command, env=os.environ | odd | {"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        assert done.stdout == GOLDEN.read_bytes()


def test_the_first_letters_of_a_run_id_are_enough(ledger: Path, capfdbinary: Any) -> None:
    assert main(["report", "6f6e"]) == ExitCode.OK
    assert capfdbinary.readouterr().out == GOLDEN.read_bytes()


def test_letters_that_begin_several_runs_list_them(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.with_name("6f00.jsonl").write_bytes(ledger.read_bytes())
    assert main(["report", "6f"]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "start of 2 runs:\n  6f00\n  6f6e3f5e" in told
    assert "type more of the run id" in told


@pytest.mark.parametrize("typed", ["nothing", ""])
def test_a_ledger_that_is_not_there_is_said_to_be_missing(
    ledger: Path, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    assert main(["report", typed]) == ExitCode.USAGE
    assert f"no ledger {typed!r}" in capsys.readouterr().err


def test_json_carries_the_figures_and_the_verdict(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(ledger), "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["verdict"]) == ("weeyuga.report.v1", "unreliable")
    warm = told["data"]["cells"][0]["prompts"][0]["warm"]
    # The third of 98.2 99.0 100.4 101.9 140.5, which the page rounds.
    assert warm["first_delta_ms"]["p50"] == 100.4
    assert told["data"]["reasons"] == told["warnings"]
    assert (told["data"]["resumable"], told["data"]["resumes"]) == (False, [])


def test_out_writes_the_page_and_leaves_stdout_alone(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(ledger), "--out", "page.md"]) == ExitCode.OK
    assert Path("page.md").read_bytes() == GOLDEN.read_bytes()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "baseline written to page.md\n")


@pytest.mark.parametrize(("out", "words"), [("no/such/folder.md", "cannot be written"), ("runs", "cannot be written")])
def test_an_out_that_cannot_be_written_is_told(
    ledger: Path, capsys: pytest.CaptureFixture[str], out: str, words: str
) -> None:
    assert main(["report", str(ledger), "--out", out]) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_out_never_overwrites_the_ledger(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = ledger.read_bytes()
    assert main(["report", str(ledger), "--out", f"runs/../runs/{ledger.name}"]) == ExitCode.USAGE
    assert ledger.read_bytes() == before
    assert "never overwritten" in capsys.readouterr().err


def test_a_run_that_died_in_mid_line_is_read_and_told(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:8]) + lines[8][:40])
    assert main(["report", str(ledger)]) == ExitCode.OK
    told = capsys.readouterr()
    assert (
        "> - unreliable: the run died: the ledger has no end record, and its last line broke off after 40 bytes"
        in told.out
    )
    assert f"{ledger}:9: the last line broke off after 40 bytes" in told.err
    assert f"note: this run died; to go on: the weeyuga-bench run that began it, with --resume {ledger}\n" in told.err
    assert main(["report", str(ledger), "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["data"]["resumable"] is True


def test_a_ledger_without_calls_has_nothing_to_report(
    ledger: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write_bytes(to_line(run.meta))
    assert main(["report", str(ledger)]) == ExitCode.NOTHING_TO_DO
    assert "no call is recorded" in capsys.readouterr().err
