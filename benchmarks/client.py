"""This harness beside other clients, on a server whose real write times are known; prints Markdown tables.

    python benchmarks/client.py [--quick] [--realtime] [--only ours,raw_sockets]

Clients take turns, each in a fresh process on a core of its own where the machine has two. Every figure is the second
best of three rounds: what holds in two of three. Under 8 minutes; --quick makes one short round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attrs import asdict

from weeyuga_core.measure import kernel
from weeyuga_core.model.calibration import Rung
from weeyuga_core.run.calibration import FOLLOWING_NS, LADDER_STREAMS, RUNG_TRIES, fault_of, rung_load, streamed_per_sec
from weeyuga_core.run.trial import Load
from weeyuga_core.run.truth import Deviations, SeenCall, at, deviations, errors_of
from weeyuga_core.testing.golden_process import GoldenServer
from weeyuga_core.testing.golden_script import GoldenScript

HERE = Path(__file__).parent / "clients"
KERNEL = "ours_kernel"
NAMES = {
    "ours": "**this harness**, real runner and records",
    KERNEL: "the same with `--kernel-stamps`",
    "httpx_lines": "`httpx`, `aiter_lines`",
    "aiohttp_lines": "`aiohttp`, lines",
    "raw_sockets": "raw sockets, `selectors`",
    "reference": "C, epoll, nothing parsed",
}
PROGRAM = "WEEYUGA_REFERENCE_CLIENT"
LIMIT_S = 450
CLIENT_LIMIT_S = 60
ROUNDS = 3
RATES = (2_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000)
AIMS = {
    1: {"ttft p50": 0.25, "ttft p99": 0.4, "chunk p50": 0.3, "chunk p99": 0.4, "total p50": 0.5, "total p99": 0.8}
    | {"CPU": 250.0, "RSS": 60.0},
    64: {"ttft p50": 0.05, "ttft p99": 0.3, "chunk p50": 0.06, "chunk p99": 0.4, "total p50": 0.3, "total p99": 1.5}
    | {"CPU": 40.0, "RSS": 60.0},
    256: {"ttft p50": 0.05, "ttft p99": 0.6, "chunk p50": 0.05, "chunk p99": 0.8, "total p50": 0.3, "total p99": 1.5}
    | {"CPU": 25.0, "RSS": 60.0},
}
"""Streams -> the figures aimed at: ms, ms of CPU per 1,000 chunks, MB."""
KERNEL_AIM = 0.05
"""p99 of the per-chunk error with the kernel's stamps, ms."""
RATE_AIM = 40_000


class Place(NamedTuple):
    """Where client and server run, and whether they go before everything else on the machine."""

    client_cpu: int | None
    server_cpu: int | None
    realtime: bool


class Result(NamedTuple):
    """One client under one load: figures by name, and how much of the cores others took meanwhile (0 to 1)."""

    figures: dict[str, float | None]
    others: float | None


class Machine:
    """CPU time that is neither ours nor our children's, where the system tells."""

    def __init__(self, server_pid: int) -> None:
        self._server = server_pid
        self._before = self._now()

    def others(self) -> float | None:
        """Share of all cores that others took since this was made."""
        if self._before is None or (now := self._now()) is None:
            return None
        busy, total, ours = (after - before for after, before in zip(now, self._before, strict=True))
        return max(0.0, busy - ours) / total if total else None

    def _now(self) -> tuple[float, float, float] | None:
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        hertz = os.sysconf("SC_CLK_TCK")
        times = os.times()
        server = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        ours = times.user + times.system + times.children_user + times.children_system
        return (
            (sum(ticks) - ticks[3] - ticks[4]) / hertz,
            sum(ticks) / hertz,
            ours + (int(server[11]) + int(server[12])) / hertz,
        )


