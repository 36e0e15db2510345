"""A run on a real llama.cpp that is killed in its middle, and taken up again."""

from __future__ import annotations

import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

from weeyuga_core.analysis.assess import assess
from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger import reader

pytestmark = pytest.mark.real

COMMAND = Path(sysconfig.get_path("scripts")) / "weeyuga-bench"
LIMIT_S = 280
CELL = """\
defaults: {{warm_n: 2}}
cells:
  - id: here:llamacpp:smollm2
    launch: {{server: xllamacpp, model: {model}, ctx: 1024, threads: 2, ngl: 0, parallel: 1}}
    options: {{temperature: 0, seed: 1}}
"""
PROMPTS = """\
P-LONG:
  intent: enough tokens to be killed in the middle of
  prompt: Count from one to one thousand.
  max_tokens: 300
"""
RUN = ("run", "--prompts-yaml", "prompts.yaml", "--prompts", "P-EASY", "--prompts", "P-LONG", "--force-load")


@pytest.fixture
def folder(embedded: None, model: Path, tmp_path: Path) -> Path:
    (tmp_path / "cells.yaml").write_text(CELL.format(model=model))
    (tmp_path / "prompts.yaml").write_text(PROMPTS)
    return tmp_path


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def killed(folder: Path, *, after: str) -> Path:
    """The ledger of a run that was killed outright once it had said these words."""
    with subprocess.Popen([COMMAND, *RUN], cwd=folder, stderr=subprocess.PIPE, text=True) as harness:
        assert harness.stderr is not None
        try:
            said = next((line for line in harness.stderr if after in line), None)
            assert said is not None, f"the command ended without saying {after!r}"
        finally:
            harness.send_signal(signal.SIGKILL)
    (path,) = (folder / "runs").glob("*.jsonl")
    return path


def test_a_run_that_was_killed_comes_to_its_end_and_its_numbers_are_as_good_as_others(folder: Path) -> None:
    path = killed(folder, after="P-LONG cold 1")
    died = reader.read(path)
    assert died.resumable
    assert "to go on:" in bench(folder, "report", str(path)).stderr

    done = bench(folder, *RUN, "--resume", str(path))
    assert done.returncode == ExitCode.OK, done.stderr
    assert "3 calls left" in done.stderr

    ledger = reader.read(path)
    assert ledger.problems == ()
    assert ledger.calls[: len(died.calls)] == died.calls
    first, again = ledger.cells
    assert first.fingerprint == again.fingerprint
    baseline, judgement = assess(ledger)
    (cell,) = baseline.cells
    assert [(row.prompt_id, row.attempt, row.warm and row.warm.n) for row in cell.prompts] == [
        ("P-EASY", 1, 2),
        ("P-LONG", 2, 2),
    ]
    # This host may be busy, and the client late on it: that is no fault of the second part.
    causes = ("load average", "the client was late")
    assert [reason for reason in judgement.reasons if not reason.startswith(causes)] == []
    report = bench(folder, "report", str(path))
    assert report.returncode == ExitCode.OK
    assert "note: resumed once, after a gap of" in report.stdout
    assert "to go on" not in report.stderr
