"""Median time of `weeyuga-bench --help` beside a bare interpreter's. Aim: at most 120 ms where the bare one takes 15.

Usage: python benchmarks/startup.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "weeyuga-bench --help": [sys.executable, "-m", "weeyuga_core", "--help"],
    "weeyuga-bench plugins list": [sys.executable, "-m", "weeyuga_core", "plugins", "list"],
}


def once_ms(argv: list[str]) -> float:
    """Wall time of one start, in ms."""
    begin = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1000


def main(rounds: int) -> None:
    """Time the commands in turn, so that a busy moment falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, argv in COMMANDS.items():
            times[name].append(once_ms(argv))
    bare = statistics.median(times["bare interpreter"])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.0f}..{max(values):.0f}"
        print(f"{name:28} median {median:6.1f} ms  (min..max {spread} of {rounds})  {median / bare:4.1f} x bare")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
