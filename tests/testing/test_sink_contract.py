"""The contract of sinks: our own keep it, and it catches those that do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from weeyuga_core.interfaces import Line, ResultSink, SinkTarget
from weeyuga_core.model.records import EndRecord, MetaRecord
from weeyuga_core.sinks.jsonl import JsonlSink
from weeyuga_core.sinks.markdown import MarkdownSink
from weeyuga_core.testing.sink_contract import ResultSinkContract


def seqs_of(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_bytes().splitlines()]


class TestJsonl(ResultSinkContract):
    def sink(self, target: SinkTarget) -> ResultSink:
        return JsonlSink(target)

    def target(self, folder: Path) -> str | None:
        return str(folder / "copy.jsonl")

    def held(self, target: SinkTarget) -> Sequence[int] | None:
        return seqs_of(Path(str(target.target)))


class TestJsonlThatIsTheLedger(ResultSinkContract):
    def sink(self, target: SinkTarget) -> ResultSink:
        return JsonlSink(target)

    def held(self, target: SinkTarget) -> Sequence[int] | None:
        return None


class TestMarkdown(ResultSinkContract):
    def sink(self, target: SinkTarget) -> ResultSink:
        return MarkdownSink(target)

    def target(self, folder: Path) -> str | None:
        return str(folder / "page.md")

    def held(self, target: SinkTarget) -> Sequence[int] | None:
        assert "# " in Path(str(target.target)).read_text(encoding="utf-8")
        return None


class Keeping:
    """A sink that keeps lines by target, as a store would; `kept` outlives it."""

    kept: ClassVar[dict[str, list[int]]] = {}

    def __init__(self, target: SinkTarget) -> None:
        self._seqs = self.kept.setdefault(target.ledger_path, [])

    async def open(self, meta: MetaRecord) -> None:
        pass

    async def deliver(self, lines: Sequence[Line]) -> None:
        self._seqs.extend(line.seq for line in lines if line.seq not in self._seqs)

    async def close(self, end: EndRecord | None) -> None:
        pass


class KeepsTwice(Keeping):
    async def deliver(self, lines: Sequence[Line]) -> None:
        self._seqs.extend(line.seq for line in lines)


class KeepsTheFirst(Keeping):
    async def deliver(self, lines: Sequence[Line]) -> None:
        await super().deliver(lines[:1])


class KeepsWhatItKnows(Keeping):
    async def deliver(self, lines: Sequence[Line]) -> None:
        await super().deliver([line for line in lines if line.record["type"] != "stranger"])


class NeedsAnEnd(Keeping):
    async def close(self, end: EndRecord | None) -> None:
        assert end is not None


class NeedsALine(Keeping):
    async def deliver(self, lines: Sequence[Line]) -> None:
        await super().deliver([lines[0], *lines[1:]])


class WritesInTheLedger(Keeping):
    def __init__(self, target: SinkTarget) -> None:
        super().__init__(target)
        self._path = Path(target.ledger_path)

    async def close(self, end: EndRecord | None) -> None:
        self._path.write_bytes(self._path.read_bytes() + b"{}\n")


class WritesInTheLines(Keeping):
    async def deliver(self, lines: Sequence[Line]) -> None:
        await super().deliver(lines)
        for line in lines:
            assert isinstance(line.record, dict)
            line.record["seen"] = True


class GoesOnWhereItWas(Keeping):
    """Takes a sink of a resumed run for one that knows what an earlier one was given."""

    def __init__(self, target: SinkTarget) -> None:
        super().__init__(target)
        self._passed_over = 5 if target.resumed else 0

    async def deliver(self, lines: Sequence[Line]) -> None:
        await super().deliver([line for line in lines if line.seq >= self._passed_over])


def suite(kind: type[Keeping]) -> ResultSinkContract:
    class Suite(ResultSinkContract):
        def sink(self, target: SinkTarget) -> ResultSink:
            return kind(target)

        def held(self, target: SinkTarget) -> Sequence[int] | None:
            return kind.kept[target.ledger_path]

    return Suite()


CLAUSES = [name for name in vars(ResultSinkContract) if name.startswith("test_")]
BREACHES: Mapping[type[Keeping], str] = {
    KeepsTwice: "test_the_copy_of_a_run_that_is_taken_up_again_becomes_whole",
    KeepsTheFirst: "test_the_copy_of_a_run_holds_every_line_once",
    KeepsWhatItKnows: "test_a_line_of_a_later_version_is_a_line_like_any_other",
    NeedsAnEnd: "test_the_copy_of_a_run_that_died_holds_what_was_delivered",
    NeedsALine: "test_no_lines_are_nothing",
    WritesInTheLedger: "test_the_ledger_and_its_lines_are_left_as_they_are",
    WritesInTheLines: "test_the_ledger_and_its_lines_are_left_as_they_are",
    GoesOnWhereItWas: "test_a_sink_that_joins_a_run_late_has_all_of_it",
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test keeps its own: ledgers of two tests may lie in folders of one name."""
    monkeypatch.setattr(Keeping, "kept", {})


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_sink_that_keeps_lines_keeps_the_contract(clause: str) -> None:
    getattr(suite(Keeping), clause)()


@pytest.mark.parametrize("kind", BREACHES, ids=lambda kind: kind.__name__)
def test_the_contract_catches_each_breach(kind: type[Keeping]) -> None:
    with pytest.raises((AssertionError, IndexError)):
        getattr(suite(kind), BREACHES[kind])()


def test_no_clause_is_untried() -> None:
    assert set(BREACHES.values()) == set(CLAUSES)
