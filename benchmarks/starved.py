"""A run on a machine that is kept busy: it has to come out unreliable, and say that the client was late.

    python benchmarks/starved.py [LOOPS_PER_CORE]

Starts busy loops at normal priority (4 per core unless told otherwise), measures a golden server through the real
command's own path, prints what the run says of itself, and exits with 1 when it does not name the lag.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from weeyuga_core.model.plan import Cell, Prompt, RunPlan
from weeyuga_core.run import schedule
from weeyuga_core.run.progress import ProgressEvent
from weeyuga_core.run.start import RunRequest, execute
from weeyuga_core.testing.golden_plugin import ENGINE, golden_plugins
from weeyuga_core.testing.golden_process import GoldenServer

BUSY = [sys.executable, "-c", "while True: pass"]
OPTIONS = {"chunks": 100, "interval_us": 10_000, "first_delay_us": 50_000}
PROMPT = Prompt(id="P-STARVED", text="Count to a hundred.\n", max_tokens=100)


def silent(event: ProgressEvent) -> None:
    """Nobody watches."""


async def measure(folder: Path, url: str) -> int:
    """Run, print the reasons, and tell whether the lag is among them."""
    cell = Cell(id=f"here:{ENGINE}:starved", node="here", engine=ENGINE, label="starved", endpoint=url, options=OPTIONS)
    plan = RunPlan(cells=(cell,), prompts=(PROMPT,), steps=schedule.blocks([cell], [PROMPT]), pace_s=0.0)
    request = RunRequest(plan=plan, cells_path=folder / "cells.yaml", out_dir=folder, force_load=True)
    outcome = await execute(request, golden_plugins(), silent)
    print(f"{outcome.verdict}:")
    for reason in outcome.reasons:
        print(f"  {reason}")
    return 0 if any("client_lag" in reason for reason in outcome.reasons) else 1


def main(loops_per_core: int) -> int:
    """Keep every core busy meanwhile."""
    loops = [subprocess.Popen(BUSY) for _ in range(loops_per_core * (os.cpu_count() or 1))]
    try:
        with GoldenServer() as server, tempfile.TemporaryDirectory() as folder:
            return asyncio.run(measure(Path(folder), server.url))
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
