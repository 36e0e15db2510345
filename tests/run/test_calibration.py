"""Calibration: errors against the truth, what is promised, and runs that are held to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from golden_runs import Seen, cell, plan, run
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import GateRefused, LaunchError, UsageError
from weeyuga_core.measure.connection import Connection, Flight
from weeyuga_core.model.calibration import UNCALIBRATED, Calibration, Ceiling, Errors, Level, Promises, Rung, promised
from weeyuga_core.model.records import HARNESS_VERSION, CallRecord
from weeyuga_core.provenance.host import host_facts
from weeyuga_core.report.markdown import render_ledger
from weeyuga_core.run import calibration, calibration_file
from weeyuga_core.run.calibration import (
    FOLLOWING_NS,
    Programme,
    ceiling_of,
    fault_of,
    promises_of,
    rung_load,
    streamed_per_sec,
)
from weeyuga_core.run.progress import CallStarting, Notice, ProgressEvent
from weeyuga_core.run.trial import Load, run_load
from weeyuga_core.run.truth import SeenCall, deviations, errors_of, seen
from weeyuga_core.testing.golden_process import GoldenLog, GoldenServer
from weeyuga_core.testing.golden_script import GoldenScript

MS = 1_000_000
TINY = Programme(levels=((1, 2), (3, 2)), rungs=(1_000,), rung_s=0.1, ladder_until_s=60, limit_s=60)
STREAMING = {"chunks": 20, "interval_us": 10_000, "first_delay_us": 10_000}
STALL_S = 0.1
"""Several ticks of the loop's watch, and ten times what an uncalibrated host is held to."""

Blocked = Callable[[Callable[[CallStarting], bool]], Callable[[ProgressEvent], None]]


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


def level(streams: int = 1, **changes: Any) -> Level:
    errors = Errors(p50_ns=40_000, p95_ns=90_000, p99_ns=200_000)
    filled: dict[str, Any] = {
        "chunks_per_sec": 100.0,
        "calls": 4,
        "chunks": 100,
        "first_delta": errors,
        "per_chunk": errors,
        "total": errors,
        "cpu_ms_per_1000": 50.0,
        "lag_p99_ns": MS,
        "lag_max_ns": MS,
        "coalesced_share": 0.0,
        "server_late_p99_ns": 0,
    }
    return Level(streams=streams, **filled | changes)


def rung(asked: int, *, client_ns: int = 0, server_ns: int = 0) -> Rung:
    return Rung(
        asked_chunks_per_sec=asked,
        chunks_per_sec=asked - 1,
        per_chunk=Errors(p50_ns=0, p95_ns=0, p99_ns=client_ns),
        server_late=Errors(p50_ns=server_ns, p95_ns=server_ns, p99_ns=server_ns),
        cpu_ms_per_1000=1.0,
    )


def calibrated(**changes: Any) -> Calibration:
    facts = host_facts()
    filled: dict[str, Any] = {
        "at_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": facts.host,
        "python": facts.python,
        "harness_version": HARNESS_VERSION,
        "package_version": calibration_file.core_version(),
        "own_core": True,
        "quick": False,
        "levels": (level(1), level(64)),
        "ceiling": ceiling_of([rung(10_000)], "ladder"),
        "promises": Promises(lag_ns=2 * MS, coalesced_share=0.01),
        "summary": "TTFT error p50 0.04 ms",
    }
    return Calibration(**filled | changes)


def keep(made: Calibration) -> Path:
    path = calibration_file.calibration_path(host_facts().host, made.stamp_point)
    calibration_file.save(made, path)
    return path


# --- the truth ---------------------------------------------------------------------------------------------------


def test_errors_are_stamps_minus_the_writes_of_the_same_deltas() -> None:
    script = GoldenScript(chunks=3, interval_us=10_000, first_delay_us=20_000)
    writes = ((1_000 + 20 * MS, ("answer",)), (1_000 + 31 * MS, ("answer", "answer")), (1_000 + 32 * MS, ("done",)))
    log = GoldenLog(received_ns=1_000, writes=writes, ended=True)
    stamps = [1_000 + 20 * MS + 7, 1_000 + 31 * MS + 5, 1_000 + 31 * MS + 5]
    call = SeenCall(ident="a", start_ns=900, deltas=stamps, end_ns=1_000 + 32 * MS + 3)
    found = deviations([(call, log)], script)
    assert found.first_delta == [7]
    assert found.per_chunk == [7, 5, 5]
    assert found.total == [3]
    assert found.from_start == [107]
    assert found.server_late == [0, MS, -9 * MS]


