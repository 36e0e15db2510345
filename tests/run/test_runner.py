"""The runner on a golden server: order, records, faults, gates."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden_runs
import pytest
from attrs import evolve
from golden_runs import PATIENT, PROMPT, QUICK, Seen, cell, git, plan, run

from weeyuga_core.errors import ExitCode, GateRefused, NothingToDo, PluginError, UsageError
from weeyuga_core.interfaces import SinkTarget
from weeyuga_core.measure import kernel
from weeyuga_core.model.plan import Launch, Prompt, Sanity
from weeyuga_core.model.records import CallRecord
from weeyuga_core.provenance.lock import HostLock
from weeyuga_core.report.markdown import render_ledger
from weeyuga_core.run.progress import CallDone, CallStarting, CellReady, Notice, RunStarted
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


def shape(calls: tuple[CallRecord, ...]) -> list[tuple[str, str | None, str, int]]:
    return [(call.cell_id.split(":")[-1], call.prompt_id, call.phase, call.run_idx) for call in calls]


async def test_a_run_is_one_cold_and_n_warm_calls_per_cell_and_prompt(golden: str, tmp_path: Path) -> None:
    other = Prompt(id="P-TWO", text="more", max_tokens=8)
    outcome, ledger = await run(tmp_path, plan([cell(golden)], prompts=[PROMPT, other]))
    assert shape(ledger.calls) == [
        ("g", prompt, phase, index)
        for prompt in ("P-TEST", "P-TWO")
        for phase, index in (("cold", 0), ("warm", 0), ("warm", 1))
    ]
    assert [call.error for call in ledger.calls] == [None] * 6
    assert outcome.exit_code == ExitCode.OK
    assert ledger.end is not None
    assert (ledger.end.calls, ledger.end.errors, ledger.end.skipped) == (6, 0, 0)
    assert ledger.meta.prompts == {"P-TEST": PROMPT.sha256, "P-TWO": other.sha256}
    assert ledger.meta.cells_planned == ("here:golden:g",)
    assert ledger.digest_ok


async def test_a_record_holds_what_the_answer_said(golden: str, tmp_path: Path) -> None:
    _, ledger = await run(tmp_path, plan([cell(golden, warm_n=0)]))
    (call,) = ledger.calls
    assert (call.completion_tokens, call.finish_reason, call.backend) == (QUICK["chunks"], "stop", "golden")
    assert call.response_id is not None
    assert call.cold_kind == "process_warm"
    assert call.connection == "new"
    assert call.first_delta_ns is not None
    assert call.total_duration_ns is not None
    assert call.write_ns is not None
    assert call.last_delta_ns is not None
    # The whole answer may come in one read, and then has one stamp.
    assert 0 < call.write_ns < call.first_delta_ns <= call.last_delta_ns <= call.total_duration_ns
    (ready,) = ledger.cells
    assert (ready.engine_version, ready.engine_version_source) == ("golden-1", "engine")
    assert ready.adapter is not None
    assert ready.adapter.startswith("test-plugin-0 ")


async def test_a_run_may_have_the_stamps_of_the_kernel(golden: str, tmp_path: Path) -> None:
    outcome, ledger = await run(tmp_path, plan([cell(golden, warm_n=1)]), kernel_stamps=True)
    assert ledger.meta.kernel_stamps
    why_not = kernel.unavailable()
    for call in ledger.calls:
        assert call.error is None
        assert call.stamp_note == why_not
        assert call.stamp_point == ("socket" if why_not else "kernel")
        if not why_not:
            assert call.receive_lag_p50_ns is not None
            assert call.receive_lag_max_ns is not None
            assert 0 <= call.receive_lag_p50_ns <= call.receive_lag_max_ns
    assert ("stamped by the kernel in " in render_ledger(outcome.ledger_path)) is (why_not is None)


async def test_what_cannot_be_measured_is_recorded_and_the_rest_goes_on(golden: str, tmp_path: Path) -> None:
    cells = [
        cell("http://127.0.0.1:9", name="down"),
        cell(golden, name="off", enabled=False, reason="pending install"),
        cell(golden, name="up", warm_n=0),
    ]
    outcome, ledger = await run(tmp_path, plan(cells))
    assert shape(ledger.calls) == [
        ("down", None, "skipped", 0),
        ("off", None, "skipped", 0),
        ("up", "P-TEST", "cold", 0),
    ]
    assert ledger.calls[0].error is not None
    assert ledger.calls[0].error.startswith("down: ")
    assert ledger.calls[1].error == "pending install"
    assert ledger.meta.cells_planned == ("here:golden:up",)
    assert outcome.exit_code == ExitCode.INCOMPLETE


async def test_a_disabled_cell_alone_does_not_make_a_run_incomplete(golden: str, tmp_path: Path) -> None:
    cells = [cell(golden, name="off", enabled=False, reason="later"), cell(golden, name="up", warm_n=0)]
    outcome, _ = await run(tmp_path, plan(cells))
    assert (outcome.exit_code, outcome.skipped, outcome.disabled) == (ExitCode.OK, 1, 1)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"status": 400}, "http_400"),
        ({"status": 404}, "http_404"),
        ({"status": 500}, "http_500"),
        ({"status": 503}, "http_503"),
        ({"body": "html"}, None),
        ({"body": "bad_json"}, "bad_stream"),
        ({"body": "empty"}, "stream_truncated"),
        ({"cut": "error", "cut_after": 2}, "engine_error"),
        ({"cut": "end", "cut_after": 2}, "stream_truncated"),
        ({"cut": "close", "cut_after": 2}, "reset"),
        ({"cut": "reset", "cut_after": 2}, "reset"),
        ({"cut": "stall", "cut_after": 2}, "idle_timeout"),
        ({"done": False}, "stream_truncated"),
        ({"finish": None}, "stream_truncated"),
        ({"usage": False}, ""),
        ({"role_chunk": True, "role_lead_us": 5_000, "first_delay_us": 8_000}, ""),
        ({"pings": 3, "first_delay_us": 10_000}, ""),
        ({"split": "bytes", "text": "\N{SNOWMAN}"}, ""),
        ({"per_write": 4}, ""),
        ({"first_text_bytes": 1_000_000}, ""),
        ({"head_delay_us": 30_000}, ""),
        ({"framing": "close"}, ""),
        ({"framing": "sized"}, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("wire", ["openai_sse", "ndjson"])
async def test_faults_are_records_and_harmless_tricks_are_not(
    golden: str, tmp_path: Path, script: dict[str, Any], kind: str | None, wire: str
) -> None:
    options = {**QUICK, **script, "shape": wire}
    limits = evolve(PATIENT, idle_s=0.3) if kind == "idle_timeout" else PATIENT
    _, ledger = await run(tmp_path, plan([cell(golden, options=options, warm_n=0, timeouts=limits)]))
    (call,) = ledger.calls
    if kind == "":
        assert call.error is None, call.error
        assert call.delta_count == QUICK["chunks"]
    else:
        assert call.error
        assert call.error_kind == (kind or call.error_kind)
        assert call.finish_reason in ("error", "stop")


async def test_a_role_only_chunk_is_no_first_delta(golden: str, tmp_path: Path) -> None:
    options = {**QUICK, "role_lead_us": 40_000, "first_delay_us": 60_000}
    _, ledger = await run(tmp_path, plan([cell(golden, options=options, warm_n=0)]))
    (call,) = ledger.calls
    assert call.first_chunk_ns is not None
    assert call.first_delta_ns is not None
    # Nothing is written before it is due, so the role's chunk alone can have come earlier; both may come in one read.
    assert call.first_delta_ns >= 60_000_000
    assert call.first_chunk_ns <= call.first_delta_ns


async def test_errors_stay_out_of_the_warmth_of_the_next_call(golden: str, tmp_path: Path) -> None:
    seen = Seen()
    _, ledger = await run(tmp_path, plan([cell(golden, options={"status": 500})]), progress=seen)
    assert [call.primed for call in ledger.calls] == [None, "the call before had failed", "the call before had failed"]
    assert "a priming call, since the call before had failed" in seen.of(Notice)[-1].text


async def test_progress_is_told_between_calls_in_the_order_of_the_plan(golden: str, tmp_path: Path) -> None:
    seen = Seen()
    await run(tmp_path, plan([cell(golden, warm_n=1)]), progress=seen)
    kinds = [
        type(event) for event in seen.events if isinstance(event, RunStarted | CellReady | CallStarting | CallDone)
    ]
    assert kinds == [RunStarted, CellReady, CallStarting, CallDone, CallStarting, CallDone]
    assert [event.number for event in seen.of(CallDone)] == [1, 2]
    assert seen.of(CallDone)[0].eta_s is not None


async def test_a_reference_that_is_far_off_flags_the_call_with_both_numbers(golden: str, tmp_path: Path) -> None:
    sanity = {PROMPT.id: Sanity(total_s=30.5, within=0.5)}
    _, ledger = await run(tmp_path, plan([cell(golden, warm_n=0, sanity=sanity)]))
    (flag,) = [flag for flag in ledger.calls[0].call_flags if flag.startswith("sanity")]
    assert "the reference is 30.5 s within 50%" in flag


async def test_parallel_streams_are_recorded_in_the_order_of_the_plan(golden: str, tmp_path: Path) -> None:
    planned = plan([cell(golden, warm_n=3, parallel=True)], concurrency=4)
    outcome, ledger = await run(tmp_path, planned)
    assert [call.run_idx for call in ledger.calls if call.phase == "warm"] == list(range(12))
    assert (outcome.calls, outcome.errors) == (13, 0)
    assert ledger.meta.concurrency == 4
    page = render_ledger(outcome.ledger_path)
    assert page.startswith("# Parallel baseline, 4 streams per cell")
    assert "## Under load" in page
    assert [line_seq for line_seq in (call.seq for call in ledger.calls)] == list(range(2, 15))


# --- gates ---------------------------------------------------------------------------------------------------


async def test_uncommitted_changes_refuse_the_run_and_are_listed_when_allowed(golden: str, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "cells.yaml").write_text("cells: []\n")
    git(tmp_path, "add", "cells.yaml")
    git(tmp_path, "commit", "-q", "-m", "cells")
    (tmp_path / "notes.txt").write_text("not committed")
    planned = plan([cell(golden, warm_n=0)])
    with pytest.raises(GateRefused, match="--allow-dirty"):
        await run(tmp_path, planned)
    assert not (tmp_path / "runs").exists()
    _, ledger = await run(tmp_path, planned, allow_dirty=True)
    assert ledger.meta.git_dirty is True
    assert ledger.meta.git_dirty_files == ("?? notes.txt",)
    assert ledger.meta.git_sha == git(tmp_path, "rev-parse", "HEAD").strip()
    assert "--allow-dirty" in ledger.meta.flags


async def test_ledgers_of_earlier_runs_do_not_make_the_repository_dirty(golden: str, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "cells.yaml").write_text("cells: []\n")
    git(tmp_path, "add", "cells.yaml")
    git(tmp_path, "commit", "-q", "-m", "cells")
    planned = plan([cell(golden, warm_n=0)])
    await run(tmp_path, planned)
    outcome, _ = await run(tmp_path, planned)
    assert outcome.exit_code == ExitCode.OK


async def test_outside_a_repository_the_git_fields_are_null_and_said_so(golden: str, tmp_path: Path) -> None:
    _, ledger = await run(tmp_path, plan([cell(golden, warm_n=0)]))
    assert (ledger.meta.git_sha, ledger.meta.git_dirty) == (None, None)
    assert ledger.meta.git_note


async def test_a_busy_machine_refuses_the_run_with_the_figure_and_the_flag(
    golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (4.01, 1.0, 1.0))
    planned = plan([cell(golden, warm_n=0)])
    with pytest.raises(GateRefused, match=r"(?s)4\.01.*--wait-load.*--force-load"):
        await run(tmp_path, planned, force_load=False)
    outcome, ledger = await run(tmp_path, planned, force_load=True)
    assert outcome.verdict == "unreliable"
    assert any("4.01" in reason for reason in outcome.reasons)
    assert ledger.meta.warnings


async def test_for_publication_refuses_when_a_cell_is_down(golden: str, tmp_path: Path) -> None:
    cells = [cell("http://127.0.0.1:9", name="down"), cell(golden, name="up")]
    with pytest.raises(GateRefused, match="here:golden:down"):
        await run(tmp_path, plan(cells), for_publication=True)


async def test_a_second_harness_on_the_host_is_refused(golden: str, tmp_path: Path) -> None:
    with HostLock("another-run"), pytest.raises(GateRefused, match="another-run"):
        await run(tmp_path, plan([cell(golden, warm_n=0)]))


async def test_an_engine_without_a_plugin_says_what_to_install_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="pip install weeyuga-bench-nosuch"):
        await run(tmp_path, plan([cell("http://127.0.0.1:9", engine="nosuch")]))
    assert not (tmp_path / "runs").exists()


async def test_an_empty_plan_is_nothing_to_do(golden: str, tmp_path: Path) -> None:
    with pytest.raises(NothingToDo):
        await run(tmp_path, plan([cell(golden, enabled=False, reason="later")]))


async def test_a_token_that_is_not_set_is_a_usage_error(golden: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NO_SUCH_TOKEN"):
        await run(tmp_path, plan([cell(golden, auth_env="NO_SUCH_TOKEN")]))


async def test_an_engine_that_cannot_launch_says_so(golden: str, tmp_path: Path) -> None:
    launch = Launch(server="x", model="y")
    with pytest.raises(UsageError, match="cannot launch"):
        await run(tmp_path, plan([cell(golden, launch=launch)]))


# --- sinks and endings ---------------------------------------------------------------------------------------


class RaisingSink:
    """Fails at its first delivery."""

    def __init__(self, target: SinkTarget) -> None:
        self.target = target

    async def open(self, meta: object) -> None:
        return None

    async def deliver(self, lines: object) -> None:
        raise ConnectionError("the store is down")

    async def close(self, end: object) -> None:
        return None


class SinkPlugin:
    @golden_runs.hookimpl
    def weeyuga_result_sinks(self) -> list[golden_runs.Provided]:
        return [golden_runs.Provided("raising", "fails", f"{__name__}:RaisingSink")]


async def test_a_sink_that_fails_is_told_and_changes_nothing_about_the_run(golden: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    outcome, ledger = await run(
        tmp_path, plan([cell(golden)]), extra=[SinkPlugin()], sinks=(("raising", None), ("jsonl", str(copy)))
    )
    assert outcome.exit_code == ExitCode.OK
    assert len(ledger.calls) == 3
    assert any("the store is down" in problem for problem in outcome.sink_problems)
    assert copy.read_bytes() == outcome.ledger_path.read_bytes()


async def test_an_interrupted_run_ends_its_ledger(golden: str, tmp_path: Path) -> None:
    slow = {**QUICK, "chunks": 1_000, "interval_us": 10_000}
    reached = asyncio.Event()

    cells = [cell(golden, name="quick", warm_n=0), cell(golden, name="slow", options=slow, warm_n=0)]

    def on_slow(event: object) -> None:
        if isinstance(event, CallStarting) and event.step.cell_id.endswith("slow"):
            reached.set()

    task = asyncio.create_task(run(tmp_path, plan(cells), progress=on_slow))
    await reached.wait()
    task.cancel()
    outcome, ledger = await task
    assert outcome.exit_code == ExitCode.INTERRUPTED
    assert ledger.end is not None
    assert ledger.end.interrupted
    assert ledger.end.verdict == "unreliable"
    assert shape(ledger.calls) == [("quick", "P-TEST", "cold", 0)]
