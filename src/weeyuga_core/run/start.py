"""Everything between the command line and the first record: gates, probes, the meta record, the runner."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
from attrs import frozen

from weeyuga_core.errors import NothingToDo
from weeyuga_core.interfaces import Health, ResultSink, SinkTarget
from weeyuga_core.ledger.recover import recover
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.measure.client import MeasuringClient
from weeyuga_core.measure.clock import utc_now
from weeyuga_core.model.plan import Cell, RunPlan
from weeyuga_core.model.records import HARNESS_VERSION, MetaRecord, ResumeRecord
from weeyuga_core.model.tags import LLAMACPP_URL_ENV, ROUTE_ENV
from weeyuga_core.plugins import Plugins
from weeyuga_core.provenance import gates
from weeyuga_core.provenance.git import GitFacts, git_facts
from weeyuga_core.provenance.host import host_facts, load_avg
from weeyuga_core.provenance.lock import HostLock
from weeyuga_core.run import calibration_file, resume
from weeyuga_core.run.eta import from_history
from weeyuga_core.run.progress import Notice, Progress, RunStarted, Waiting
from weeyuga_core.run.resume import Past
from weeyuga_core.run.runner import Outcome, Runner
from weeyuga_core.run.session import CellSession, Tools
from weeyuga_core.sinks.delivery import Delivery

DISTRIBUTION = "weeyuga-bench"
SINK_DEADLINE_S = 5.0
"""What one delivery may take between two calls: well inside the minute in which a cell stays warm."""


@frozen(kw_only=True)
class RunRequest:
    """What the operator asked for."""

    plan: RunPlan
    cells_path: Path
    out_dir: Path
    sinks: tuple[tuple[str, str | None], ...] = ()
    allow_dirty: bool = False
    force_load: bool = False
    wait_load_s: float | None = None
    outside_quiet_hours: bool = False
    for_publication: bool = False
    resume: Path | None = None
    """The ledger of the run to be taken up again; it stays where it is, whatever `out_dir` says."""
    kernel_stamps: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """The gate flags given, as typed."""
        given = {
            "--allow-dirty": self.allow_dirty,
            "--force-load": self.force_load,
            f"--wait-load {self.wait_load_s:g}" if self.wait_load_s is not None else "": self.wait_load_s is not None,
            "--outside-quiet-hours": self.outside_quiet_hours,
            "--for-publication": self.for_publication,
        }
        return tuple(flag for flag, on in given.items() if on)


@frozen(kw_only=True)
class _State:
    """What holds while the run is started, or taken up again."""

    git: GitFacts
    load: tuple[float, float, float]
    warnings: tuple[str, ...]
    calibration: Mapping[str, Any] | None


async def probe_all(sessions: Mapping[str, CellSession]) -> dict[str, Health]:
    """Ask every cell at once; each answers, or is down, within a second."""
    answers = await asyncio.gather(*(session.probe() for session in sessions.values()))
    return dict(zip(sessions, answers, strict=True))


@asynccontextmanager
async def open_sessions(
    cells: tuple[Cell, ...],
    plugins: Plugins,
    log_dir: Path,
    *,
    brain_hosts: tuple[str, ...] = (),
    concurrency: int = 1,
    routed_to: tuple[Cell, ...] = (),
) -> AsyncIterator[dict[str, CellSession]]:
    """A session for every enabled cell. Raises PluginError or UsageError where one cannot be had."""
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as http:
        tools = Tools(
            plugins=plugins,
            http=http,
            log_dir=log_dir,
            brain_hosts=brain_hosts,
            concurrency=concurrency,
            routed_to=routed_to,
        )
        sessions = {cell.id: CellSession(cell, tools) for cell in cells if cell.enabled}
        try:
            yield sessions
        finally:
            for session in sessions.values():
                await session.stop()


async def execute(request: RunRequest, plugins: Plugins, progress: Progress) -> Outcome:
    """Pass the gates, probe the cells and run the plan; or what is left of it, where a run is taken up again.

    Raises GateRefused before anything is written, PluginError and UsageError for what is not installed, and
    LedgerError when the ledger cannot be written; `resume` adds its own refusals.
    """
    if not request.plan.steps:
        raise NothingToDo("the plan holds no calls", hint="is every selected cell `enabled: false`?")
    earlier = resume.look(request.resume) if request.resume else None
    run_id = earlier.meta.benchmark_run_id if earlier else str(uuid.uuid4())
    ledger_path = request.resume or request.out_dir / f"{run_id}.jsonl"
    side_dir = ledger_path.with_suffix(".d")
    sinks = _sinks(request, plugins, ledger_path, side_dir)
    with HostLock(run_id):
        git = git_facts(request.cells_path.resolve().parent, out_dir=ledger_path.parent.resolve())
        past = _past(request.resume, request, git, plugins) if request.resume else None
        plan = past.of(request.plan) if past else request.plan
        cells = _cells_to_measure(plan, past)
        gates.check_dirty(git, request.allow_dirty)
        _check_quiet_hours(request, cells)
        load, warnings = await _check_load(request, progress)
        if git.note:
            progress(Notice(text=f"git: {git.note}"))
        async with open_sessions(
            cells,
            plugins,
            side_dir,
            brain_hosts=plan.brain_hosts,
            concurrency=plan.concurrency,
            routed_to=plan.routed_to,
        ) as sessions:
            probes = await probe_all(sessions)
            if request.for_publication or (past and past.ledger.meta.for_publication):
                down = [(cell_id, health.detail) for cell_id, health in probes.items() if health.state != "ready"]
                gates.check_publication(down)
            quoted = calibration_file.quote(kernel_stamps=request.kernel_stamps)
            if quoted.note:
                progress(Notice(text=quoted.note))
            state = _State(git=git, load=load, warnings=warnings, calibration=quoted.mapping)
            estimator = from_history(ledger_path.parent, plan.pace_s)
            again: ResumeRecord | None = None
            if past:
                meta = past.ledger.meta
                again = _resume(request, past, state, _set_torn_tail_aside(ledger_path, progress))
            else:
                meta = _meta(request, run_id, probes, plugins, state)
            with LedgerWriter.reopen(ledger_path) if past else LedgerWriter.create(ledger_path) as writer:
                progress(
                    RunStarted(
                        run_id=run_id,
                        ledger_path=str(ledger_path),
                        cells=len(sessions),
                        steps=len(plan.steps),
                        estimate_s=estimator.seconds(plan.steps),
                        resumed=past is not None,
                    )
                )
                async with MeasuringClient(kernel_stamps=request.kernel_stamps) as client:
                    runner = Runner(
                        plan,
                        run_id=run_id,
                        writer=writer,
                        delivery=Delivery(sinks, deadline_s=SINK_DEADLINE_S),
                        sessions=sessions,
                        probes=probes,
                        progress=progress,
                        estimator=estimator,
                        client=client,
                        promises=quoted.promises,
                        past=past,
                    )
                    return await runner.run(meta, resume=again)


def _past(path: Path, request: RunRequest, git: GitFacts, plugins: Plugins) -> Past:
    """What earlier parts of the run left, seen under the lock. Raises GateRefused, UsageError where it is another."""
    ledger = resume.look(path)
    resume.check_same(ledger.meta, git_sha=git.sha, host=host_facts().host, versions=_versions(request, plugins))
    return resume.past(path, ledger, request.plan, kernel_stamps=request.kernel_stamps)


def _cells_to_measure(plan: RunPlan, past: Past | None) -> tuple[Cell, ...]:
    """The cells that are asked whether they can be measured: all, or those with steps left."""
    wanted = {step.cell_id for step in plan.steps}
    return tuple(cell for cell in plan.cells if past is None or cell.id in wanted)


def _set_torn_tail_aside(path: Path, progress: Progress) -> str | None:
    """Cut a broken-off last line off the ledger, and tell; the name of the file that keeps it. Raises LedgerError."""
    torn = recover(path)
    if torn is None:
        return None
    progress(
        Notice(
            text=f"{path}:{torn.line_no}: the last line had broken off after {torn.bytes_len} bytes, which are kept in "
            f"{torn.moved_to}"
        )
    )
    return torn.moved_to


def _sinks(request: RunRequest, plugins: Plugins, ledger_path: Path, side_dir: Path) -> dict[str, ResultSink]:
    return {
        f"{name}={target}" if target else name: plugins.sink(name)(
            SinkTarget(
                target=target, ledger_path=str(ledger_path), side_dir=str(side_dir), resumed=request.resume is not None
            )
        )
        for name, target in request.sinks
    }


def _check_quiet_hours(request: RunRequest, cells: Sequence[Cell]) -> None:
    nodes = sorted({cell.node for cell in cells if cell.enabled})
    gates.check_quiet_hours(request.plan.quiet_hours, nodes, datetime.now(UTC), request.outside_quiet_hours)


async def _check_load(request: RunRequest, progress: Progress) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """The load average that was judged, and the warnings that it gives rise to."""
    if request.wait_load_s is not None:
        await gates.wait_for_load(
            request.wait_load_s,
            tell=lambda load1, left_s: progress(
                Waiting(why=f"the load average to fall from {load1:g} to {gates.MAX_LOAD:g}", limit_s=left_s)
            ),
        )
    load = load_avg()
    warning = gates.check_load(load[0], request.force_load)
    return load, (warning,) if warning else ()


def _resume(request: RunRequest, past: Past, state: _State, torn: str | None) -> ResumeRecord:
    now = utc_now()
    return ResumeRecord(
        benchmark_run_id=past.ledger.meta.benchmark_run_id,
        resumed_at_utc=now,
        load_avg=state.load,
        gap_s=resume.gap_s(past.ledger, now),
        flags=request.flags,
        warnings=state.warnings,
        git_dirty=state.git.dirty,
        git_dirty_files=state.git.files,
        steps_left=len(past.steps),
        torn=torn,
        calibration=state.calibration,
    )


def _meta(
    request: RunRequest, run_id: str, probes: Mapping[str, Health], plugins: Plugins, state: _State
) -> MetaRecord:
    plan, host = request.plan, host_facts()
    return MetaRecord(
        benchmark_run_id=run_id,
        git_sha=state.git.sha,
        git_dirty=state.git.dirty,
        harness_version=HARNESS_VERSION,
        started_at_utc=utc_now(),
        host=host.host,
        load_avg_start=state.load,
        env_route=os.environ.get(ROUTE_ENV),
        env_llamacpp_url=_without_credentials(os.environ.get(LLAMACPP_URL_ENV)),
        cells_planned=tuple(cell_id for cell_id, health in probes.items() if health.state != "down"),
        git_dirty_files=state.git.files,
        git_note=state.git.note,
        prompts={prompt.id: prompt.sha256 for prompt in plan.prompts},
        max_tokens={prompt.id: prompt.max_tokens for prompt in plan.prompts},
        steps_planned=len(plan.steps),
        plan_sha256=resume.plan_sha256(plan),
        warm_n=resume.planned_warm_n(plan),
        pace_s=plan.pace_s,
        smoke=plan.smoke,
        for_publication=request.for_publication,
        flags=request.flags,
        versions=_versions(request, plugins),
        python=host.python,
        platform=host.platform,
        cpu=host.cpu,
        cpu_count=host.cpu_count,
        memory_bytes=host.memory_bytes,
        plugins=plugins.run_metadata(plan),
        warnings=state.warnings,
        concurrency=plan.concurrency,
        calibration=state.calibration,
        kernel_stamps=request.kernel_stamps,
    )


def _versions(request: RunRequest, plugins: Plugins) -> dict[str, str]:
    """The harness and the distributions of the plugins in use."""
    plan = request.plan
    engines = {cell.engine for cell in (*plan.cells, *plan.routed_to) if cell.enabled}
    used = [plugins.engine_dist(name) for name in engines] + [plugins.sink_dist(name) for name, _ in request.sinks]
    return dict(sorted({DISTRIBUTION: metadata.version(DISTRIBUTION), **dict(used)}.items()))


def _without_credentials(url: str | None) -> str | None:
    return str(httpx.URL(url).copy_with(username=None, password=None, query=None)) if url else url
