from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from weeyuga_core.errors import GateRefused
from weeyuga_core.provenance.lock import LOCK_DIR_ENV, LOCK_NAME, HostLock, lock_path

HOLD = """
import sys
from pathlib import Path
from weeyuga_core.provenance.lock import HostLock
with HostLock("run-of-the-child", path=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

HOLD_WITH_CHILD = """
import subprocess, sys
from pathlib import Path
from weeyuga_core.provenance.lock import HostLock
with HostLock("run-of-the-parent", path=Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], close_fds=False)
    print(child.pid, flush=True)
    child.wait()
"""


def start(script: str, path: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / LOCK_NAME


def test_a_second_run_is_refused_and_told_who_holds_the_lock(path: Path) -> None:
    process, said = start(HOLD, path)
    try:
        assert said == "held"
        with pytest.raises(GateRefused) as refusal, HostLock("mine", path=path):
            pass
    finally:
        end(process)
    message = str(refusal.value)
    assert f"process {process.pid}, run run-of-the-child, since " in message
    since = message.partition("since ")[2].split()[0]
    assert datetime.fromisoformat(since).tzinfo is not None


def test_the_lock_is_free_again_after_the_run_and_after_a_refusal(path: Path) -> None:
    with HostLock("first", path=path), pytest.raises(GateRefused), HostLock("second", path=path):
        pass
    with HostLock("third", path=path):
        assert json.loads(path.read_text())["run_id"] == "third"
    assert path.read_text() == ""


def test_an_error_inside_frees_the_lock(path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), HostLock("first", path=path):
        raise RuntimeError("inside")
    with HostLock("second", path=path):
        pass


def test_a_killed_holder_frees_the_lock(path: Path) -> None:
    process, _ = start(HOLD, path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "run-of-the-child" in path.read_text()  # nobody tidied up: it was the kernel that let go
    with HostLock("next", path=path):
        assert json.loads(path.read_text())["run_id"] == "next"


def test_a_program_started_meanwhile_does_not_keep_the_lock(path: Path) -> None:
    process, child = start(HOLD_WITH_CHILD, path)
    process.kill()
    process.wait()
    try:
        os.kill(int(child), 0)  # still running
        with HostLock("next", path=path):
            pass
    finally:
        process.communicate()  # closes its standard input, so that it ends


def test_one_lock_object_is_held_once_at_a_time(path: Path) -> None:
    lock = HostLock("mine", path=path)
    with lock, pytest.raises(RuntimeError, match="already held"):
        lock.__enter__()
    with lock:
        pass


def test_every_user_may_open_the_file_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with HostLock("mine", path=path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_a_file_that_was_removed_is_not_locked_in_the_dark(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleaner removes the file between opening and locking; the lock must be on the file that others will find."""
    import fcntl

    real, locked = fcntl.flock, []

    def flock(fd: int, operation: int) -> None:
        if not locked:
            path.unlink()
        locked.append(fd)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with HostLock("mine", path=path):
        assert len(locked) == 2
        assert json.loads(path.read_text())["run_id"] == "mine"


@pytest.mark.parametrize("left", ["", "garbage", "[]", '{"pid": 1}'])
def test_a_holder_that_has_not_said_who_it_is_still_holds(path: Path, left: str) -> None:
    with HostLock("first", path=path):
        path.write_text(left)
        with pytest.raises(GateRefused, match="not said yet"), HostLock("second", path=path):
            pass


def test_a_link_in_place_of_the_file_is_refused_and_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    path.symlink_to(target)
    with pytest.raises(GateRefused, match="symbolic link"), HostLock("mine", path=path):
        pass
    assert target.read_text() == "kept"


def test_something_else_in_place_of_the_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(GateRefused, match="not a file"), HostLock("mine", path=path):
        pass


def test_a_directory_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / LOCK_NAME
    with pytest.raises(GateRefused, match="missing"), HostLock("mine", path=missing):
        pass


def test_the_place_is_the_same_for_every_way_of_starting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(LOCK_DIR_ENV, raising=False)
    usual = lock_path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert lock_path() == usual
    monkeypatch.setenv(LOCK_DIR_ENV, str(tmp_path))
    assert lock_path() == tmp_path / LOCK_NAME