def test_a_delta_that_was_written_and_not_seen_is_no_small_error() -> None:
    log = GoldenLog(received_ns=0, writes=((1, ("answer", "answer")),), ended=True)
    with pytest.raises(LaunchError, match="2 deltas were written and 1 were seen"):
        deviations([(SeenCall(ident="a", start_ns=0, deltas=[2], end_ns=3), log)], GoldenScript())


def record(**changes: Any) -> CallRecord:
    filled: dict[str, Any] = {name: None for name in ("first_delta_ms", "total_duration_ms", "prompt_tokens", "error")}
    filled |= {name: None for name in ("completion_tokens", "tokens_per_sec", "finish_reason", "backend")}
    filled |= {"cell_id": "a:b:c", "prompt_id": "P", "phase": "warm", "run_idx": 0}
    filled |= {"response_id": "a", "total_duration_ns": 9, "first_delta_ns": 5}
    return CallRecord(**filled | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": "reset"}, "went wrong: reset"),
        ({"response_id": None}, "it names no log"),
        ({"first_delta_ns": 6}, "not the first that was stamped"),
    ],
)
def test_a_record_that_does_not_fit_its_stamps_is_refused(changes: dict[str, Any], words: str) -> None:
    assert seen(100, [5, 7], record()).end_ns == 109
    with pytest.raises(LaunchError, match=words):
        seen(100, [5, 7], record(**changes))


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_lie_in_order_within_what_was_measured(values: list[int]) -> None:
    errors = errors_of(values)
    assert min(values) <= errors.p50_ns <= errors.p95_ns <= errors.p99_ns <= max(values)


# --- what follows from it ----------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), min_size=1).map(
        lambda found: [level(lag_max_ns=lag, coalesced_share=share) for lag, share in found]
    )
)
def test_a_calibration_only_tightens_what_any_host_is_held_to(levels: list[Level]) -> None:
    promises = promises_of(levels)
    assert calibration.LEAST_LAG_NS <= promises.lag_ns <= UNCALIBRATED.lag_ns
    assert calibration.LEAST_SHARE <= promises.coalesced_share <= UNCALIBRATED.coalesced_share
    worst = max(found.lag_max_ns for found in levels)
    assert promises.lag_ns >= min(worst, UNCALIBRATED.lag_ns)


def test_the_highest_rate_is_the_last_rung_that_nobody_failed() -> None:
    fine, late = rung(10_000), rung(20_000, client_ns=FOLLOWING_NS + 1)
    assert fault_of(fine) is None
    assert fault_of(late) == "client"
    # A client that was sent bursts cannot be blamed for them.
    assert fault_of(rung(20_000, client_ns=FOLLOWING_NS + 1, server_ns=FOLLOWING_NS + 1)) == "server"
    found = ceiling_of([fine, late], "client")
    assert (found.chunks_per_sec, found.limit, found.bound_ns) == (9_999, "client", FOLLOWING_NS)
    assert ceiling_of([late], "client").chunks_per_sec is None


def test_the_rate_of_a_rung_is_that_of_its_streams_while_they_stream() -> None:
    # Two streams that start one after the other: 100 a second and 200 a second.
    streams = [[0, 10 * MS, 20 * MS], [500 * MS, 505 * MS]]
    assert streamed_per_sec(streams) == pytest.approx(300)
    assert streamed_per_sec([[7], [9, 9]]) == 0


@pytest.mark.parametrize("asked", calibration.FULL.rungs)
def test_a_rung_asks_for_its_rate(asked: int) -> None:
    load = rung_load(asked, 1.0)
    # Intervals are whole microseconds: half of one in 800 is the most that rounding costs.
    assert load.streams * load.chunks_per_sec == pytest.approx(asked, rel=1 / 1_600)
    assert load.script.chunks * load.script.interval_us == pytest.approx(1e6, rel=0.01)


def test_the_summary_is_one_sentence_about_the_fewest_and_the_most_streams() -> None:
    many = level(64, first_delta=Errors(p50_ns=50_000, p95_ns=0, p99_ns=300_000))
    assert calibration.summary_of([level(1), level(8), many], "2026-05-04T03:02:01.000Z") == (
        "TTFT error p50 0.04 ms, p99 0.20 ms at 1 stream (0.05 / 0.30 ms at 64), calibrated 2026-05-04"
    )


