"""`weeyuga-bench calibrate`: how right are this harness's figures on this host?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weeyuga_core.cli._options import json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from weeyuga_core.model.calibration import Calibration, Errors

HEADS = (
    "streams",
    "calls",
    "chunks",
    "TTFT error ms",
    "per-chunk error ms",
    "total error ms",
    "CPU ms/1,000",
    "lag p99/max ms",
    "coalesced",
)
RUNG_HEADS = ("asked chunks/s", "streamed", "per-chunk error ms", "server late ms", "CPU ms/1,000")


@click.command()
@click.option("--quick", is_flag=True, help="A rough one, under 15 s instead of under 60 s.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there; runs do not look there.")
@click.option("--kernel-stamps", is_flag=True, help="With the kernel's receive stamps (Linux): for runs that use them.")
@json_flag()
def calibrate(quick: bool, out: Path | None, kernel_stamps: bool, as_json: bool) -> int:
    """Measure how right this harness's figures are on this host.

    Runs the harness against a server whose real write times are known, at 1, 8 and 64 streams, and finds the highest
    rate that it can follow. Runs on this host quote the result and are held to it.
    """
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.measure import kernel
    from weeyuga_core.provenance.lock import HostLock
    from weeyuga_core.run import calibration, calibration_file

    if kernel_stamps and (why_not := kernel.unavailable()) is not None:
        raise UsageError(f"--kernel-stamps: {why_not}", hint="leave it out: this process's own stamps serve everywhere")
    programme = calibration.QUICK if quick else calibration.FULL
    with HostLock("calibration"):
        found = run_to_end(calibration.calibrate(programme, say, kernel_stamps=kernel_stamps))
    path = out or calibration_file.calibration_path(found.host, found.stamp_point)
    calibration_file.save(found, path)
    warnings = [] if found.own_core else ["the server had no core of its own, so the errors hold its delays as well"]
    if calibration.was_busy(found):
        warnings.append("this host was busy meanwhile: calibrate again when it is not")
    if as_json:
        emit_json("weeyuga.calibration.v1", found.as_mapping(), warnings=warnings)
    else:
        click.echo(shown(found))
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"written to {path}{'' if out is None else ', where no run looks'}")
    return ExitCode.OK


def shown(found: Calibration) -> str:
    """The page: levels, ladder, what was found and what is promised. Errors are p50 / p95 / p99."""
    return "\n".join(_page(found))


def _page(found: Calibration) -> Iterator[str]:
    rate = found.levels[0].chunks_per_sec
    core = "on a core of its own" if found.own_core else "on the cores that the client uses too"
    yield f"{found.host}, {found.python}; {rate:g} chunks/s in each stream; the server {core}"
    whose = "the kernel's receive stamp" if found.stamp_point == "kernel" else "client's stamp"
    yield f"{whose} minus the server's write, p50 / p95 / p99:"
    yield ""
    yield table(HEADS, _levels(found))
    yield ""
    yield table(RUNG_HEADS, _rungs(found))
    yield ""
    yield _ceiling(found)
    promises = found.promises
    yield (
        f"promised to runs on this host: loop lag up to {_ms(promises.lag_ns)} ms, "
        f"{promises.coalesced_share:.1%} coalesced deltas"
    )
    yield found.summary


def _levels(found: Calibration) -> Iterator[tuple[object, ...]]:
    for level in found.levels:
        yield (
            level.streams,
            level.calls,
            level.chunks,
            _errors(level.first_delta),
            _errors(level.per_chunk),
            _errors(level.total),
            level.cpu_ms_per_1000,
            f"{_ms(level.lag_p99_ns)} / {_ms(level.lag_max_ns)}",
            f"{level.coalesced_share:.2%}",
        )


def _rungs(found: Calibration) -> Iterator[tuple[object, ...]]:
    for rung in found.ceiling.rungs:
        yield (
            f"{rung.asked_chunks_per_sec:,.0f}",
            f"{rung.chunks_per_sec:,.0f}",
            _errors(rung.per_chunk),
            _errors(rung.server_late),
            rung.cpu_ms_per_1000,
        )


def _ceiling(found: Calibration) -> str:
    ceiling = found.ceiling
    rate = "no rate of the ladder" if ceiling.chunks_per_sec is None else f"{ceiling.chunks_per_sec:,.0f} chunks/s"
    why = {
        "client": f"above it the client's per-chunk p99 exceeds {_ms(ceiling.bound_ns)} ms",
        "server": "above it the server cannot keep its own schedule: the client may do more",
        "ladder": "the ladder ends there: the client may do more",
        "time": "the time was up: the client may do more",
    }[ceiling.limit]
    return f"follows {rate} at {ceiling.streams} streams; {why}"


def _errors(errors: Errors) -> str:
    return " / ".join(_ms(ns) for ns in (errors.p50_ns, errors.p95_ns, errors.p99_ns))


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.2f}"