class Bench:
    """Runs clients against one server."""

    def __init__(self, server: GoldenServer, where: Place) -> None:
        self._server = server
        self._where = where

    def once(self, name: str, load: Load) -> tuple[Deviations, dict[str, Any]] | None:
        """Run a client in a fresh process; None when it was not through in time."""
        script = {key: value for key, value in asdict(load.script).items() if value != asdict(GoldenScript())[key]}
        task = {
            "url": self._server.url,
            "streams": load.streams,
            "calls": load.calls,
            "script": script,
            "cpu": self._where.client_cpu,
            "realtime": self._where.realtime,
            "kernel_stamps": name == KERNEL,
        }
        argv = [sys.executable, str(HERE / f"{name.removesuffix('_kernel')}.py"), json.dumps(task)]
        try:
            done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=CLIENT_LIMIT_S, check=True)
        except subprocess.TimeoutExpired:
            return None
        report = json.loads(done.stdout)
        calls = [SeenCall(ident=i, start_ns=s, deltas=d, end_ns=e) for i, s, d, e in report["calls"]]
        return deviations(((call, self._server.log(call.ident)) for call in calls), load.script), report

    def measure(self, name: str, load: Load) -> Result:
        """One client under one load."""
        machine = Machine(self._server.pid)
        answer = self.once(name, load)
        others = machine.others()
        if answer is None:
            return Result({}, others)
        found, report = answer
        kinds = {"ttft": found.first_delta, "chunk": found.per_chunk, "total": found.total, "start": found.from_start}
        figures: dict[str, float | None] = {
            f"{kind} p{p}": at(values, p) / 1e6 for kind, values in kinds.items() for p in (50, 99)
        }
        figures["CPU"] = report["cpu_ns"] / 1e6 / len(found.per_chunk) * 1_000
        figures["RSS"] = None if report["peak_rss_bytes"] is None else report["peak_rss_bytes"] / 1e6
        figures["server late p99"] = at(found.server_late, 99) / 1e6
        return Result(figures, others)

    def ceiling(self, name: str, rates: Sequence[int]) -> list[Rung]:
        """Up the ladder until somebody fails twice on one rung."""
        rungs: list[Rung] = []
        for rate in rates:
            for _ in range(RUNG_TRIES):
                rung = self._rung(name, rate)
                if rung is None or fault_of(rung) is None:
                    break
            if rung is None:
                break
            rungs.append(rung)
            if fault_of(rung) is not None:
                break
        return rungs

    def _rung(self, name: str, rate: int) -> Rung | None:
        answer = self.once(name, rung_load(rate, 1.0))
        if answer is None:
            return None
        found, report = answer
        return Rung(
            asked_chunks_per_sec=rate,
            chunks_per_sec=round(streamed_per_sec(deltas for _, _, deltas, _ in report["calls"])),
            per_chunk=errors_of(found.per_chunk),
            server_late=errors_of(found.server_late),
            cpu_ms_per_1000=report["cpu_ns"] / 1e6 / len(found.per_chunk) * 1_000,
        )


def loads(quick: bool) -> dict[int, Load]:
    """Streams -> what they are given: 100 chunks/s each."""
    script = GoldenScript(chunks=50, interval_us=10_000, first_delay_us=100_000)
    calls = {1: 2, 64: 1, 256: 1} if quick else {1: 10, 64: 4, 256: 2}
    return {streams: Load(streams=streams, calls=n, script=script) for streams, n in calls.items()}


def place(realtime: bool) -> Place:
    """Core 0 for the client and 1 for the server, or whatever two there are."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return Place(cores[0], cores[1], realtime) if len(cores) > 1 else Place(None, None, realtime)


def compiled(folder: Path) -> bool:
    """Whether the reference in C could be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    program = folder / "reference"
    if compiler is None or not sys.platform.startswith("linux"):
        return False
    os.environ[PROGRAM] = str(program)
    return subprocess.run([compiler, "-O2", "-o", program, HERE / "reference.c"], check=False).returncode == 0


def second_best(results: Sequence[Result], figure: str) -> float | None:
    """What holds in two of three rounds; with fewer rounds, the best."""
    values = sorted(value for result in results if (value := result.figures.get(figure)) is not None)
    return values[min(1, len(values) - 1)] if values else None


# --- tables ----------------------------------------------------------------------------------------------------------

COLUMNS = {
    "TTFT": ("ttft p50", "ttft p99"),
    "per chunk": ("chunk p50", "chunk p99"),
    "total": ("total p50", "total p99"),
    "TTFT, own clock": ("start p50", "start p99"),
}


def load_table(streams: int, results: dict[str, list[Result]]) -> Iterator[str]:
    """One load: a row per client, then the aims."""
    heads = ["client", *(f"{head} p50 / p99" for head in COLUMNS), "CPU", "x C", "RSS MB"]
    yield f"### {streams} stream{'s' if streams > 1 else ''}, 100 chunks/s each"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    least = second_best(results.get("reference", []), "CPU")
    for name, found in results.items():
        cells = [f"{number(second_best(found, a))} / {number(second_best(found, b))}" for a, b in COLUMNS.values()]
        cpu, rss = second_best(found, "CPU"), second_best(found, "RSS")
        times = f"{cpu / least:.1f}" if cpu and least else "-"
        yield f"| {NAMES[name]} | {' | '.join(cells)} | {number(cpu)} | {times} | {number(rss)} |"
    yield ""


def aims_table(results: dict[int, dict[str, list[Result]]], ceilings: dict[str, list[Rung]]) -> Iterator[str]:
    """This harness's figures beside what was aimed at."""
    yield "### This harness beside its aims"
    yield ""
    yield "| streams | figure | measured | aim | |"
    yield "|---|---|---|---|---|"
    for streams, aims in AIMS.items():
        for figure, aim in aims.items():
            value = second_best(results[streams].get("ours", []), figure)
            if value is not None:
                yield f"| {streams} | {figure} | {number(value)} | {aim:g} | {'hit' if value <= aim else '**miss**'} |"
        value = second_best(results[streams].get(KERNEL, []), "chunk p99")
        if value is not None:
            said = "hit" if value <= KERNEL_AIM else "**miss**"
            yield f"| {streams} | chunk p99, kernel stamps | {number(value)} | {KERNEL_AIM:g} | {said} |"
    held = [rung for rung in ceilings.get("ours", []) if fault_of(rung) is None]
    if held:
        rate = held[-1].chunks_per_sec
        said = "hit" if held[-1].asked_chunks_per_sec >= RATE_AIM else "**miss**"
        yield f"| {LADDER_STREAMS} | chunks/s, p99 per chunk <= 1 ms | {rate:,.0f} | {RATE_AIM:,} | {said} |"
    yield ""


