"""What every client of the comparison is given, and what it hands back.

A client is a program of its own: `python benchmarks/clients/<name>.py '<json of Task>'`. It makes `streams` closed
loops of `calls` calls each and prints one JSON line. CPU time and memory are taken before that line is made.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REQUEST = {"model": "golden", "messages": [{"role": "user", "content": "Count to a hundred.\n"}], "stream": True}
PATH = "/v1/chat/completions"
DELTA_NAMES = ("content", "reasoning_content")


class Task(NamedTuple):
    """One client's work."""

    url: str
    streams: int
    calls: int
    script: dict[str, Any]
    cpu: int | None = None
    realtime: bool = False
    kernel_stamps: bool = False
    """Of this harness alone: the others have no such thing."""

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of one request."""
        return REQUEST | {"golden": self.script}


class Seen(NamedTuple):
    """One answer: the server's name for it, when the clock started, a stamp per delta, the stamp of the last event."""

    ident: str
    start_ns: int
    deltas: list[int]
    end_ns: int


class Report(NamedTuple):
    """What a client prints."""

    calls: list[Seen]
    cpu_ns: int
    peak_rss_bytes: int | None
    """None where it cannot be told apart from that of the program that started it."""


def peak_rss_bytes() -> int:
    """The most memory that this program has held.

    Not `ru_maxrss` where /proc knows better: that one remembers what the process was before it became this program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def place(cpu: int | None, realtime: bool) -> None:
    """Keep this process on one core; with `realtime` before everything that is not."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))


def delta_text(data: str) -> str:
    """The text that a data line carries."""
    choices = json.loads(data)["choices"]
    delta = choices[0]["delta"] if choices else {}
    return "".join(delta.get(name) or "" for name in DELTA_NAMES)


def main(work: Callable[[Task], list[Seen]]) -> None:
    """Do the task in the first argument and print the report."""
    task = Task(**json.loads(sys.argv[1]))
    place(task.cpu, task.realtime)
    before_ns = time.process_time_ns()
    calls = work(task)
    report = Report(calls=calls, cpu_ns=time.process_time_ns() - before_ns, peak_rss_bytes=peak_rss_bytes())
    print(json.dumps(report._asdict()))
