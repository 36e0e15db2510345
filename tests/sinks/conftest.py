"""The golden ledger as a run would leave it, its lines, and sinks that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from weeyuga_core.interfaces import Line, SinkTarget
from weeyuga_core.ledger.reader import Ledger, iter_lines, read
from weeyuga_core.model.records import EndRecord, MetaRecord

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger_v1.jsonl"


RESUMED = GOLDEN.with_name("ledger_v1_resumed.jsonl")


@pytest.fixture
def resumed_path(tmp_path: Path) -> Path:
    """The ledger of a run that was interrupted and taken up again, in a folder of its own."""
    path = tmp_path / "resumed" / "run.jsonl"
    path.parent.mkdir()
    path.write_bytes(RESUMED.read_bytes())
    return path


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """A ledger in a folder of its own, where sinks may write beside it."""
    path = tmp_path / "runs" / "run.jsonl"
    path.parent.mkdir()
    path.write_bytes(GOLDEN.read_bytes())
    return path


@pytest.fixture
def ledger(ledger_path: Path) -> Ledger:
    return read(ledger_path)


@pytest.fixture
def lines(ledger_path: Path) -> list[Line]:
    return list(iter_lines(ledger_path))


@pytest.fixture
def target(ledger_path: Path) -> Callable[[str | None], SinkTarget]:
    def make(given: str | None) -> SinkTarget:
        side_dir = ledger_path.with_suffix(".d")
        return SinkTarget(target=given, ledger_path=str(ledger_path), side_dir=str(side_dir))

    return make


class SpySink:
    """Remembers what it was given; raises or hangs where it is told to."""

    def __init__(self, *, fails: dict[str, Exception] | None = None, hangs: str | None = None) -> None:
        self.seen: list[str] = []
        self.fails = fails or {}
        self.hangs = hangs

    async def _called(self, name: str) -> None:
        self.seen.append(name)
        if name in self.fails:
            raise self.fails[name]
        if name == self.hangs:
            await asyncio.Event().wait()

    async def open(self, meta: MetaRecord) -> None:
        await self._called("open")

    async def deliver(self, lines: Sequence[Line]) -> None:
        await self._called(" ".join(str(line.seq) for line in lines))

    async def close(self, end: EndRecord | None) -> None:
        await self._called("close" if end else "close died")


@pytest.fixture
def spy() -> type[SpySink]:
    return SpySink
