from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import httpx
import pytest

from weeyuga_core import plugins
from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import Line, ResultSink, SinkTarget
from weeyuga_core.ledger.reader import Ledger, iter_lines, read
from weeyuga_core.sinks import delivery as delivery_module
from weeyuga_core.sinks.delivery import Delivery
from weeyuga_core.sinks.elasticsearch import sink as module
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.elasticsearch.sink import ElasticsearchSink


def sink_of(ledger: Path) -> ElasticsearchSink:
    return ElasticsearchSink(SinkTarget(target=None, ledger_path=str(ledger), side_dir=str(ledger.with_suffix(".d"))))


def feed(ledger: Path, lines: list[Line], store: Any, *, parts: int = 1) -> tuple[list[int], tuple[str, ...]]:
    """Deliver lines one by one as a run does; how many requests there were after each, and the problems."""
    seen: list[int] = []
    whole = read(ledger)

    async def scenario() -> tuple[str, ...]:
        delivery = Delivery({"es": sink_of(ledger)}, deadline_s=60.0)
        await delivery.open(whole.meta)
        for line in lines:
            await delivery.deliver([line])
            seen.append(len(store.bulks))
        await delivery.close(whole.end)
        return delivery.problems()

    return seen, asyncio.run(scenario())


def test_the_sink_is_offered_by_name(store: Any) -> None:
    kind = plugins.load().sink("es")
    assert kind is ElasticsearchSink
    assert issubclass(kind, ResultSink)


def test_a_target_that_cannot_be_meant_is_refused_before_the_run(ledger_path: Path) -> None:
    with pytest.raises(UsageError, match="no store is named"):
        sink_of(ledger_path)


def test_lines_are_sent_when_a_cell_is_done_and_at_the_end_and_never_between_calls(
    ledger_path: Path, ledger: Ledger, lines: list[Line], store: Any
) -> None:
    seen, problems = feed(ledger_path, lines, store)
    kinds = [line.record["type"] for line in lines]
    assert kinds == ["meta", "call", "cell", *["call"] * 6, "end"]
    assert seen == [0, 0, *[1] * 8]
    assert [len(ids) for ids in store.bulks] == [3, 7]
    assert problems == ()
    assert store.created == len(lines)


