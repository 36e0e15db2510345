"""The reference in C (see `reference.c`): what the machine and the kernel leave, whatever the language.

The CPU time and the memory reported are those of the C program, which parses nothing while streams are open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from common import Report, Seen, Task, place

PROGRAM = "WEEYUGA_REFERENCE_CLIENT"
"""Names the compiled program; `benchmarks/client.py` compiles it."""


def main() -> None:
    """Run the program and translate what it says."""
    task = Task(**json.loads(sys.argv[1]))
    place(task.cpu, task.realtime)
    where = urlsplit(task.url)
    argv = [os.environ[PROGRAM], where.hostname or "", str(where.port), str(task.streams), str(task.calls)]
    done = subprocess.run([*argv, json.dumps(task.body)], stdout=subprocess.PIPE, text=True, check=True)
    *answers, last = (line.split() for line in done.stdout.splitlines())
    calls = [Seen(ident, int(start), [int(ns) for ns in deltas], int(end)) for ident, start, end, *deltas in answers]
    print(json.dumps(Report(calls, cpu_ns=int(last[1]), peak_rss_bytes=None)._asdict()))


if __name__ == "__main__":
    main()
