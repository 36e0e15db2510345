"""The whole line on a real llama.cpp: the command, the ledger, the report, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from conditions import runs, wait_until

from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger import reader
from weeyuga_core.measure import kernel

pytestmark = pytest.mark.real

COMMAND = Path(sysconfig.get_path("scripts")) / "weeyuga-bench"
WAIT_S = 120.0

CELL = """\
defaults: {{warm_n: 2}}
cells:
  - id: here:llamacpp:{label}
    launch: {{server: xllamacpp, model: {model}, ctx: 1024, threads: 2, ngl: 0, parallel: 1}}
    options: {{temperature: 0, seed: 1}}
"""
PROMPTS = """\
P-LONG:
  intent: enough tokens to be killed in the middle of
  prompt: Count from one to one thousand.
  max_tokens: 900
"""
SEED_CALL_FIELDS = [
    *("cell_id", "prompt_id", "phase", "run_idx", "first_delta_ms", "total_duration_ms"),
    *("prompt_tokens", "completion_tokens", "tokens_per_sec", "finish_reason", "backend", "error"),
]
SEED_RUN_FIELDS = [
    *("benchmark_run_id", "git_sha", "git_dirty", "harness_version", "started_at_utc", "host"),
    *("load_avg_start", "env_route", "env_llamacpp_url", "cells_planned"),
]
LONG = ("--prompts-yaml", "prompts.yaml", "--prompts", "P-LONG")


@pytest.fixture
def folder(embedded: None, model: Path, tmp_path: Path) -> Path:
    (tmp_path / "cells.yaml").write_text(CELL.format(label="smollm2", model=model))
    (tmp_path / "prompts.yaml").write_text(PROMPTS)
    return tmp_path


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=280)


def heed_ctrl_c() -> None:
    """An ignored signal is inherited: in a background job, SIGINT would interrupt nobody."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """The command under way, and what it says on stderr."""
    pipe: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_ctrl_c}
    with subprocess.Popen([COMMAND, *words], cwd=folder, **pipe) as harness:
        assert harness.stderr is not None
        try:
            yield harness, harness.stderr
        finally:
            harness.kill()


def read_until(stderr: IO[str], words: str) -> None:
    """Read lines up to the first that holds these words."""
    said = []
    for line in stderr:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"the command ended without saying {words!r}:\n{''.join(said)}")


def the_ledger(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*.jsonl")
    return path


def servers_of(folder: Path) -> dict[int, str]:
    """Processes whose command line names this test's own label: pid -> command line."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    found = (line.strip().split(None, 1) for line in listed.splitlines() if f"--alias {folder.name}" in line)
    return {int(pid): command for pid, command in found}


def test_a_run_writes_every_field_of_the_specification_and_its_report_is_stable(folder: Path) -> None:
    done = bench(folder, "run", "--prompts", "P-EASY", "--force-load", "--sink", "markdown=baseline.md")
    assert done.returncode == ExitCode.OK, done.stderr
    meta, *rest = [json.loads(line) for line in the_ledger(folder).read_text().splitlines()]
    assert list(meta)[:11] == ["type", *SEED_RUN_FIELDS]
    calls = [record for record in rest if record["type"] == "call"]
    assert [(call["phase"], call["run_idx"]) for call in calls] == [("cold", 0), ("warm", 0), ("warm", 1)]
    for call in calls:
        assert list(call)[: len(SEED_CALL_FIELDS) + 1] == ["type", *SEED_CALL_FIELDS]
        missing = [name for name in SEED_CALL_FIELDS if call[name] is None and name != "error"]
        assert not missing or (missing == ["tokens_per_sec"] and call["tokens_per_sec_null_reason"])
    (cell,) = [record for record in rest if record["type"] == "cell"]
    assert cell["engine_version"]
    assert cell["model_digest"].startswith("sha256:")
    assert str(folder) not in the_ledger(folder).read_text()
    first, second = (bench(folder, "report", str(the_ledger(folder))) for _ in range(2))
    assert first.returncode == ExitCode.OK
    assert first.stdout == second.stdout == (folder / "baseline.md").read_text()


def test_cold_is_a_fresh_process_and_warm_hits_the_cache_unless_the_cell_forbids_it(folder: Path) -> None:
    text = (folder / "cells.yaml").read_text()
    (folder / "cells.yaml").write_text(text + text.splitlines()[2].replace("smollm2", "uncached") + "\n"
        + "\n".join(text.splitlines()[3:]) + "\n    prompt_cache: disabled\n")  # fmt: skip
    done = bench(folder, "run", "--prompts", "P-EASY", "--warm-n", "1", "--force-load")
    assert done.returncode == ExitCode.OK, done.stderr
    ledger = reader.read(the_ledger(folder))
    by_cell = {cell: [call for call in ledger.calls if call.cell_id.endswith(cell)] for cell in ("smollm2", "uncached")}
    for cold, _ in by_cell.values():
        assert (cold.cold_kind, cold.cold_proven, cold.cached_prompt_tokens) == ("process_start", True, 0)
        assert cold.engine_ready_ns
    assert by_cell["smollm2"][1].cached_prompt_tokens
    assert by_cell["uncached"][1].cached_prompt_tokens == 0


def test_the_kernel_stamps_what_a_real_engine_streams(folder: Path) -> None:
    why_not = kernel.unavailable()
    done = bench(folder, "run", "--prompts", "P-EASY", "--force-load", "--kernel-stamps")
    assert done.returncode == 0, done.stderr
    calls = reader.read(the_ledger(folder)).calls
    assert [call.stamp_point for call in calls] == ["socket" if why_not else "kernel"] * 3
    for call in calls:
        assert call.stamp_note == why_not
        assert (call.receive_lag_max_ns is None) is (why_not is not None)
        assert call.headers_ns is not None
        assert call.first_delta_ns is not None
        assert call.total_duration_ns is not None
        assert 0 < call.headers_ns <= call.first_delta_ns <= call.total_duration_ns


