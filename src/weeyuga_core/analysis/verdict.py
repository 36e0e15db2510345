"""Whether the numbers of a run may be published: a table of small rules over its records.

The runner judges a run before it writes the end record; whoever reads the ledger judges it again, so that a run
that died gets its verdict too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from weeyuga_core.analysis.blocks import Block, blocks, skipped
from weeyuga_core.analysis.notes import clip
from weeyuga_core.analysis.stats import success_interval
from weeyuga_core.measure import lateness
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, ResumeRecord, Verdict
from weeyuga_core.provenance import clockcheck, gates

if TYPE_CHECKING:
    from weeyuga_core.ledger.reader import TornTail

MIN_SUCCESS = 0.95
"""A (cell, prompt) with fewer successful warm calls is a red flag."""


@frozen(kw_only=True)
class Judgement:
    """The verdict, every reason against publishing, and what a reader should know besides."""

    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The verdict in one line, as `unreliable: this; that`."""
        return f"{self.verdict}: {'; '.join(self.reasons)}" if self.reasons else self.verdict


@frozen(kw_only=True)
class Evidence:
    """Everything a rule may look at."""

    meta: MetaRecord
    cells: tuple[CellRecord, ...]
    calls: tuple[CallRecord, ...]
    end: EndRecord | None
    digest_ok: bool | None
    torn: TornTail | None
    gaps: tuple[str, ...]
    blocks: tuple[Block, ...]
    resumes: tuple[ResumeRecord, ...]
    earlier_ends: tuple[EndRecord, ...]

    @property
    def beginnings(self) -> tuple[MetaRecord | ResumeRecord, ...]:
        """The start of the run, and each time that it was taken up again."""
        return (self.meta, *self.resumes)

    @property
    def ends(self) -> tuple[EndRecord, ...]:
        """Every end of the run: those of interruptions that it was taken up again after, and the last."""
        return (*self.earlier_ends, *((self.end,) if self.end is not None else ()))

    @property
    def calls_that_count(self) -> tuple[CallRecord, ...]:
        """The calls behind the figures: none of attempts that were repeated."""
        return tuple(call for block in self.blocks for call in block.calls)


Rule = Callable[[Evidence], Iterator[str]]


def judge(
    meta: MetaRecord,
    cells: Sequence[CellRecord],
    calls: Sequence[CallRecord],
    end: EndRecord | None,
    *,
    digest_ok: bool | None = None,
    torn: TornTail | None = None,
    gaps: Sequence[str] = (),
    resumes: Sequence[ResumeRecord] = (),
    earlier_ends: Sequence[EndRecord] = (),
) -> Judgement:
    """Weigh the records of a run; `digest_ok`, `torn` and `gaps` are what only a reader of the file can know.

    Reasons that the end record already holds are kept, and its verdict is never made milder: whoever wrote it may
    have seen what no record shows. Earlier ends of a resumed run judged what was not yet whole: of them only the
    clocks and the load are weighed.
    """
    evidence = Evidence(
        meta=meta,
        cells=tuple(cells),
        calls=tuple(calls),
        end=end,
        digest_ok=digest_ok,
        torn=torn,
        gaps=tuple(gaps),
        blocks=blocks(meta, cells, calls),
        resumes=tuple(resumes),
        earlier_ends=tuple(earlier_ends),
    )
    spoiled = _apply(INVALID, evidence)
    doubts = _apply(UNRELIABLE, evidence)
    reasons = tuple(dict.fromkeys([*spoiled, *doubts, *(end.reasons if end is not None else ())]))
    verdict = _worst("invalid" if spoiled else "unreliable" if reasons else "valid", end)
    if verdict != "valid" and not reasons:
        reasons = (f"the end record says {verdict} and gives no reason",)
    return Judgement(verdict=verdict, reasons=reasons, notes=_apply(NOTES, evidence))


# --- invalid: these are no numbers --------------------------------------------------------------------------


def altered(evidence: Evidence) -> Iterator[str]:
    """The bytes are not the ones that were written."""
    if evidence.digest_ok is False:
        yield "the ledger was changed after it was written: its bytes do not match the digest in its end record"


def thinned(evidence: Evidence) -> Iterator[str]:
    """Lines were taken out."""
    for gap in evidence.gaps:
        yield f"lines are missing from the ledger: {gap}"


def clocks_apart(evidence: Evidence) -> Iterator[str]:
    """The clocks disagree so far that no duration can be believed."""
    for drift, meaning in _drifts(evidence):
        if meaning == "invalid":
            yield f"monotonic and wall clock differ by {abs(drift):.2%}, more than {clockcheck.INVALID:.0%}"


