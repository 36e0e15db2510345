"""A model that is loaded again where nobody asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from golden_runs import cell, plan, run

from weeyuga_core.hookspecs import Provided, hookimpl
from weeyuga_core.interfaces import EngineTimings, Reply, StreamEvent
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = pytest.mark.anyio


class ForgetfulAdapter(GoldenAdapter):
    """Speaks for an engine that loads its model in every call."""

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        yield from super().events(reply)
        yield EngineTimings(ns=0, load_ns=812_000_000)


class ForgetfulPlugin:
    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [Provided("forgetful", "loads and loads", f"{__name__}:ForgetfulAdapter")]


async def test_a_load_is_expected_of_a_cold_call_and_flagged_in_a_warm_one(tmp_path: Path) -> None:
    with GoldenServer() as golden:
        planned = plan([cell(golden.url, engine="forgetful")])
        _, ledger = await run(tmp_path, planned, extra=[ForgetfulPlugin()])
    flagged = [(call.phase, [flag for flag in call.call_flags if flag.startswith("reloaded")]) for call in ledger.calls]
    flag = "reloaded: load took 812.0 ms in a warm call"
    assert flagged == [("cold", []), ("warm", [flag]), ("warm", [flag])]
