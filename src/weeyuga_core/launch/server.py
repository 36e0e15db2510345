"""Start a server of our own and know when it is ready, how it ended, and that it is gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch.leash import GRACE_S, Leash
from weeyuga_core.launch.log import tail, without_directories

LOOPBACK = "127.0.0.1"
POLL_S = 0.02
"""Between two questions to a server that is starting, and between two looks at one that is stopping."""
STOP_S = GRACE_S + 2.0
"""How long a supervisor may take to end its server before both are killed."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


async def start(
    spec: LaunchSpec, *, port: int, log_path: Path, health: Callable[[], Awaitable[Health]], ready_s: float
) -> Server:
    """Run `spec` under a supervisor and return when `health` says ready, within `ready_s` seconds.

    The server's output is appended to `log_path`. Raises LaunchError, and leaves nothing running, when the program
    cannot be run, the port is taken, or the server dies or is not ready in time.
    """
    program = _program(spec.argv[0])
    _refuse_taken(port)
    server = Server(spec, program, port=port, log_path=log_path)
    try:
        await server.become_ready(health, ready_s)
    except BaseException:
        await server.stop()
        raise
    return server


class Server:
    """A running server of ours. Made by `start`."""

    def __init__(self, spec: LaunchSpec, program: str, *, port: int, log_path: Path) -> None:
        self.port = port
        self.ready_ns = 0
        """From spawning the server to its first healthy answer."""
        self._name = Path(program).name
        self._private = (program, *spec.argv, *spec.files)
        self._log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            self._leash = Leash((program, *spec.argv[1:]), spec.env, log.fileno())

    @property
    def pid(self) -> int:
        """Process id of the server, which also names its process group; 0 before it was spawned."""
        return self._leash.news().pid

    def exit_code(self) -> int | None:
        """The server's exit code, negative for a signal; None while it runs."""
        return self._leash.news().exit_code

    async def ended(self, within_s: float) -> bool:
        """Whether it has ended, or does so within that time: the supervisor's news comes after the death itself."""
        deadline = time.monotonic() + within_s
        while self.exit_code() is None and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
        return self.exit_code() is not None

    async def stop(self) -> None:
        """End the server and all it started: SIGTERM, then SIGKILL after a bounded wait. Idempotent."""
        self._leash.release()
        deadline = time.monotonic() + STOP_S
        while self._leash.alive() and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
        self._leash.kill()

    async def become_ready(self, health: Callable[[], Awaitable[Health]], ready_s: float) -> None:
        """Ask `health` until it says ready; raises LaunchError when that cannot or does not happen in time."""
        deadline = time.monotonic() + ready_s
        said = Health("down", "not asked yet")
        while time.monotonic() < deadline:
            if self._spawned():
                said = await health()
                answered_ns = time.monotonic_ns()
                # Looked at once more: somebody else's server may be the one that answers on this port.
                if said.state == "ready" and self._spawned():
                    self.ready_ns = answered_ns - self._leash.news().spawned_ns
                    return
            await asyncio.sleep(POLL_S)
        last = without_directories(f"{said.state}: {said.detail}" if said.detail else said.state)
        raise self._error(f"was not ready within {ready_s:g} s (last answer: {last})")

    def _spawned(self) -> bool:
        """Whether the server runs; raises LaunchError when it never will."""
        news = self._leash.news()
        if news.spawn_errno is not None:
            raise LaunchError(f"{self._name} cannot be run: {os.strerror(news.spawn_errno)}")
        if news.exit_code is not None:
            raise self._error(f"{_how_it_ended(news.exit_code)} before it was ready")
        return bool(news.pid)

    def _error(self, what: str) -> LaunchError:
        said = tail(self._log_path, since=self._log_start, private=self._private)
        log = f"the end of {self._log_path.name}:\n{said}" if said else f"{self._log_path.name} is empty"
        return LaunchError(f"{self._name} {what}; {log}")


def _how_it_ended(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code} ({signal.strsignal(-code)})"


def _program(name: str) -> str:
    """The path of the program; raises LaunchError when there is none that can be run."""
    if found := shutil.which(name):
        return found
    short = Path(name).name
    if os.sep not in name:
        raise LaunchError(f"program {short} is not on PATH", hint="give its path in `launch: {server: ...}`")
    if not Path(name).is_file():
        raise LaunchError(f"program {short} does not exist", hint="correct `launch: {server: ...}`")
    raise LaunchError(f"program {short} is not executable", hint=f"chmod +x {short}")


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        # Connections of an earlier server that still linger on the port are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise LaunchError(f"port {port} of {LOOPBACK} cannot be had: {reason}") from error