# --- unreliable: numbers, but not to be published as they are -----------------------------------------------


def died(evidence: Evidence) -> Iterator[str]:
    """The ledger stops without an end record."""
    if evidence.end is None:
        torn = evidence.torn
        tail = f", and its last line broke off after {torn.bytes_len} bytes" if torn is not None else ""
        yield f"the run died: the ledger has no end record{tail}"


def interrupted(evidence: Evidence) -> Iterator[str]:
    """Somebody stopped the run."""
    if evidence.end is not None and evidence.end.interrupted:
        yield "the run was interrupted"


def known_at_start(evidence: Evidence) -> Iterator[str]:
    """What the runner knew before the first call, and each time before it went on."""
    yield from evidence.meta.warnings
    for resume in evidence.resumes:
        yield from resume.warnings


def busy(evidence: Evidence) -> Iterator[str]:
    """The machine had other work; in the gate's own words, which the runner may have put among its warnings."""
    for load in (evidence.meta.load_avg_start, *(resume.load_avg for resume in evidence.resumes)):
        words = gates.check_load(load[0], force=True)
        if words is not None:
            yield words


def busy_by_the_end(evidence: Evidence) -> Iterator[str]:
    """More was running at an end than the gate's load and an engine that keeps every core of this host busy."""
    if evidence.meta.cpu_count is None:
        return
    bound = gates.MAX_LOAD + evidence.meta.cpu_count
    cores = f"{evidence.meta.cpu_count} CPUs that an engine on this host may keep busy"
    for end in evidence.ends:
        if end.load_avg_end[0] > bound:
            load1 = f"load average {end.load_avg_end[0]:.2f}"
            yield f"{load1} at the end is above {bound:g}: {gates.MAX_LOAD:g} and the {cores}"


def undocumented_changes(evidence: Evidence) -> Iterator[str]:
    """Uncommitted changes, and nobody can tell which."""
    for record in evidence.beginnings:
        if record.git_dirty and not record.git_dirty_files:
            yield f"uncommitted changes that the {record.TYPE} record does not list"


def clocks_doubtful(evidence: Evidence) -> Iterator[str]:
    """The clocks disagree more than they should."""
    for drift, meaning in _drifts(evidence):
        if meaning == "warn":
            yield f"monotonic and wall clock differ by {abs(drift):.2%}, more than {clockcheck.WARN:.1%}"


def nothing_measured(evidence: Evidence) -> Iterator[str]:
    """Not one call brought a number."""
    if not any(call.error is None for call in evidence.calls_that_count):
        yield "no call succeeded"


def unidentified(evidence: Evidence) -> Iterator[str]:
    """Nobody can say what exactly was measured."""
    records = {cell.cell_id: cell for cell in evidence.cells}
    for cell_id in dict.fromkeys(block.cell_id for block in evidence.blocks):
        cell = records.get(cell_id)
        if cell is None:
            yield f"{cell_id}: no cell record, so engine version and model digest are unknown"
            continue
        if cell.engine_version is None:
            yield f"{cell_id}: engine version not recorded"
        if cell.model_digest is None:
            yield f"{cell_id}: model digest not recorded"


def failing(evidence: Evidence) -> Iterator[str]:
    """Too many warm calls failed."""
    for block in evidence.blocks:
        n, ok = len(block.warm), len(block.warm_ok)
        if n and ok / n < MIN_SUCCESS:
            low, high = success_interval(ok, n)
            interval = f"success rate {ok / n:.2f}, 95 % interval {100 * low:.0f}-{100 * high:.0f} %"
            yield f"{_name(block)}: {n - ok} of {n} warm calls failed ({interval}); investigate before publishing"


def not_cold(evidence: Evidence) -> Iterator[str]:
    """The answer of a cold call disproves that it was cold."""
    for block in evidence.blocks:
        for call in block.cold[:1]:
            if call.cold_proven is False:
                words = f": {clip(call.cold_proof)}" if call.cold_proof else ""
                yield f"{_name(block)}: the cold call was not cold{words}"


def client_late(evidence: Evidence) -> Iterator[str]:
    """This process was later than the host's calibration promises, so its stamps were too."""
    calls = evidence.calls_that_count
    for word in (lateness.LAG, lateness.COALESCED):
        late = [(call.client_lag_ns or 0, flag) for call in calls for flag in call.call_flags if _word(flag) == word]
        if late:
            share = f"{len(late)} of {len(calls)} call{'s' if len(calls) > 1 else ''}"
            yield f"the client was late in {share}, at the worst {max(late)[1]}"


