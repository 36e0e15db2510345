"""Words of adapters and of failed starts, down to the record that a reader of the ledger sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from golden_runs import cell, plan, run

from weeyuga_core.errors import LaunchError
from weeyuga_core.hookspecs import Provided, hookimpl
from weeyuga_core.interfaces import ColdClaim, ColdProof, LaunchSpec, StreamEvent
from weeyuga_core.model.plan import Cell, Launch
from weeyuga_core.run.calls import HINT_CHARS, told
from weeyuga_core.testing.golden_adapter import GoldenAdapter
from weeyuga_core.testing.golden_process import GoldenServer

pytestmark = pytest.mark.anyio


class WordyAdapter(GoldenAdapter):
    """Claims and proves in the words that its cell's options give."""

    async def make_cold(self) -> ColdClaim:
        return ColdClaim("unloaded", self._target.cell.options["claimed"])

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        return ColdProof(True, self._target.cell.options["proved"])

    def launch(self, cell: Cell, port: int) -> LaunchSpec:
        return LaunchSpec(argv=("no-such-server",))


class WordyPlugin:
    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [Provided("wordy", "says what its cell says", f"{__name__}:WordyAdapter")]


@pytest.fixture(scope="module")
def golden() -> Iterator[str]:
    with GoldenServer() as server:
        yield server.url


@pytest.mark.parametrize(
    ("claimed", "proved", "words"),
    [
        ("two others stayed", "loading took 9 ms", "loading took 9 ms; two others stayed"),
        ("two others stayed", "loaded while two others stayed", "loaded while two others stayed"),
        ("two others stayed", "", "two others stayed"),
        ("", "loading took 9 ms", "loading took 9 ms"),
        ("", "", None),
        ("Bearer abcdefgh1234", "asked", "asked; Bearer ***"),
    ],
)
async def test_what_was_done_to_make_a_call_cold_stands_in_its_record(
    golden: str, tmp_path: Path, claimed: str, proved: str, words: str | None
) -> None:
    options = {"chunks": 1, "claimed": claimed, "proved": proved}
    wordy = cell(golden, engine="wordy", options=options, warm_n=1)
    _, ledger = await run(tmp_path, plan([wordy]), extra=[WordyPlugin()])
    assert [call.cold_proof for call in ledger.calls] == [words, None]


async def test_a_server_that_cannot_be_started_is_skipped_with_what_to_do(tmp_path: Path) -> None:
    ours = cell("", engine="wordy", launch=Launch(server="x", model="y"))
    _, ledger = await run(tmp_path, plan([ours]), extra=[WordyPlugin()])
    (call,) = ledger.calls
    assert call.error is not None
    assert call.error.startswith("program no-such-server is not on PATH\n  = help: give its path")


def test_a_hint_in_a_record_is_bounded_and_the_message_is_not() -> None:
    error = LaunchError("m" * 2 * HINT_CHARS, hint="h" * 2 * HINT_CHARS)
    assert told(error).startswith(f"{error.message}\n  = help: hhh")
    assert len(told(error)) == len(error.message) + HINT_CHARS
