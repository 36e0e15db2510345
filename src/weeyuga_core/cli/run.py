"""`weeyuga-bench run`: measure the matrix into a ledger."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from weeyuga_core.cli._options import gate_flag, json_flag
from weeyuga_core.cli._output import emit_json, say, table
from weeyuga_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from weeyuga_core.model.plan import RunPlan
    from weeyuga_core.run.runner import Outcome
    from weeyuga_core.run.start import RunRequest


PAIRS = 30
"""The interval of so many pairs reaches some 0.4 standard deviations of one difference to either side."""


@click.command()
@click.option("--cells-yaml", type=click.Path(path_type=Path), default=Path("cells.yaml"), show_default=True)
@click.option("--prompts-yaml", type=click.Path(path_type=Path), help="More prompts; the frozen ones are always there.")
@click.option("--cells", "cell_ids", multiple=True, metavar="ID", help="Only these cells (repeatable, globs).")
@click.option("--prompts", "prompt_ids", multiple=True, metavar="ID", help="Only these prompts (repeatable, globs).")
@click.option("--smoke/--full", default=False, help="One cell, one prompt, one call; or the whole plan (default).")
@click.option("--warm-n", type=click.IntRange(min=0), help="Warm calls per cell and prompt, for every cell.")
@click.option(
    "--schedule",
    type=click.Choice(["blocks", "paired"]),
    default="blocks",
    show_default=True,
    help="One cold and N warm calls per cell and prompt; or routed cells in pairs with their direct ones.",
)
@click.option("--pairs", type=click.IntRange(1, 10_000), help=f"Pairs per prompt, with --schedule paired [{PAIRS}].")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Streams at once per cell, each making the warm calls one after the other; for cells that say parallel: true.",
)
@click.option("--kernel-stamps", is_flag=True, help="Let the kernel stamp what comes in (Linux, plain HTTP).")
@click.option("--sink", "sinks", multiple=True, metavar="NAME[=TARGET]", help="Copy results there too (repeatable).")
@click.option("--out", "out_dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option(
    "--resume",
    metavar="LEDGER",
    allow_from_autoenv=False,  # a variable that somebody exported once must not turn every run into that one
    help="Go on with a run that died or was interrupted: the same options as before, and its ledger.",
)
@click.option("--dry-run", is_flag=True, help="Print the planned calls and the estimated time; measure nothing.")
@click.option("--wait-load", "wait_load_s", type=click.FloatRange(min=0), metavar="S", help="Wait for a busy machine.")
@gate_flag("--allow-dirty", help="Run on uncommitted changes; they are listed in the ledger.")
@gate_flag("--force-load", help="Run on a busy machine; the run is marked unreliable.")
@gate_flag("--outside-quiet-hours", help="Run on a node outside the hours its owner gave.")
@gate_flag("--for-publication", help="Refuse to start when any cell fails its health check.")
@json_flag()
def run(
    cells_yaml: Path,
    prompts_yaml: Path | None,
    cell_ids: tuple[str, ...],
    prompt_ids: tuple[str, ...],
    smoke: bool,
    warm_n: int | None,
    schedule: str,
    pairs: int | None,
    concurrency: int,
    kernel_stamps: bool,
    sinks: tuple[str, ...],
    out_dir: Path,
    resume: str | None,
    dry_run: bool,
    wait_load_s: float | None,
    allow_dirty: bool,
    force_load: bool,
    outside_quiet_hours: bool,
    for_publication: bool,
    as_json: bool,
) -> int:
    """Measure the matrix of cells and prompts into a ledger.

    Per cell and prompt one cold and N warm calls, each a durable line of OUT/<run id>.jsonl. With --schedule paired:
    for each routed cell and prompt N pairs of warm calls, one direct and one through the router.

    LEDGER is a file, or the first letters of a run id whose ledger lies in OUT; what it holds whole is not measured
    again.
    """
    from weeyuga_core.cli.report import find_ledger
    from weeyuga_core.run.start import RunRequest

    if schedule == "paired" and (smoke or warm_n is not None):
        raise UsageError("--schedule paired goes with neither --smoke nor --warm-n", hint="--pairs N says how many")
    if schedule != "paired" and pairs is not None:
        raise UsageError("--pairs: only --schedule paired measures in pairs")
    if concurrency > 1 and (schedule == "paired" or smoke):
        raise UsageError("--concurrency goes with neither --smoke nor --schedule paired: both make one call at a time")
    count = (pairs or PAIRS) if schedule == "paired" else None
    request = RunRequest(
        plan=_plan(
            cells_yaml,
            prompts_yaml,
            cell_ids,
            prompt_ids,
            smoke=smoke,
            warm_n=warm_n,
            pairs=count,
            streams=concurrency,
        ),
        cells_path=cells_yaml,
        out_dir=out_dir,
        sinks=tuple(parse_sink(text) for text in sinks),
        allow_dirty=allow_dirty,
        force_load=force_load,
        wait_load_s=wait_load_s,
        outside_quiet_hours=outside_quiet_hours,
        for_publication=for_publication,
        resume=find_ledger(resume, out_dir) if resume is not None else None,
        kernel_stamps=kernel_stamps,
    )
    return _dry_run(request, as_json=as_json) if dry_run else _run(request, as_json=as_json)


def _plan(
    cells_yaml: Path,
    prompts_yaml: Path | None,
    cell_ids: tuple[str, ...],
    prompt_ids: tuple[str, ...],
    *,
    smoke: bool,
    warm_n: int | None,
    pairs: int | None,
    streams: int,
) -> RunPlan:
    from weeyuga_core import config
    from weeyuga_core.model.plan import RunPlan
    from weeyuga_core.run import schedule, select

    loaded = config.load(cells_yaml, prompts_yaml)
    cells = select.select_cells(loaded.cells, cell_ids)
    if warm_n is not None:
        cells = tuple(attrs.evolve(cell, warm_n=warm_n) for cell in cells)
    prompts = select.select_prompts(loaded.prompts, prompt_ids)
    if pairs is not None:
        cells = select.paired_cells(cells, loaded.cells)
        steps = schedule.paired(cells, prompts, pairs=pairs)
        cells = schedule.with_planned_warm_n(cells, steps)
    else:
        select.check_parallel(cells, streams)
        steps = schedule.smoke(cells, prompts) if smoke else schedule.blocks(cells, prompts, streams=streams)
    used = {step.cell_id for step in steps}
    return RunPlan(
        cells=tuple(cell for cell in cells if cell.id in used) if smoke else cells,
        prompts=prompts[:1] if smoke else prompts,
        steps=steps,
        brain_hosts=loaded.brain_hosts,
        quiet_hours=loaded.quiet_hours,
        smoke=smoke,
        concurrency=streams,
        routed_to=select.direct_cells(cells, loaded.cells),
    )


def parse_sink(text: str) -> tuple[str, str | None]:
    """Name and target of `--sink NAME[=TARGET]`. Raises UsageError."""
    name, found, target = text.partition("=")
    if not name or (found and not target):
        raise UsageError(f"--sink {text}: expected NAME or NAME=TARGET", hint="for example --sink markdown=baseline.md")
    return name, target or None


def _dry_run(request: RunRequest, *, as_json: bool) -> int:
    from weeyuga_core.run.eta import from_history
    from weeyuga_core.run.resume import look, past

    plan, planned, folder = request.plan, f"{len(request.plan.steps)} calls planned", request.out_dir
    if request.resume is not None:
        plan = past(request.resume, look(request.resume), plan, kernel_stamps=request.kernel_stamps).of(plan)
        planned, folder = f"{len(plan.steps)} of {planned} are left", request.resume.parent
    seconds = from_history(folder, plan.pace_s).seconds(plan.steps)
    if as_json:
        emit_json(
            "weeyuga.dry-run.v1",
            {"steps": [attrs.asdict(step) for step in plan.steps], "estimate_s": seconds, "pace_s": plan.pace_s},
        )
        return ExitCode.OK
    rows = [(n + 1, step.cell_id, step.prompt_id, step.phase, step.run_idx) for n, step in enumerate(plan.steps)]
    click.echo(table(("call", "cell", "prompt", "phase", "run_idx"), rows))
    from weeyuga_core.cli._progress import duration

    known = f"about {duration(seconds)}, from earlier runs" if seconds is not None else "no earlier run to judge by"
    say(f"{planned}; {known}; nothing was measured")
    return ExitCode.OK


def _run(request: RunRequest, *, as_json: bool) -> int:
    from weeyuga_core import plugins
    from weeyuga_core.cli._async import run_to_end
    from weeyuga_core.cli._progress import watcher
    from weeyuga_core.run.start import execute

    with watcher() as progress:
        outcome = run_to_end(execute(request, plugins.load(), progress))
    go_on = _resume_command(request, outcome)
    for problem in outcome.sink_problems:
        say(f"warning: {problem}")
    if as_json:
        _emit(outcome, go_on)
    say(_last_line(outcome, go_on))
    return outcome.exit_code


def _resume_command(request: RunRequest, outcome: Outcome) -> str | None:
    """What to type to go on with an interrupted run: what was typed, and its ledger; None for any other run."""
    from weeyuga_core.cli import PROG, TYPED

    if not outcome.interrupted:
        return None
    ledger = () if request.resume is not None else ("--resume", str(outcome.ledger_path))
    return shlex.join([PROG, *click.get_current_context().meta[TYPED], *ledger])


def _emit(outcome: Outcome, go_on: str | None) -> None:
    data = attrs.asdict(outcome, filter=lambda field, _: field.name not in ("verdict", "sink_problems"))
    data["ledger_path"] = str(outcome.ledger_path)
    data["resume_command"] = go_on
    emit_json(
        "weeyuga.run.v1",
        data,
        ok=outcome.exit_code == ExitCode.OK,
        verdict=outcome.verdict,
        warnings=outcome.sink_problems,
    )


def _last_line(outcome: Outcome, go_on: str | None) -> str:
    reasons = f" ({'; '.join(outcome.reasons)})" if outcome.reasons else ""
    skipped = f", {outcome.skipped} cells skipped" if outcome.skipped else ""
    interrupted = "interrupted, the ledger is kept; " if outcome.interrupted else ""
    counts = f"{outcome.calls} calls, {outcome.errors} errors{skipped}"
    report = f"next: weeyuga-bench report {shlex.quote(str(outcome.ledger_path))}"
    then = f"{report}; to go on: {go_on}" if go_on else report
    return f"{interrupted}{outcome.verdict}{reasons}: {counts}; {then}"
