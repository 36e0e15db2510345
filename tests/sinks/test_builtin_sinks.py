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
from weeyuga_core.ledger.reader import Ledger, iter_lines, read
from weeyuga_core.report.markdown import render_ledger
from weeyuga_core.sinks.delivery import Delivery
from weeyuga_core.sinks.jsonl import JsonlSink
from weeyuga_core.sinks.markdown import MarkdownSink

MakeTarget = Callable[[str | None], SinkTarget]
SINKS = [JsonlSink, MarkdownSink]


@pytest.fixture
def resumed_lines(resumed_path: Path) -> list[Line]:
    return list(iter_lines(resumed_path))


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


def test_markdown_beside_a_ledger_whose_folder_the_run_will_make(
    tmp_path: Path, ledger_path: Path, ledger: Ledger, lines: list[Line]
) -> None:
    moved = tmp_path / "new" / ledger_path.name
    sink = MarkdownSink(SinkTarget(target=None, ledger_path=str(moved), side_dir=""))
    moved.parent.mkdir()
    moved.write_bytes(ledger_path.read_bytes())
    feed(sink, ledger, lines)
    assert moved.with_suffix(".md").read_text() == render_ledger(moved)


# --- a run that was taken up again -----------------------------------------------------------------------------------


def again(ledger_path: Path, given: str | None) -> SinkTarget:
    """What a sink is told in the second part of a run."""
    return SinkTarget(
        target=given, ledger_path=str(ledger_path), side_dir=str(ledger_path.with_suffix(".d")), resumed=True
    )


def test_jsonl_makes_a_copy_whole_whatever_of_it_is_there(
    tmp_path: Path, resumed_path: Path, resumed_lines: list[Line]
) -> None:
    whole = resumed_path.read_bytes()
    for size in {0, 1, len(whole) // 2, len(whole) - 1, len(whole), *(line.offset for line in resumed_lines)}:
        copy = tmp_path / f"copy-{size}.jsonl"
        copy.write_bytes(whole[:size])
        feed(JsonlSink(again(resumed_path, str(copy))), read(resumed_path), resumed_lines)
        assert copy.read_bytes() == whole
    feed(JsonlSink(again(resumed_path, str(tmp_path / "new.jsonl"))), read(resumed_path), resumed_lines)
    assert (tmp_path / "new.jsonl").read_bytes() == whole


def test_jsonl_gives_stdout_the_whole_ledger_again(
    resumed_path: Path, resumed_lines: list[Line], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    feed(JsonlSink(again(resumed_path, "-")), read(resumed_path), resumed_lines)
    assert capfdbinary.readouterr().out == resumed_path.read_bytes()


@pytest.mark.parametrize("there", [b"precious", b"", b"longer"])
@pytest.mark.parametrize("make", SINKS)
def test_only_what_the_same_run_wrote_gives_way(
    tmp_path: Path, ledger_path: Path, resumed_path: Path, make: type, there: bytes
) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(
        {b"longer": resumed_path.read_bytes() + b"more", b"": b"# Baseline\n- run: 4e2a\n"}.get(there, there)
    )
    before = taken.read_bytes()
    with pytest.raises(UsageError, match="taken is there already; it is never overwritten"):
        make(again(resumed_path, str(taken)))
    assert taken.read_bytes() == before


def test_a_stranger_that_came_after_the_check_is_left_alone(
    tmp_path: Path, resumed_path: Path, resumed_lines: list[Line]
) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(resumed_path.read_bytes()[:100])
    sink = JsonlSink(again(resumed_path, str(copy)))
    copy.write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        feed(sink, read(resumed_path), resumed_lines)
    assert copy.read_text() == "precious"


def test_a_page_of_the_same_run_gives_way_to_the_later_one(
    tmp_path: Path, resumed_path: Path, resumed_lines: list[Line]
) -> None:
    (at,) = [number for number, line in enumerate(resumed_lines) if line.record["type"] == "resume"]
    whole = resumed_path.read_bytes()
    for target in (None, str(tmp_path / "page.md")):
        page = Path(target) if target else resumed_path.with_suffix(".md")
        resumed_path.write_bytes(b"".join(line.raw for line in resumed_lines[:at]))
        first = SinkTarget(target=target, ledger_path=str(resumed_path), side_dir="")
        asyncio.run(MarkdownSink(first).close(None))
        assert "interrupted" in page.read_text()
        made = MarkdownSink(again(resumed_path, target))
        resumed_path.write_bytes(whole)
        feed(made, read(resumed_path), resumed_lines)
        assert page.read_text() == render_ledger(resumed_path)
        assert "note: resumed once, after a gap of 31.0 min" in page.read_text()


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