# --- calibrating ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_calibration_measures_the_real_runner_against_real_write_times() -> None:
    told: list[str] = []
    found = await calibration.calibrate(TINY, told.append)
    assert [(one.streams, one.calls, one.chunks) for one in found.levels] == [(1, 2, 50), (3, 6, 150)]
    # Nothing can be read before it is written, and both clocks are one.
    assert all(errors.p50_ns > 0 for one in found.levels for errors in (one.first_delta, one.per_chunk, one.total))
    assert all(one.cpu_ms_per_1000 > 0 for one in found.levels)
    assert [one.asked_chunks_per_sec for one in found.ceiling.rungs] == [1_000]
    assert found.promises == promises_of(list(found.levels))
    assert told[0] == "1 stream, 2 calls each"
    assert not found.quick


@pytest.mark.anyio
async def test_a_host_too_busy_to_be_calibrated_is_told_so() -> None:
    with pytest.raises(GateRefused, match="not calibrated within 0 s: this host is too busy"):
        await calibration.calibrate(evolve(TINY, limit_s=0), lambda text: None)


@pytest.mark.anyio
async def test_a_server_that_goes_wrong_is_no_measurement(golden: str, tmp_path: Path) -> None:
    broken = Load(streams=2, calls=1, script=GoldenScript(cut="reset", cut_after=3, interval_us=100))
    with pytest.raises(LaunchError, match="went wrong"):
        await run_load(golden, broken, tmp_path)


def test_the_cores_are_as_before_when_the_server_has_had_its_own() -> None:
    before = calibration.os.sched_getaffinity(0) if hasattr(calibration.os, "sched_getaffinity") else set()
    with calibration.placed() as core:
        assert (core is None) == (len(before) < 2)
        assert core is None or core not in calibration.os.sched_getaffinity(0)
    assert not before or calibration.os.sched_getaffinity(0) == before


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_calibration_survives_its_file_and_names_no_path(state_home: Path) -> None:
    made = calibrated()
    path = keep(made)
    assert state_home in path.parents
    assert calibration_file.read(path) == made
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert str(state_home) not in path.read_text()


def test_a_newer_file_with_more_in_it_is_still_read() -> None:
    path = keep(calibrated())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    assert calibration_file.quote().mapping is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"levels": 3}', "\0\0"])
def test_a_spoiled_file_is_told_and_costs_no_run(text: str) -> None:
    path = keep(calibrated())
    path.write_text(text)
    with pytest.raises(UsageError, match="not a calibration"):
        calibration_file.read(path)
    quoted = calibration_file.quote()
    assert quoted.mapping is None
    assert quoted.promises == UNCALIBRATED
    assert quoted.note is not None
    assert str(path) in quoted.note


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="the calibration cannot be written"):
        calibration_file.save(calibrated(), tmp_path / "file" / "calibration.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"python": "CPython 3.1.0"}, f"made with Python CPython 3.1.0, this run has {host_facts().python}"),
        ({"harness_version": "0"}, f"made with record shape 0, this run has {HARNESS_VERSION}"),
        ({"at_utc": (datetime.now(UTC) - timedelta(days=31, hours=1)).isoformat()}, "made 31 days ago"),
        ({"at_utc": (datetime.now(UTC) - timedelta(days=29)).isoformat()}, None),
    ],
)
def test_a_calibration_made_otherwise_is_quoted_with_what_differs(changes: dict[str, Any], words: str | None) -> None:
    keep(calibrated(**changes))
    mapping = calibration_file.quote().mapping
    assert mapping is not None
    assert mapping["summary"] == "; ".join(filter(None, ["TTFT error p50 0.04 ms", words]))
    assert mapping["differs"] == tuple(filter(None, [words]))


def test_where_the_file_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(calibration_file.sys, "platform", "linux")
    home = tmp_path / ".local" / "state" / "weeyuga-bench"
    assert calibration_file.calibration_path("a host/b") == home / "calibration-a_host_b.json"
    monkeypatch.setattr(calibration_file.sys, "platform", "darwin")
    assert calibration_file.state_folder() == tmp_path / "Library" / "Application Support" / "weeyuga-bench"


def test_a_run_with_stamps_of_the_kernel_quotes_a_calibration_with_them_where_there_is_one() -> None:
    keep(calibrated())
    mapping = calibration_file.quote(kernel_stamps=True).mapping
    assert mapping is not None
    assert mapping["differs"] == ("made without the kernel's stamps, which this run asks for",)
    keep(calibrated(stamp_point="kernel", summary="TTFT error p50 0.01 ms"))
    mapping = calibration_file.quote(kernel_stamps=True).mapping
    assert mapping is not None
    assert (mapping["stamp_point"], mapping["summary"], mapping["differs"]) == ("kernel", "TTFT error p50 0.01 ms", ())
    mapping = calibration_file.quote().mapping
    assert mapping is not None
    assert mapping["stamp_point"] == "socket"