def test_killing_the_harness_leaves_no_server_and_a_ledger_that_can_be_read(folder: Path, model: Path) -> None:
    (folder / "cells.yaml").write_text(CELL.format(label=folder.name, model=model))
    with started(folder, "run", *LONG, "--prompts", "P-EASY", "--force-load") as (harness, stderr):
        read_until(stderr, "P-EASY warm 2")
        assert wait_until(lambda: servers_of(folder), "the server of P-LONG's cold call")
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    wait_until(lambda: not servers_of(folder), "the server to be gone")
    ledger = reader.read(the_ledger(folder))
    assert not ledger.complete
    assert [call.phase for call in ledger.calls[:3]] == ["cold", "warm", "warm"]
    report = bench(folder, "report", str(the_ledger(folder)))
    assert report.returncode == ExitCode.OK
    assert "**unreliable" in report.stdout
    again = bench(folder, "run", "--smoke", "--force-load")
    assert again.returncode == ExitCode.OK, again.stderr


def test_ctrl_c_keeps_the_ledger_and_says_so(folder: Path) -> None:
    with started(folder, "run", *LONG, "--force-load") as (harness, stderr):
        read_until(stderr, ": ready")
        harness.send_signal(signal.SIGINT)
        said = stderr.read()
        assert harness.wait(timeout=WAIT_S) == ExitCode.INTERRUPTED
    assert "interrupted, the ledger is kept" in said
    ledger = reader.read(the_ledger(folder))
    assert ledger.end is not None
    assert ledger.end.interrupted


def test_an_engine_that_dies_in_mid_stream_costs_its_call_and_is_started_again(folder: Path, model: Path) -> None:
    endless = CELL.replace("seed: 1", "seed: 1, ignore_eos: true")
    (folder / "cells.yaml").write_text(endless.format(label=folder.name, model=model))
    with started(folder, "run", *LONG, "--warm-n", "1", "--force-load") as (harness, stderr):
        read_until(stderr, ": ready")
        server = wait_until(lambda: answering(folder), "an answer under way")
        # The harness goes on once the news of the death have come: on a busy machine its next call may be quicker.
        harness.send_signal(signal.SIGSTOP)
        supervisors = servers_of(folder).keys() - {server}
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not any(runs(pid) for pid in supervisors), "the supervisor to tell of it and leave")
        harness.send_signal(signal.SIGCONT)
        stderr.read()
        assert harness.wait(timeout=WAIT_S) == ExitCode.INCOMPLETE
    cold, warm = reader.read(the_ledger(folder)).calls
    assert (cold.error_kind, cold.finish_reason) == ("reset", "error")
    assert warm.error is None
    assert warm.primed is not None
    assert "started again" in warm.primed


def answering(folder: Path) -> int | None:
    """The server's process, once the server says that it works on an answer."""
    for pid, command in servers_of(folder).items():
        port = command.split("--port ")[1].split()[0]
        if "supervisor" not in command and busy(port):
            return pid
    return None


def busy(port: str) -> bool:
    try:
        slots = httpx.get(f"http://127.0.0.1:{port}/slots", trust_env=False, headers={"connection": "close"}).json()
    except httpx.HTTPError:
        return False
    return isinstance(slots, list) and any(slot["is_processing"] for slot in slots)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file: model.gguf"), (b"not a model", "model.gguf")],
    ids=["missing", "not a GGUF"],
)
def test_a_bad_model_file_skips_the_cell_with_the_reason(folder: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (folder / "model.gguf").write_bytes(content)
    (folder / "cells.yaml").write_text(CELL.format(label="bad", model="model.gguf"))
    done = bench(folder, "run", "--smoke", "--force-load")
    assert done.returncode == ExitCode.INCOMPLETE
    (call,) = reader.read(the_ledger(folder)).calls
    assert call.phase == "skipped"
    assert call.error is not None
    assert words in call.error
    assert str(folder) not in call.error


def test_init_finds_a_running_server_and_writes_cells_that_run(folder: Path, shared: Any) -> None:
    (folder / "cells.yaml").unlink()
    url = f"http://127.0.0.1:{shared.port}"
    refused = bench(folder, "run")
    assert refused.returncode == ExitCode.USAGE
    assert "weeyuga-bench init" in refused.stderr
    done = bench(folder, "init", "--url", url, "--node", "here")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "here:llamacpp:" in (folder / "cells.yaml").read_text()
    kept = (folder / "cells.yaml").read_text()
    again = bench(folder, "init", "--url", url)
    assert again.returncode == ExitCode.USAGE
    assert (folder / "cells.yaml").read_text() == kept
    probe = bench(folder, "probe", "--json")
    assert probe.returncode == ExitCode.OK
    assert json.loads(probe.stdout)["data"][0]["state"] == "ready"
    smoke = bench(folder, "run", "--smoke", "--force-load")
    assert smoke.returncode == ExitCode.OK, smoke.stderr
    (call,) = reader.read(the_ledger(folder)).calls
    assert call.cold_kind == "process_warm"


def test_a_full_disk_ends_the_run_with_its_own_exit_code(folder: Path) -> None:
    if sys.platform != "linux" or shutil.which("strace") is None:
        pytest.skip("strace is needed to make a write fail")
    inject = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=ENOSPC:when=4+"]
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *inject, COMMAND, "run", "--smoke", "--force-load"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == ExitCode.LEDGER, done.stderr
    assert "No space left on device" in done.stderr
    assert not servers_of(folder)
