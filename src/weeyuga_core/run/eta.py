"""How long the rest of a plan will take, from what has been measured before."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from weeyuga_core.errors import BenchError
from weeyuga_core.ledger import reader
from weeyuga_core.model.plan import Step
from weeyuga_core.model.records import CallRecord

HISTORY_LEDGERS = 10
"""How many of the newest ledgers are looked at: enough to have met each cell, few enough to be read at once."""


class Estimator:
    """Median seconds per (cell, prompt, phase), start to start, falling back to the median of what is known."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._seen: dict[tuple[str, str, str], list[float]] = {}

    def learn(self, calls: Iterable[CallRecord]) -> None:
        """Take finished calls into account; a cold call of ours includes the start of its server."""
        for call in calls:
            if call.error is None and call.prompt_id and call.total_duration_ns is not None:
                spent = (call.total_duration_ns + (call.engine_ready_ns or 0)) / 1e9
                key = (call.cell_id, call.prompt_id, call.phase)
                self._seen.setdefault(key, []).append(max(spent, self._pace_s))

    def seconds(self, steps: Sequence[Step]) -> float | None:
        """Estimated wall time of these steps, or None where nothing is known."""
        everything = [value for values in self._seen.values() for value in values]
        if not everything:
            return None
        middle = statistics.median(everything)
        known = {key: statistics.median(values) for key, values in self._seen.items()}
        return sum(known.get((step.cell_id, step.prompt_id, step.phase), middle) for step in steps)


def from_history(out_dir: Path, pace_s: float) -> Estimator:
    """An estimator that has read the newest ledgers of `out_dir`; unreadable ones tell nothing and are passed over."""
    estimator = Estimator(pace_s)
    ledgers = sorted(out_dir.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in ledgers[:HISTORY_LEDGERS]:
        try:
            estimator.learn(reader.read(path).calls)
        except BenchError:
            continue  # an estimate is no reason to stop; `report` says what is wrong with that file
    return estimator
