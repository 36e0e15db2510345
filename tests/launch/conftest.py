"""A harness process with a toy server under it, to be ended in every way."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conditions import runs, wait_until

HERE = Path(__file__).parent


def parent(pid: int) -> int:
    """Its parent's process id."""
    return int(subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout)


def said(log: Path, word: str) -> list[str]:
    """The rest of the first line of the log that begins with that word."""
    return next(line.split()[1:] for line in log.read_text().splitlines() if line.startswith(word))


class Toy:
    """A harness process with a toy server under it."""

    def __init__(self, log: Path, *manners: str) -> None:
        self.log = log
        self.harness = subprocess.Popen(
            [sys.executable, str(HERE / "toy_harness.py"), str(log), *manners],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.harness.stdout is not None
        self.out = self.harness.stdout
        self.server, self.port = (int(word) for word in self.out.readline().split())
        self.family = [self.server] + ([int(said(log, "grandchild")[0])] if "child" in manners else [])

    @property
    def supervisor(self) -> int:
        """The parent of the server."""
        return parent(self.server)

    def said(self, word: str) -> list[str]:
        """What the server said in its log after that word."""
        return said(self.log, word)

    def children(self, pid: int) -> set[int]:
        """The processes whose parent it is."""
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = (line.split() for line in table.splitlines())
        return {int(child) for child, its_parent in pairs if int(its_parent) == pid}

    def runs(self) -> bool:
        """Whether the server and all it started are there."""
        return all(runs(pid) for pid in self.family)

    def answers(self) -> bool:
        """Whether the server says that it is ready."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            return connection.makefile().readline() == "ready\n"

    def wait_until_gone(self) -> None:
        """Return when nothing of the server is left."""
        wait_until(lambda: not any(runs(pid) for pid in self.family), f"processes {self.family} to go")

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        self.harness.kill()
        self.harness.wait()
        self.out.close()
        for pid in self.family:
            # Only what a failed test has left: the tests themselves wait for the supervisor to do this.
            if runs(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start_toy(tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    toys: list[Toy] = []

    def begin(*manners: str) -> Toy:
        toys.append(Toy(tmp_path / "server.log", *manners))
        return toys[-1]

    yield begin
    for toy in toys:
        toy.close()
