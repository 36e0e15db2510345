"""What the reference brain costs on this host, and whether a millisecond more is seen.

Two paired runs against a golden server, through the real runner:

1. direct against routed: what the reference brain adds, with its interval;
2. through a brain against through one that waits `--delay-ms` before it sends on: the difference is the injected delay
   and nothing else.

Exits with 1 when the second interval holds 0: such a delay could then hide on this host. Whatever else runs here widens
both intervals, so the load average stands beside them.

    python benchmarks/routing.py [--pairs 30] [--delay-ms 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from attrs import asdict

from weeyuga_core import plugins
from weeyuga_core.analysis.pairs import Overhead, overheads
from weeyuga_core.errors import BenchError
from weeyuga_core.hookspecs import Provided, hookimpl
from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import free_port, start
from weeyuga_core.ledger import reader
from weeyuga_core.model.plan import Cell, Prompt, RunPlan, Timeouts
from weeyuga_core.report.routing import signed, span
from weeyuga_core.run import schedule
from weeyuga_core.run.progress import ProgressEvent
from weeyuga_core.run.start import RunRequest, execute
from weeyuga_core.testing.golden_process import GoldenServer

BRAIN = Path(__file__).parents[1] / "examples" / "reference_brain" / "weeyuga_reference_brain.py"
PROMPT = Prompt(id="P-ROUTING", text="hi\n", max_tokens=64)
SCRIPT = {"chunks": 20, "interval_us": 5_000, "first_delay_us": 20_000}
PACE_S = 0.3
"""A call takes 0.12 s. What a brain does after an answer, such as its telemetry, must not meet the next call: on two
cores it would be measured with it. Runs of the command rest longer still, a second from start to start."""
TIMEOUTS = Timeouts(connect_s=5, idle_s=10, total_s=30, ready_s=30)


class GoldenEngine:
    """Offers the golden server's adapter as an engine."""

    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        """Offer the engine `golden`."""
        return [Provided("golden", "the golden server", "weeyuga_core.testing.golden_adapter:GoldenAdapter")]


@asynccontextmanager
async def brain(upstream: str, folder: Path, *options: str) -> AsyncIterator[str]:
    """A reference brain, from when it answers until the block ends."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def health() -> Health:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                await http.get(url, timeout=1)
            except httpx.HTTPError as error:
                return Health("down", str(error))
        return Health("ready")

    argv = (sys.executable, "-P", str(BRAIN), "--port", str(port), "--upstream", f"golden={upstream}", *options)
    server = await start(LaunchSpec(argv=argv), port=port, log_path=folder / f"{port}.log", health=health, ready_s=30)
    try:
        yield url
    finally:
        await server.stop()


def cell(endpoint: str, engine: str, **changes: Any) -> Cell:
    """A cell of the golden server's script."""
    known: dict[str, Any] = {"options": SCRIPT, "timeouts": TIMEOUTS}
    return Cell(id=f"here:{engine}:m", node="here", engine=engine, label="m", endpoint=endpoint, **known | changes)


async def pairs(direct_url: str, routed_url: str, number: int, folder: Path) -> Overhead:
    """That many pairs."""
    direct = cell(direct_url, "golden")
    routed = cell(routed_url, "brain-routed", routes=direct.id)
    plan = RunPlan(
        cells=(direct, routed),
        prompts=(PROMPT,),
        steps=schedule.paired([direct, routed], [PROMPT], pairs=number),
        pace_s=PACE_S,
        brain_hosts=("127.0.0.1",),
        routed_to=(direct,),
    )
    request = RunRequest(plan=plan, cells_path=folder / "cells.yaml", out_dir=folder, force_load=True)
    outcome = await execute(request, plugins.load([("benchmark", GoldenEngine())]), quiet)
    ledger = reader.read(outcome.ledger_path)
    (found,) = overheads(ledger.cells, ledger.calls)
    return found


def quiet(event: ProgressEvent) -> None:
    """Nobody watches."""


async def measure(number: int, delay_ms: float, folder: Path) -> dict[str, Overhead]:
    """Both comparisons."""
    async with GoldenServer() as golden, brain(golden.url, folder) as plain:
        cost = await pairs(golden.url, plain, number, folder)
        async with brain(golden.url, folder, "--delay-ms", str(delay_ms)) as late:
            injected = await pairs(plain, late, number, folder)
    return {"reference brain": cost, f"{delay_ms:g} ms injected": injected}


def main() -> int:
    """Print both and say whether the delay was resolved."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--delay-ms", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="weeyuga-routing-") as folder:
            found = asyncio.run(measure(given.pairs, given.delay_ms, Path(folder)))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if given.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}, indent=2))
    else:
        for name, one in found.items():
            for figure, difference in (("first delta", one.first_delta), ("total", one.total)):
                print(f"{name:>16}  {figure:<11}  {signed(difference.estimate_ms)} ms  95 % {span(difference)} ms")
    *_, injected = found.values()
    resolved = injected.first_delta.resolved
    word = "resolved" if resolved else "NOT resolved"
    load = f"load average {os.getloadavg()[0]:.2f}"
    print(f"{given.delay_ms:g} ms {word} with {given.pairs} pairs; {load}", file=sys.stderr)
    return 0 if resolved else 1


if __name__ == "__main__":
    sys.exit(main())