def ceiling_table(ceilings: dict[str, list[Rung]]) -> Iterator[str]:
    """The highest rate of each client, and what stopped it."""
    yield f"### Highest rate at {LADDER_STREAMS} streams (per-chunk p99 <= {FOLLOWING_NS / 1e6:g} ms)"
    yield ""
    yield "| client | chunks/s | per chunk p99 there | CPU there | the next rung |"
    yield "|---|---|---|---|---|"
    for name, rungs in ceilings.items():
        held = [rung for rung in rungs if fault_of(rung) is None]
        failed = next((rung for rung in rungs if fault_of(rung) is not None), None)
        rate = f"{held[-1].chunks_per_sec:,.0f}" if held else "none"
        error = number(held[-1].per_chunk.p99_ns / 1e6) if held else "-"
        cpu = number(held[-1].cpu_ms_per_1000) if held else "-"
        yield f"| {NAMES[name]} | {rate} | {error} | {cpu} | {_why(failed)} |"
    yield ""


def _why(failed: Rung | None) -> str:
    if failed is None:
        return "none higher was tried"
    client, server = number(failed.per_chunk.p99_ns / 1e6), number(failed.server_late.p50_ns / 1e6)
    late = f"client's p99 {client} ms, server's median {server} ms"
    return f"{failed.asked_chunks_per_sec:,.0f}: the {fault_of(failed)} was late ({late})"


def number(value: float | None) -> str:
    """Three figures, at most two decimals."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


# --- everything ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--realtime", action="store_true", help="SCHED_FIFO for client and server (Linux, root)")
    parser.add_argument("--only", default=",".join(NAMES), help="clients, comma-separated")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        left_out = {KERNEL} if kernel.unavailable() else set()
        left_out |= set() if compiled(Path(folder)) else {"reference"}
        names = [name for name in asked.only.split(",") if name not in left_out]
        where = place(asked.realtime)
        with GoldenServer(cpu=where.server_cpu) as server:
            if asked.realtime:
                os.sched_setscheduler(server.pid, os.SCHED_FIFO, os.sched_param(10))
            _run(Bench(server, where), names, where, quick=asked.quick)


def _run(bench: Bench, names: list[str], where: Place, *, quick: bool) -> None:
    started = time.monotonic()
    wanted = loads(quick)
    results: dict[int, dict[str, list[Result]]] = {streams: {name: [] for name in names} for streams in wanted}
    rounds = 0
    for _ in range(1 if quick else ROUNDS):
        if rounds and (time.monotonic() - started) * (1 + 1 / rounds) > LIMIT_S * 0.75:
            break
        for streams, load in wanted.items():
            for name in names:
                results[streams][name].append(bench.measure(name, load))
        rounds += 1
        print(f"round {rounds} done after {time.monotonic() - started:.0f} s", file=sys.stderr)
    ceilings: dict[str, list[Rung]] = {}
    for name in names:
        if time.monotonic() - started < LIMIT_S - CLIENT_LIMIT_S / 2:
            ceilings[name] = bench.ceiling(name, RATES[2::3] if quick else RATES)
    print("\n".join(_page(results, ceilings, where, rounds)))


def _page(
    results: dict[int, dict[str, list[Result]]], ceilings: dict[str, list[Rung]], where: Place, rounds: int
) -> Iterator[str]:
    others = [r.others for by in results.values() for found in by.values() for r in found if r.others is not None]
    late = [v for by in results.values() for f in by.values() for r in f if (v := r.figures.get("server late p99"))]
    cores = "client and server on a core each" if where.server_cpu is not None else "client and server share the cores"
    yield f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}; "
    yield f"{cores}{', SCHED_FIFO' if where.realtime else ''}; {rounds} round{'s' if rounds > 1 else ''}. "
    if others:
        mean = sum(others) / len(others)
        yield f"Other work took {mean:.0%} of the cores on average, {max(others):.0%} at the worst. "
    yield f"The server missed its own schedule by {number(min(late))} to {number(max(late))} ms (p99 of each load)."
    yield ""
    yield "Errors in ms: the client's stamp minus the server's write. CPU in ms per 1,000 chunks."
    yield ""
    for streams, by_name in results.items():
        yield from load_table(streams, by_name)
    yield from ceiling_table(ceilings)
    yield from aims_table(results, ceilings)


if __name__ == "__main__":
    main()
