"""One run at a time on a host: two would measure each other."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from weeyuga_core.errors import GateRefused

LOCK_NAME = "weeyuga-bench.lock"
LOCK_DIR_ENV = "WEEYUGA_LOCK_DIR"
"""Moves the lock file, for test suites and for containers that share a temporary directory but no processor."""

_SHARED_TMP = Path("/tmp")  # the same directory for every user and every way of starting us
_HOLDER_MAX_BYTES = 4096


def lock_path() -> Path:
    """The lock file of this host.

    Not `tempfile.gettempdir()` first: TMPDIR differs between users, and between a terminal and a nightly job, and
    two runs that look at two files do not exclude each other.
    """
    told = os.environ.get(LOCK_DIR_ENV)
    if told:
        return Path(told) / LOCK_NAME
    return (_SHARED_TMP if _SHARED_TMP.is_dir() else Path(tempfile.gettempdir())) / LOCK_NAME


class HostLock:
    """Context manager that holds the host's lock. Raises GateRefused, naming the holder, when another run has it.

    The kernel frees it when the process dies, however it dies. Programs started meanwhile do not inherit it. The
    file is never removed: a holder of the old file and a holder of a new one would not see each other.
    """

    def __init__(self, run_id: str, *, path: Path | None = None) -> None:
        self.path = path if path is not None else lock_path()
        self._run_id = run_id
        self._fd: int | None = None

    def __enter__(self) -> HostLock:
        if self._fd is not None:
            raise RuntimeError("this lock is already held")
        self._fd = _acquire(self.path)
        _write(self._fd, {"pid": os.getpid(), "run_id": self._run_id, "since": f"{datetime.now(UTC):%FT%TZ}"})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.ftruncate(fd, 0)
            os.close(fd)


def _acquire(path: Path) -> int:
    """A descriptor that holds the lock on the file that `path` names."""
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return fd
        except BlockingIOError:
            message = f"another run is measuring on this host: {_holder(fd)}"
            os.close(fd)
            raise GateRefused(
                message, hint="wait until it has ended; one run at a time, or both would measure each other"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # removed between opening and locking: take the file that is there now


def _open(path: Path) -> int:
    """Open the file, creating it for everybody. Raises GateRefused.

    Opened first and created second, because a hardened kernel refuses O_CREAT on another user's file in a shared
    directory, although opening it is allowed.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        while True:
            try:
                fd = os.open(path, flags)
                break
            except FileNotFoundError:
                try:
                    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
                except FileExistsError:
                    continue
                os.fchmod(fd, 0o666)  # whatever the umask says
                break
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise GateRefused(f"the lock file {path} cannot be opened: {why}", hint="remove it, as its owner") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise GateRefused(f"the lock file {path} is not a file", hint="remove it, as its owner")
    return fd


def _is_still(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _write(fd: int, holder: dict[str, object]) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)


def _holder(fd: int) -> str:
    """Who holds the lock, from the words it left in the file; nobody else may write there while it lives."""
    try:
        said = json.loads(os.pread(fd, _HOLDER_MAX_BYTES, 0))
        return f"process {said['pid']}, run {said['run_id']}, since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "it has not said yet who it is"
