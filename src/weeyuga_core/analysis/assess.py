"""A ledger in, its baseline and its verdict out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weeyuga_core.analysis.baseline import Baseline, build
from weeyuga_core.analysis.verdict import Judgement, judge

if TYPE_CHECKING:
    from weeyuga_core.ledger.reader import Ledger


def assess(ledger: Ledger) -> tuple[Baseline, Judgement]:
    """What a ledger says, and whether it may be believed."""
    records = ledger.meta, ledger.cells, ledger.calls, ledger.end
    judgement = judge(
        *records,
        digest_ok=ledger.digest_ok,
        torn=ledger.torn,
        gaps=ledger.gaps,
        resumes=ledger.resumes,
        earlier_ends=ledger.earlier_ends,
    )
    return build(*records, resumes=ledger.resumes), judgement
