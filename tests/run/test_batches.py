"""Parallel calls in batches: bounded in number and in bytes, complete, and in the order of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_runs import cell, plan, run

from weeyuga_core.run import calls
from weeyuga_core.testing.golden_process import GoldenServer


@pytest.mark.anyio
@pytest.mark.parametrize("bound", [{"BATCH_CALLS": 5}, {"BATCH_BYTES": 1}, {}])
async def test_batches_lose_and_reorder_nothing(
    bound: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bound.items():
        monkeypatch.setattr(calls, name, value)
    async with GoldenServer() as golden:
        _, ledger = await run(tmp_path, plan([cell(golden.url, warm_n=4, parallel=True)], concurrency=3))
    assert [(call.phase, call.run_idx) for call in ledger.calls] == [("cold", 0), *(("warm", i) for i in range(12))]
    assert [call.error for call in ledger.calls] == [None] * 13
    assert len({call.response_id for call in ledger.calls}) == 13