# --- notes: true, and no reason against publishing ----------------------------------------------------------


def documented_changes(evidence: Evidence) -> Iterator[str]:
    """Uncommitted changes, each listed."""
    for record in evidence.beginnings:
        if record.git_dirty and record.git_dirty_files:
            yield f"uncommitted changes, each file listed in the {record.TYPE} record"


def no_repository(evidence: Evidence) -> Iterator[str]:
    """No commit to name."""
    if evidence.meta.git_sha is None:
        yield f"no git commit recorded: {evidence.meta.git_note or 'no reason given'}"


def smoke(evidence: Evidence) -> Iterator[str]:
    """A smoke run is no baseline."""
    if evidence.meta.smoke:
        yield "a smoke run: it shows that the path works, and is no baseline"


def taken_up_again(evidence: Evidence) -> Iterator[str]:
    """The numbers were not measured in one go."""
    if evidence.resumes:
        times = {1: "once", 2: "twice"}.get(len(evidence.resumes), f"{len(evidence.resumes)} times")
        yield f"resumed {times}, after {', '.join(_gap(resume.gap_s) for resume in evidence.resumes)}"


def gaps(evidence: Evidence) -> Iterator[str]:
    """What the run set out to do and did not bring home."""
    made = len(evidence.calls_that_count)
    failed = sum(call.error is not None for call in evidence.calls_that_count)
    left_out = len(skipped(evidence.cells, evidence.calls, evidence.resumes))
    parts = [
        f"{made} of {evidence.meta.steps_planned} planned calls recorded" if made < evidence.meta.steps_planned else "",
        f"{failed} failed" if failed else "",
        f"{left_out} skipped" if left_out else "",
    ]
    if any(parts):
        yield f"incomplete: {', '.join(part for part in parts if part)}"


INVALID: tuple[Rule, ...] = (altered, thinned, clocks_apart)
UNRELIABLE: tuple[Rule, ...] = (
    died,
    interrupted,
    known_at_start,
    busy,
    busy_by_the_end,
    undocumented_changes,
    clocks_doubtful,
    nothing_measured,
    unidentified,
    failing,
    not_cold,
    client_late,
)
NOTES: tuple[Rule, ...] = (documented_changes, no_repository, smoke, taken_up_again, gaps)


def _apply(rules: Iterable[Rule], evidence: Evidence) -> tuple[str, ...]:
    return tuple(reason for rule in rules for reason in rule(evidence))


def _worst(found: Verdict, end: EndRecord | None) -> Verdict:
    order: tuple[Verdict, ...] = ("valid", "unreliable", "invalid")
    return max(found, end.verdict if end is not None else found, key=order.index)


def _drifts(evidence: Evidence) -> Iterator[tuple[float, Literal["warn", "invalid"] | None]]:
    """The drift of the clocks over each part of the run that has an end, and what it means at that part's length."""
    for end in evidence.ends:
        drift = end.clock_drift
        if drift is None:
            continue
        wall_s = _seconds_between(_begin_of(end, evidence), end.finished_at_utc)
        # The drift is relative to the monotonic clock, the only one of the two that nobody sets.
        mono_s = math.inf if wall_s is None or drift <= -1 else wall_s / (1 + drift)
        yield drift, clockcheck.classify(drift, mono_s)


def _begin_of(end: EndRecord, evidence: Evidence) -> str:
    """When the part of the run began that has this end: a resumed run reads its clocks anew."""
    before = [resume for resume in evidence.resumes if end is evidence.end or resume.seq < end.seq]
    return before[-1].resumed_at_utc if before else evidence.meta.started_at_utc


def _gap(gap_s: float | None) -> str:
    """A gap in the largest unit that it fills twice."""
    if gap_s is None:
        return "a gap of unknown length"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if gap_s >= 2 * seconds:
            return f"a gap of {gap_s / seconds:.1f} {unit}"
    return f"a gap of {gap_s:.0f} s"


def _seconds_between(start: str, end: str) -> float | None:
    """Seconds from one ISO 8601 time to the other; None where a ledger of another hand holds something else."""
    try:
        return abs((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    except (ValueError, TypeError):
        return None


def _word(flag: str) -> str:
    return flag.partition(":")[0]


def _name(block: Block) -> str:
    return f"{block.cell_id} {block.prompt_id}"
