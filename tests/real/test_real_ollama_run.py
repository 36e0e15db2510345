"""The whole line on a real Ollama: init finds it, run measures it, and the ledger says what was cold."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from conditions import wait_until
from ollama_parts import CONTEXT, OTHER, PLAIN, THINKING

from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.model.records import CallRecord

pytestmark = pytest.mark.real

COMMAND = Path(sysconfig.get_path("scripts")) / "weeyuga-bench"
QUICK = ("--force-load", "--prompts-yaml", "prompts.yaml", "--prompts", "P-SHORT")
PROMPTS = """\
P-SHORT:
  intent: little to wait for
  prompt: Name one colour. One word only.
  max_tokens: 24
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.yaml").write_text(PROMPTS)
    return tmp_path


def bench(folder: Path, *words: str) -> str:
    done = subprocess.run([COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == ExitCode.OK, done.stderr
    return done.stdout


def ledger_of(folder: Path) -> Path | None:
    return next((folder / "runs").glob("*.jsonl"), None)


def read(folder: Path) -> Ledger:
    path = ledger_of(folder)
    assert path is not None
    return reader.read(path)


def is_reloaded(call: CallRecord) -> bool:
    return any(flag.startswith("reloaded: load took ") for flag in call.call_flags)


def test_init_finds_it_and_run_measures_a_proven_cold_and_warm_calls(ollama, folder):
    shown = bench(folder, "init", "--url", ollama.url, "--node", "here")
    for model in (PLAIN, THINKING, OTHER):
        assert f"ollama 0.32.15 at {ollama.url}: {model}" in shown
    bench(folder, "run", "--cells", f"here:ollama:{PLAIN}", "--warm-n", "2", *QUICK)
    ledger = read(folder)
    cold, *warm = ledger.calls
    assert [call.error for call in ledger.calls] == [None] * 3
    assert (cold.phase, cold.cold_kind, cold.cold_proven) == ("cold", "ollama_unload", True)
    assert cold.cold_proof.startswith("loading took ")
    assert cold.first_delta_ns > cold.engine_timings["load_duration"]
    assert [call.phase for call in warm] == ["warm", "warm"]
    # A busy machine may hold up one call while the model is handed to it, and that looks like a load.
    assert any(not is_reloaded(call) for call in warm)
    (cell,) = ledger.cells
    assert (cell.engine_version, cell.model_digest_source) == ("0.32.15", "engine")
    assert cell.fingerprint_parts["context"] == CONTEXT
    assert cell.fingerprint_parts["template_sha256"] == cell.facts["template_sha256"]
    assert "ollama_unload" in bench(folder, "report", str(ledger_of(folder)))


def test_ollama_stop_in_mid_run_is_seen_in_the_next_warm_call(ollama, folder):
    cells = (
        f"cells:\n  - {{id: 'here:ollama:{PLAIN}', endpoint: '{ollama.url}', options: {{temperature: 0, seed: 1}}}}\n"
    )
    (folder / "cells.yaml").write_text(cells)
    command = [COMMAND, "run", "--warm-n", "6", *QUICK]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as harness:
        try:
            wait_until(lambda: "P-SHORT warm 1" in (harness.stderr.readline() or pytest.fail("it ended")), "warm calls")
            ollama.command("stop", PLAIN)
            said = harness.stderr.read()
            assert harness.wait(timeout=280) == ExitCode.OK, said
        finally:
            harness.kill()
    assert [call.error for call in read(folder).calls] == [None] * (1 + 6)
    assert {call.phase for call in read(folder).calls if is_reloaded(call)} == {"warm"}


def test_a_model_that_is_not_there_is_skipped_with_what_to_type(ollama, folder):
    (folder / "cells.yaml").write_text(f"cells:\n  - {{id: 'here:ollama:nope:7b', endpoint: '{ollama.url}'}}\n")
    command = [COMMAND, "run", *QUICK]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == ExitCode.INCOMPLETE, done.stderr
    (skipped,) = read(folder).calls
    assert (skipped.phase, skipped.prompt_id) == ("skipped", None)
    assert skipped.error == "model 'nope:7b' not found; to get it, type: ollama pull nope:7b"


def test_an_option_that_ollama_has_not_got_stops_the_run_before_it_starts(ollama, folder):
    (folder / "cells.yaml").write_text(
        f"cells:\n  - {{id: 'here:ollama:{PLAIN}', endpoint: '{ollama.url}', options: {{think: much}}}}\n"
    )
    command = [COMMAND, "run", *QUICK]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == ExitCode.USAGE
    assert "option 'think' is 'much'" in done.stderr
    assert "expected one of true, false, low, medium, high, max" in done.stderr
    assert ledger_of(folder) is None