def test_a_store_that_never_answers_costs_two_attempts_and_the_lines_stay_for_a_replay(
    fake: ModuleType, ledger_path: Path, lines: list[Line], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[httpx.Request] = []

    async def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")

    monkeypatch.setattr(
        Settings, "client", lambda self: httpx.AsyncClient(base_url=self.url, transport=httpx.MockTransport(silent))
    )
    monkeypatch.setattr(module, "FLUSH_S", 0.05)
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    cell_again = [lines[0], *[attrs.evolve(lines[2], seq=n) for n in range(1, 6)]]
    _, problems = feed(ledger_path, cell_again, store)
    assert len(asked) == 2
    assert len(problems) == 1
    assert "6 of them are not in the store" in problems[0]
    assert f"later: weeyuga-bench replay {ledger_path} --sink es" in problems[0]


def test_a_store_that_comes_back_gets_the_rest_at_the_end(
    fake: ModuleType, ledger_path: Path, lines: list[Line], store: Any
) -> None:
    store.script = [fake.status(403)]
    _, problems = feed(ledger_path, lines, store)
    assert [len(ids) for ids in store.bulks] == [3, 10]
    assert problems == ()


def test_a_refusal_is_told_with_the_command_that_mends_it(
    fake: ModuleType, ledger_path: Path, lines: list[Line], store: Any
) -> None:
    store.script = [fake.status(403)] * 2
    _, problems = feed(ledger_path, lines, store)
    assert "10 of them are not in the store (the store answers HTTP 403)" in problems[0]


def test_more_lines_than_may_wait_are_left_to_a_replay(
    ledger_path: Path, lines: list[Line], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_ITEMS", 4)
    _, problems = feed(ledger_path, lines, store)
    assert store.created == 3 + 4
    assert "3 of them are not in the store (more than 4 lines waited)" in problems[0]


def test_the_second_part_of_a_run_is_left_to_a_replay(ledger_path: Path, lines: list[Line], store: Any) -> None:
    documents = lines[3:]

    async def scenario() -> str:
        sink = sink_of(ledger_path)
        whole = read(ledger_path)
        await sink.open(whole.meta)
        sink._documents.learn(lines[0])
        await sink.deliver(documents)
        with pytest.raises(module.NotLevel) as caught:
            await sink.close(whole.end)
        return str(caught.value)

    assert "earlier lines come first" in asyncio.run(scenario())
    assert store.bulks == []


# --- a run that was taken up again -----------------------------------------------------------------------------------


def parts_of(path: Path) -> tuple[list[Line], list[Line]]:
    """The lines of a resumed run up to its resume line, and those behind it."""
    lines = list(iter_lines(path))
    (at,) = [number for number, line in enumerate(lines) if line.record["type"] == "resume"]
    return lines[: at + 1], lines[at + 1 :]


async def first_part(path: Path, lines: list[Line], sent: int) -> None:
    """The part before the resume line, of which the store got the first `sent` lines."""
    path.write_bytes(b"".join(line.raw for line in lines))
    sink = sink_of(path)
    await sink.open(read(path).meta)
    await sink.deliver(lines[:sent])
    await sink.close(None)


async def second_part(path: Path, lines: list[Line], rest: list[Line]) -> tuple[str, ...]:
    path.write_bytes(b"".join(line.raw for line in lines))
    target = SinkTarget(target=None, ledger_path=str(path), side_dir=str(path.with_suffix(".d")), resumed=True)
    delivery = Delivery({"es": ElasticsearchSink(target)}, deadline_s=60.0)
    await delivery.begin(read(path).meta, iter_lines(path))
    with path.open("ab") as file:
        file.write(b"".join(line.raw for line in rest))
    for line in rest:
        await delivery.deliver([line])
    await delivery.close(None)
    return delivery.problems()


@pytest.mark.parametrize("sent", [0, 1, 4, 8])
def test_the_store_gets_what_it_lacks_of_the_first_part_and_nothing_twice(
    resumed_path: Path, store: Any, sent: int
) -> None:
    lines, rest = parts_of(resumed_path)

    async def scenario() -> tuple[str, ...]:
        await first_part(resumed_path, lines[:-1], sent)
        return await second_part(resumed_path, lines, rest)

    assert asyncio.run(scenario()) == ()
    assert store.created == len(store.documents) == len(lines) + len(rest)
    sent_ids = [id_ for ids in store.bulks for id_ in ids]
    assert len(sent_ids) == len(set(sent_ids)), "what is acknowledged is not sent again"
    kinds = [document["weeyuga"]["bench"]["record"] for document in store.documents.values()]
    assert kinds.count("resume") == 1


def test_a_long_first_part_is_sent_as_it_comes_and_before_the_first_call(
    resumed_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_ITEMS", 4)
    monkeypatch.setattr(module, "CATCH_UP_ITEMS", 3)
    monkeypatch.setattr(delivery_module, "PIECE_LINES", 2)
    lines, rest = parts_of(resumed_path)
    assert asyncio.run(second_part(resumed_path, lines, rest[:2])) == ()
    assert [len(ids) for ids in store.bulks] == [4, 4, 1, 2]


def test_a_store_that_is_down_costs_a_resumed_run_one_attempt_at_its_beginning(
    fake: ModuleType, resumed_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CATCH_UP_ITEMS", 1)
    monkeypatch.setattr(delivery_module, "PIECE_LINES", 1)
    store.script = [fake.status(403)]
    lines, rest = parts_of(resumed_path)
    assert asyncio.run(second_part(resumed_path, lines, rest)) == ()
    assert [len(ids) for ids in store.bulks] == [1, len(lines) + len(rest)]


def test_a_dead_letter_is_settled_and_no_problem_of_the_runs(ledger_path: Path, lines: list[Line], store: Any) -> None:
    store.refused["4e2a9c1d-7b35-4f0e-9a61-2d8c5e0b7f43:4"] = 400
    _, problems = feed(ledger_path, lines, store)
    assert problems == ()
    assert store.created == 9
    assert len(list(ledger_path.with_suffix(".d").glob("dead-*.jsonl"))) == 1


def test_a_run_that_died_sends_what_it_has(ledger_path: Path, lines: list[Line], store: Any) -> None:
    async def scenario() -> None:
        sink = sink_of(ledger_path)
        await sink.open(read(ledger_path).meta)
        await sink.deliver(lines[:5])
        await sink.close(None)

    asyncio.run(scenario())
    assert store.created == 5


def test_an_attempt_ends_when_its_time_is_up_and_loses_nothing(
    ledger_path: Path, lines: list[Line], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weeyuga_core.sinks.elasticsearch.sender import Sender

    async def hang(*args: Any, **more: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Sender, "send", hang)
    monkeypatch.setattr(module, "FLUSH_S", 0.01)
    monkeypatch.setattr(module, "CLOSE_S", 0.01)
    _, problems = feed(ledger_path, lines, store)
    assert "10 of them are not in the store (the store did not answer within 0.01 s)" in problems[0]
