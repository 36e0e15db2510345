"""The small process between the harness and a server of ours: it ends the server when the harness is gone.

Run by file path with `-I -S`, so that it starts in milliseconds and depends on nothing but the standard library:

    python -I -S supervisor.py GRACE_S PROGRAM [ARGUMENT ...]

Standard input is the leash: it carries no data, and its end (the harness closed it, or died of whatever) ends the
server. Standard output tells the harness what happens, a line each: `pid PID SPAWNED_NS` (on the monotonic clock),
`error ERRNO`, `exit CODE` (negative: killed by that signal). Standard error is the log, the server's too.

The server leads a session and process group of its own. Ctrl-C on the terminal therefore does not reach it, and
everything it starts is signalled with it, unless it moves into a session of its own.

A forked guard watches the supervisor in turn: should the supervisor itself be killed, the guard kills the group.
Nothing here needs Linux; PR_SET_PDEATHSIG would, and it reaches neither grandchildren nor a thread's parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

LEASH, TELL, LOG = 0, 1, 2
"""File descriptors."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that end the server in good order, as the end of the leash does."""


def supervise(grace_s: float, argv: list[str]) -> int:
    """Run the server until it exits or is to end; returns this process's own exit code."""
    guard = Guard()
    wake = _wake_on_signals()
    spawned_ns = time.monotonic_ns()
    try:
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=LOG, stderr=LOG, start_new_session=True)
    except OSError as error:
        _tell(f"error {error.errno}")
        guard.release()
        return 1
    guard.watch(server.pid)
    _tell(f"pid {server.pid} {spawned_ns}")
    _wait(server, wake)
    code = _end(server, grace_s)
    guard.release()
    _tell(f"exit {code}")
    return 0


class Guard:
    """A fork of the supervisor that kills the server's group when the supervisor dies without a word."""

    def __init__(self) -> None:
        read_end, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            _guard(read_end)
        os.close(read_end)

    def watch(self, group: int) -> None:
        """Name the group to be killed."""
        self._say(f"{group}\n")

    def release(self) -> None:
        """Tell the guard that all is in order, and wait until it has left."""
        self._say("released\n")
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _say(self, words: str) -> None:
        # A guard that somebody killed is no reason to leave the server alone.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, words.encode())


def _guard(pipe: int) -> None:
    """Be the guard: read until the supervisor is gone, act, and leave without any clean-up of the fork's parent."""
    os.setsid()
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    for descriptor in (LEASH, TELL, LOG):
        os.close(descriptor)
    heard = b""
    while chunk := os.read(pipe, 64):
        heard += chunk
    words = heard.split()
    if words and b"released" not in words:
        signal_group(int(words[0]), signal.SIGKILL)
    os._exit(0)


def signal_group(group: int, number: int) -> None:
    """Signal every process of the group; a group that is gone is fine."""
    # macOS answers EPERM for a group of which only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _wake_on_signals() -> int:
    """Catch what may end the server; returns a descriptor that turns readable with the number of each signal."""
    wake, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (*ENDING, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return wake


def _wait(server: subprocess.Popen[bytes], wake: int) -> None:
    """Return when the server has exited, the leash has ended, or a signal asks for the end."""
    while server.poll() is None:
        ready, _, _ = select.select([LEASH, wake], [], [])
        if LEASH in ready or any(number != signal.SIGCHLD for number in os.read(wake, 64)):
            return


def _end(server: subprocess.Popen[bytes], grace_s: float) -> int:
    """Ask the group to end, then make it: nothing of it is left when the server's exit code is returned."""
    if server.poll() is None:
        signal_group(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_s)
    signal_group(server.pid, signal.SIGKILL)
    return server.wait()


def _tell(words: str) -> None:
    # The harness may be dead: that is what the supervisor is for.
    with contextlib.suppress(BrokenPipeError):
        os.write(TELL, f"{words}\n".encode())


if __name__ == "__main__":
    sys.exit(supervise(float(sys.argv[1]), sys.argv[2:]))