def test_a_calibration_from_before_there_were_such_stamps_is_one_of_our_own() -> None:
    path = keep(calibrated())
    data = json.loads(path.read_text())
    del data["stamp_point"]
    path.write_text(json.dumps(data))
    assert calibration_file.read(path).stamp_point == "socket"


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Blocked:
    """Progress that holds up the event loop once in each call that is chosen, as soon as its request is sent."""
    due: list[CallStarting] = []
    send = Connection.send

    def held_up(connection: Connection, flight: Flight, request: bytes) -> None:
        send(connection, flight, request)
        if due:
            due.clear()
            time.sleep(STALL_S)

    def progress(starting: Callable[[CallStarting], bool]) -> Callable[[ProgressEvent], None]:
        return lambda event: due.append(event) if isinstance(event, CallStarting) and starting(event) else None

    monkeypatch.setattr(Connection, "send", held_up)
    return progress


@pytest.mark.anyio
async def test_a_run_whose_client_was_starved_says_so(golden: str, tmp_path: Path, blocked: Blocked) -> None:
    progress = blocked(lambda event: event.step.phase == "warm" and event.step.run_idx == 0)
    outcome, ledger = await run(tmp_path, plan([cell(golden, options=STREAMING)]), progress=progress)
    late = next(call for call in ledger.calls if call.phase == "warm" and call.run_idx == 0)
    assert late.client_lag_ns is not None
    assert late.client_lag_ns > UNCALIBRATED.lag_ns
    assert f"client_lag: {late.client_lag_ns / MS:.1f} ms, an uncalibrated host is held to 10.0 ms" in late.call_flags
    assert any(reason.startswith("the client was late in ") for reason in outcome.reasons)
    assert outcome.verdict == "unreliable"
    assert ledger.meta.calibration is None


@pytest.mark.anyio
async def test_a_run_is_held_to_the_calibration_of_its_host(golden: str, tmp_path: Path, blocked: Blocked) -> None:
    keep(calibrated(promises=Promises(lag_ns=60_000 * MS, coalesced_share=1.0)))
    progress = blocked(lambda event: True)
    outcome, ledger = await run(tmp_path, plan([cell(golden, options=STREAMING)]), progress=progress)
    assert max(call.client_lag_ns or 0 for call in ledger.calls) > UNCALIBRATED.lag_ns
    assert not [flag for call in ledger.calls for flag in call.call_flags if flag.startswith("client_")]
    assert not [reason for reason in outcome.reasons if "the client was late" in reason]
    keep(calibrated(promises=Promises(lag_ns=-1, coalesced_share=1.0)))
    outcome, ledger = await run(tmp_path, plan([cell(golden, warm_n=0)]))
    (flag,) = [flag for flag in ledger.calls[0].call_flags if flag.startswith("client_lag: ")]
    assert flag.endswith(" ms, calibration promises -0.0 ms")


@pytest.mark.anyio
async def test_a_run_quotes_the_calibration_of_its_host(golden: str, tmp_path: Path) -> None:
    made = calibrated()
    keep(made)
    outcome, ledger = await run(tmp_path, plan([cell(golden, warm_n=0)]))
    assert ledger.meta.calibration is not None
    assert promised(ledger.meta.calibration) == made.promises
    assert f"measurement error on this host: {made.summary}\n" in render_ledger(outcome.ledger_path)


@pytest.mark.anyio
async def test_a_run_without_a_calibration_says_so(golden: str, tmp_path: Path, state_home: Path) -> None:
    watching = Seen()
    outcome, _ = await run(tmp_path, plan([cell(golden, warm_n=0)]), progress=watching)
    assert "measurement error: not calibrated on this host\n" in render_ledger(outcome.ledger_path)
    assert not [notice for notice in watching.of(Notice) if "calibration" in notice.text]
    keep(calibrated()).write_text("{")
    await run(tmp_path, plan([cell(golden, warm_n=0)]), progress=watching)
    assert [notice for notice in watching.of(Notice) if "the calibration of this host cannot be used" in notice.text]


def test_a_ledger_without_a_calibration_promises_what_any_host_does() -> None:
    assert promised(None) == UNCALIBRATED
    assert not UNCALIBRATED.calibrated
    assert isinstance(ceiling_of([], "time"), Ceiling)
