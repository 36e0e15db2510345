"""The harness's end of a supervisor: the pipe that keeps a server alive, and the news that come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from attrs import evolve, frozen

from weeyuga_core.launch import supervisor

GRACE_S = 3.0
"""Between SIGTERM and SIGKILL."""


@frozen(kw_only=True)
class News:
    """What a supervisor has told so far."""

    pid: int = 0
    """Process id and process group of the server; 0 before it was spawned."""
    spawned_ns: int = 0
    """Monotonic clock just before the server was spawned."""
    spawn_errno: int | None = None
    """Why the program could not be run."""
    exit_code: int | None = None
    """How the server ended, negative for a signal."""


class Leash:
    """A supervisor of one server, which lives no longer than this process holds the pipe open."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: int) -> None:
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, str(GRACE_S), *argv],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **env},
            start_new_session=True,
        )
        self._pipe, self._told = _both(self._supervisor)
        os.set_blocking(self._told.fileno(), False)
        self._half_line = b""
        self._news = News()

    def news(self) -> News:
        """Everything told until now. Never blocks."""
        while not self._told.closed:
            chunk = self._told.read(4096)
            if chunk is None:
                break
            if not chunk:
                self._told.close()
                self._news = _after_the_end(self._news)
            *lines, self._half_line = (self._half_line + chunk).split(b"\n")
            for line in lines:
                self._news = _told(self._news, line.decode())
        return self._news

    def alive(self) -> bool:
        """Whether the supervisor still has something to do."""
        return self._supervisor.poll() is None

    def release(self) -> None:
        """Let go: the supervisor ends the server, then itself."""
        self._pipe.close()

    def kill(self) -> None:
        """End what is left, supervisor and server, without grace. Harmless when nothing is left."""
        if self.alive():
            self._supervisor.kill()
        self._supervisor.wait()
        news = self.news()
        if news.pid and news.exit_code is None:
            supervisor.signal_group(news.pid, signal.SIGKILL)
        self._told.close()


def _both(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None, "asked for as a pipe"
    assert process.stdout is not None, "asked for as a pipe"
    return process.stdin, process.stdout


def _told(news: News, line: str) -> News:
    word, *figures = line.split()
    numbers = [int(figure) for figure in figures]
    match word:
        case "pid":
            return evolve(news, pid=numbers[0], spawned_ns=numbers[1])
        case "error":
            return evolve(news, spawn_errno=numbers[0])
        case "exit":
            return evolve(news, exit_code=numbers[0])
    raise AssertionError(f"the supervisor said {line!r}")


def _after_the_end(news: News) -> News:
    """A supervisor that left without telling an end was killed, and its guard has killed the server."""
    if news.exit_code is None and news.spawn_errno is None:
        return evolve(news, exit_code=-signal.SIGKILL)
    return news
