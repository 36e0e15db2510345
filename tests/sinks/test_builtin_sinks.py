from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from weeyuga_core import plugins
from weeyuga_core.errors import ExitCode, UsageError
from weeyuga_core.interfaces import Line, ResultSink, SinkTarget
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.report.markdown import render_ledger
from weeyuga_core.sinks.delivery import Delivery
from weeyuga_core.sinks.jsonl import JsonlSink
from weeyuga_core.sinks.markdown import MarkdownSink

MakeTarget = Callable[[str | None], SinkTarget]
SINKS = [JsonlSink, MarkdownSink]


def feed(sink: ResultSink, ledger: Ledger, lines: Sequence[Line]) -> None:
    async def scenario() -> None:
        await sink.open(ledger.meta)
        await sink.deliver(lines[:4])
        await sink.deliver(lines[4:])
        await sink.close(ledger.end)

    asyncio.run(scenario())


def test_the_sinks_of_the_core_come_through_the_hook() -> None:
    loaded = plugins.load()
    assert loaded.sink("jsonl") is JsonlSink
    assert loaded.sink("markdown") is MarkdownSink


def test_jsonl_copies_the_ledgers_bytes(
    tmp_path: Path, target: MakeTarget, ledger_path: Path, ledger: Ledger, lines: list[Line]
) -> None:
    copy = tmp_path / "copy.jsonl"
    feed(JsonlSink(target(str(copy))), ledger, lines)
    assert copy.read_bytes() == ledger_path.read_bytes()


def test_jsonl_to_stdout(
    target: MakeTarget, ledger_path: Path, ledger: Ledger, lines: list[Line], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    feed(JsonlSink(target("-")), ledger, lines)
    assert capfdbinary.readouterr().out == ledger_path.read_bytes()


def test_jsonl_without_a_target_is_the_ledger_itself(
    target: MakeTarget, ledger_path: Path, ledger: Ledger, lines: list[Line]
) -> None:
    before = ledger_path.read_bytes()
    feed(JsonlSink(target(None)), ledger, lines)
    assert list(ledger_path.parent.iterdir()) == [ledger_path]
    assert ledger_path.read_bytes() == before


def test_each_line_is_in_the_copy_once_it_was_delivered(
    tmp_path: Path, target: MakeTarget, ledger: Ledger, lines: list[Line]
) -> None:
    copy = tmp_path / "copy.jsonl"

    async def scenario() -> None:
        sink = JsonlSink(target(str(copy)))
        await sink.open(ledger.meta)
        for number, line in enumerate(lines, start=1):
            await sink.deliver([line])
            assert copy.read_bytes() == b"".join(one.raw for one in lines[:number])
        await sink.close(None)

    asyncio.run(scenario())


def test_markdown_writes_what_report_prints_beside_the_ledger(
    target: MakeTarget, ledger_path: Path, ledger: Ledger, lines: list[Line]
) -> None:
    feed(MarkdownSink(target(None)), ledger, lines)
    assert ledger_path.with_suffix(".md").read_bytes() == render_ledger(ledger_path).encode()


def test_markdown_to_a_file_and_to_stdout_are_the_same_bytes(
    tmp_path: Path, target: MakeTarget, ledger: Ledger, lines: list[Line], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    page = tmp_path / "page.md"
    feed(MarkdownSink(target(str(page))), ledger, lines)
    feed(MarkdownSink(target("-")), ledger, lines)
    assert capfdbinary.readouterr().out == page.read_bytes() != b""


def test_markdown_of_a_run_that_died(target: MakeTarget, ledger_path: Path, ledger: Ledger, lines: list[Line]) -> None:
    ledger_path.write_bytes(b"".join(line.raw for line in lines[:-1]) + b"torn")
    asyncio.run(MarkdownSink(target(None)).close(None))
    page = ledger_path.with_suffix(".md").read_text()
    assert "unreliable" in page


@pytest.mark.parametrize("make", SINKS)
def test_a_target_that_exists_is_refused_before_the_run(tmp_path: Path, target: MakeTarget, make: type) -> None:
    taken = tmp_path / "taken"
    taken.write_text("precious")
    with pytest.raises(UsageError, match="taken is there already; it is never overwritten") as caught:
        make(target(str(taken)))
    assert caught.value.exit_code == ExitCode.USAGE
    assert "--sink " in caught.value.message
    assert taken.read_text() == "precious"


@pytest.mark.parametrize("make", SINKS)
def test_a_target_in_no_folder_is_refused_before_the_run(tmp_path: Path, target: MakeTarget, make: type) -> None:
    with pytest.raises(UsageError, match="has no folder to lie in"):
        make(target(str(tmp_path / "absent" / "copy")))


@pytest.mark.parametrize("make", SINKS)
def test_a_target_that_appears_during_the_run_is_not_overwritten(
    tmp_path: Path, target: MakeTarget, make: type, ledger: Ledger, lines: list[Line]
) -> None:
    path = tmp_path / "copy"
    delivery = Delivery({"it": make(target(str(path)))}, deadline_s=60.0)
    path.write_text("precious")

    async def scenario() -> None:
        await delivery.open(ledger.meta)
        await delivery.deliver(lines)
        await delivery.close(ledger.end)

    asyncio.run(scenario())
    assert path.read_text() == "precious"
    assert "is there already; it is never overwritten" in delivery.problems()[0]


def test_a_full_disk_is_the_sinks_own_problem(
    target: MakeTarget, ledger: Ledger, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    delivery = Delivery({"jsonl=-": JsonlSink(target("-"))}, deadline_s=60.0)

    async def scenario() -> None:
        await delivery.open(ledger.meta)
        await delivery.deliver(lines)
        await delivery.close(ledger.end)

    with full.open("wb", buffering=0) as device:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=device, flush=lambda: None))
        asyncio.run(scenario())
    assert delivery.problems() == (
        "sink jsonl=- is behind, it was given 0 lines of the ledger: OSError: [Errno 28] No space left on device",
    )


def test_a_copy_that_was_never_opened_is_not_written_anywhere(
    tmp_path: Path, target: MakeTarget, lines: list[Line], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sink = JsonlSink(target(str(tmp_path / "copy.jsonl")))
    with pytest.raises(UsageError, match="not open"):
        asyncio.run(sink.deliver(lines))
    assert capfdbinary.readouterr().out == b""
