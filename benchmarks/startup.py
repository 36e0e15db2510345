"""Median time of `weeyuga-bench --help` beside a bare interpreter's. Aim: at most 120 ms where the bare one takes 15.

Usage: python benchmarks/startup.py [ROUNDS]

Bytecode is cached in a folder of its own, as it is after an installation, whatever the environment says about it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "weeyuga-bench --help": [sys.executable, "-m", "weeyuga_core", "--help"],
    "weeyuga-bench plugins list": [sys.executable, "-m", "weeyuga_core", "plugins", "list"],
}


def once_ms(argv: list[str], environ: dict[str, str]) -> float:
    """Wall time of one start, in ms."""
    begin = time.perf_counter()
    subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1000


def main(rounds: int) -> None:
    """Time the commands in turn, so that a busy moment falls on all of them."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as cache:
        environ["PYTHONPYCACHEPREFIX"] = cache
        for argv in COMMANDS.values():
            once_ms(argv, environ)
        for _ in range(rounds):
            for name, argv in COMMANDS.items():
                times[name].append(once_ms(argv, environ))
    bare = statistics.median(times["bare interpreter"])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.0f}..{max(values):.0f}"
        print(f"{name:28} median {median:6.1f} ms  (min..max {spread} of {rounds})  {median / bare:4.1f} x bare")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
