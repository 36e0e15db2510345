"""Runs of the real runner against a golden server: what a test of the runner needs, in one place."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weeyuga_core import plugins
from weeyuga_core.hookspecs import Provided, hookimpl
from weeyuga_core.ledger import reader
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.model.plan import Cell, Prompt, RunPlan, Timeouts
from weeyuga_core.run import schedule
from weeyuga_core.run.progress import ProgressEvent
from weeyuga_core.run.runner import Outcome
from weeyuga_core.run.start import RunRequest, execute

PROMPT = Prompt(id="P-TEST", text="hi\n", max_tokens=8)
QUICK = {"chunks": 4, "interval_us": 1_000, "first_delay_us": 1_000}
PATIENT = Timeouts(connect_s=60, idle_s=60, total_s=200, ready_s=60)
"""Limits that only a call that hangs exceeds, also on a machine that leaves a process without CPU for seconds."""


class GoldenPlugin:
    """Offers the golden server's adapter as the engine `golden`."""

    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [Provided("golden", "the golden server", "weeyuga_core.testing.golden_adapter:GoldenAdapter")]


def installed(*extra: object) -> plugins.Plugins:
    """What is installed, the golden plugin included."""
    named = [(f"test-plugin-{number}", plugin) for number, plugin in enumerate([GoldenPlugin(), *extra])]
    return plugins.load(named)


def cell(endpoint: str, *, name: str = "g", engine: str = "golden", **changes: Any) -> Cell:
    """A cell of the golden engine; the options are its script."""
    known = {"options": QUICK, "warm_n": 2, "timeouts": PATIENT}
    return Cell(
        id=f"here:{engine}:{name}", node="here", engine=engine, label=name, endpoint=endpoint, **(known | changes)
    )


def plan(cells: Sequence[Cell], *, prompts: Sequence[Prompt] = (PROMPT,), **changes: Any) -> RunPlan:
    """A plan without pace: the golden server needs none."""
    steps = schedule.blocks(cells, prompts, streams=changes.get("concurrency", 1))
    return RunPlan(cells=tuple(cells), prompts=tuple(prompts), steps=steps, **({"pace_s": 0.0} | changes))


def request(folder: Path, planned: RunPlan, **changes: Any) -> RunRequest:
    """A request whose cells file lies in `folder`, on whatever load this machine has."""
    return RunRequest(
        plan=planned,
        cells_path=folder / "cells.yaml",
        out_dir=folder / "runs",
        **({"force_load": True} | changes),
    )


class Seen:
    """Collects progress events."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def __call__(self, event: ProgressEvent) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def run(
    folder: Path, planned: RunPlan, *, extra: Sequence[object] = (), progress: Any = None, **changes: Any
) -> tuple[Outcome, Ledger]:
    """Run the plan and read its ledger back."""
    outcome = await execute(request(folder, planned, **changes), installed(*extra), progress or Seen())
    return outcome, reader.read(outcome.ledger_path)


def git(folder: Path, *words: str) -> str:
    """Run git in `folder` as somebody."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout
