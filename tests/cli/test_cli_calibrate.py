"""`weeyuga-bench calibrate`: the table, the JSON and the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.measure import kernel
from weeyuga_core.model.calibration import UNCALIBRATED, Calibration, Ceiling, Errors, Level, Promises, Rung
from weeyuga_core.provenance.lock import LOCK_DIR_ENV, HostLock
from weeyuga_core.run import calibration, calibration_file

ERRORS = Errors(p50_ns=40_000, p95_ns=90_000, p99_ns=200_000)
LEVEL = Level(
    streams=64,
    chunks_per_sec=100.0,
    calls=640,
    chunks=16_000,
    first_delta=ERRORS,
    per_chunk=ERRORS,
    total=ERRORS,
    cpu_ms_per_1000=51.5,
    lag_p99_ns=400_000,
    lag_max_ns=900_000,
    coalesced_share=0.0012,
    server_late_p99_ns=80_000,
)
RUNG = Rung(
    asked_chunks_per_sec=40_000,
    chunks_per_sec=39_500,
    per_chunk=ERRORS,
    server_late=ERRORS,
    cpu_ms_per_1000=20.5,
)
FOUND = Calibration(
    at_utc="2026-05-04T03:02:01.000Z",
    host="bench-host",
    python="CPython 3.12.1",
    harness_version="1",
    package_version="0.1.0",
    own_core=True,
    quick=False,
    levels=(LEVEL,),
    ceiling=Ceiling(streams=64, chunks_per_sec=39_500, limit="server", bound_ns=1_000_000, rungs=(RUNG,)),
    promises=Promises(lag_ns=3_600_000, coalesced_share=0.01),
    summary="TTFT error p50 0.04 ms",
)


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is written outside the test's folder, and no other run is in the way."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(LOCK_DIR_ENV, str(tmp_path))
    return tmp_path / "state"


def finding(monkeypatch: pytest.MonkeyPatch, result: Calibration) -> list[object]:
    """Make calibration find that; the programmes that it was asked for are collected."""
    asked: list[object] = []

    async def calibrate(programme: object, tell: object, *, kernel_stamps: bool) -> Calibration:
        asked.append(programme)
        return evolve(result, stamp_point=calibration.stamp_point(kernel_stamps))

    monkeypatch.setattr(calibration, "calibrate", calibrate)
    return asked


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The programmes that it was asked for; whatever they are, the host is found to be as `FOUND` says."""
    return finding(monkeypatch, FOUND)


def test_the_table_says_errors_rates_promises_and_where_the_file_is(
    found: list[object], state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert found == [calibration.FULL]
    (row,) = (line.split() for line in out.splitlines() if line.strip().startswith("64 "))
    assert " ".join(row) == (
        "64 640 16000 0.04 / 0.09 / 0.20 0.04 / 0.09 / 0.20 0.04 / 0.09 / 0.20 51.5 0.40 / 0.90 0.12%"
    )
    assert "40,000" in out
    assert "follows 39,500 chunks/s at 64 streams; above it the server cannot keep its own schedule" in out
    assert "promised to runs on this host: loop lag up to 3.60 ms, 1.0% coalesced deltas" in out
    path = calibration_file.calibration_path("bench-host")
    assert err == f"written to {path}\n"
    assert state_home in path.parents
    assert calibration_file.read(path) == FOUND


def test_json_is_one_object_and_out_moves_the_file(
    found: list[object], state_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "elsewhere.json"
    assert main(["calibrate", "--quick", "--json", "--out", str(path)]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert found == [calibration.QUICK]
    answer = json.loads(out)
    assert (answer["schema"], answer["ok"], answer["warnings"]) == ("weeyuga.calibration.v1", True, [])
    assert answer["data"] == json.loads(path.read_text())
    assert err == f"written to {path}, where no run looks\n"
    assert not state_home.exists()


def test_with_the_stamps_of_the_kernel_it_is_kept_apart(
    found: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    if (why_not := kernel.unavailable()) is not None:
        pytest.skip(why_not)
    assert main(["calibrate", "--kernel-stamps"]) == ExitCode.OK
    assert "the kernel's receive stamp minus the server's write" in capsys.readouterr().out
    path = calibration_file.calibration_path("bench-host", "kernel")
    assert path.name == "calibration-bench-host.kernel.json"
    assert calibration_file.read(path) == evolve(FOUND, stamp_point="kernel")
    assert not calibration_file.calibration_path("bench-host").exists()


def test_where_there_are_no_such_stamps_it_says_why(
    found: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel.sys, "platform", "darwin")
    assert main(["calibrate", "--kernel-stamps"]) == ExitCode.USAGE
    assert "--kernel-stamps: darwin has no SO_TIMESTAMPNS" in capsys.readouterr().err
    assert found == []


def test_a_shared_core_and_a_busy_host_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    late = evolve(LEVEL, lag_max_ns=UNCALIBRATED.lag_ns + 1)
    finding(monkeypatch, evolve(FOUND, own_core=False, levels=(late,)))
    assert main(["calibrate"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "the server on the cores that the client uses too" in out
    assert "warning: the server had no core of its own" in err
    assert "warning: this host was busy meanwhile: calibrate again when it is not" in err


def test_a_host_on_which_a_run_is_measuring_is_left_alone(
    found: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    with HostLock("another"):
        assert main(["calibrate"]) == ExitCode.REFUSED
    assert "another run is measuring on this host" in capsys.readouterr().err
    assert found == []


@pytest.mark.parametrize("more", [[], ["--kernel-stamps"]], ids=["own stamps", "kernel stamps"])
def test_it_really_calibrates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    if more and (why_not := kernel.unavailable()) is not None:
        pytest.skip(why_not)
    tiny = evolve(calibration.QUICK, levels=((1, 1), (2, 1)), rungs=(500,), rung_s=0.1, ladder_until_s=60, limit_s=60)
    monkeypatch.setattr(calibration, "QUICK", tiny)
    assert main(["calibrate", "--quick", "--json", *more]) == ExitCode.OK
    data = json.loads(capsys.readouterr().out)["data"]
    assert [level["streams"] for level in data["levels"]] == [1, 2]
    assert data["quick"]
    assert data["summary"].startswith("TTFT error p50 ")
    assert data["summary"].endswith(" with kernel stamps") is bool(more)
