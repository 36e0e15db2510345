from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import Line
from weeyuga_core.ledger.reader import Ledger
from weeyuga_core.sinks import delivery as delivery_module
from weeyuga_core.sinks.delivery import Delivery

PATIENT_S = 60.0
"""A deadline that no test waits for."""

AT_ONCE_S = 0.01


async def whole_run(delivery: Delivery, ledger: Ledger, lines: Sequence[Line]) -> None:
    await delivery.open(ledger.meta)
    await delivery.deliver(lines[:1])
    await delivery.deliver(lines[1:3])
    await delivery.deliver(lines[3:])
    await delivery.close(ledger.end)


def test_every_sink_gets_every_line_in_order(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    sinks = {"a": spy(), "b": spy()}
    delivery = Delivery(sinks, deadline_s=PATIENT_S)
    asyncio.run(whole_run(delivery, ledger, lines))
    for sink in sinks.values():
        assert sink.seen == ["open", "0", "1 2", "3 4 5 6 7 8 9", "close"]
    assert delivery.problems() == ()


@pytest.mark.parametrize(
    ("step", "fed", "count"),
    [
        ("open", ["open"], 0),
        ("0", ["open", "0"], 0),
        ("1 2", ["open", "0", "1 2"], 1),
        ("3 4 5 6 7 8 9", ["open", "0", "1 2", "3 4 5 6 7 8 9"], 3),
    ],
)
@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_sink_that_fails_is_fed_no_more_and_the_others_do_not_notice(
    spy: Any, ledger: Ledger, lines: list[Line], step: str, fed: list[str], count: int, how: str
) -> None:
    bad = spy(fails={step: OSError("no route")}) if how == "raises" else spy(hangs=step)
    good = spy()
    delivery = Delivery({"bad=there": bad, "good": good}, deadline_s=PATIENT_S if how == "raises" else AT_ONCE_S)
    asyncio.run(whole_run(delivery, ledger, lines))
    assert good.seen == ["open", "0", "1 2", "3 4 5 6 7 8 9", "close"]
    assert bad.seen == [*fed, "close"]
    why = "OSError: no route" if how == "raises" else f"no answer within {AT_ONCE_S} s"
    assert delivery.problems() == (f"sink bad=there is behind, it was given {count} lines of the ledger: {why}",)


def test_a_sink_that_fails_to_close_is_behind_with_all_its_lines(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    delivery = Delivery({"bad": spy(fails={"close": UsageError("gone", hint="look")})}, deadline_s=PATIENT_S)
    asyncio.run(whole_run(delivery, ledger, lines))
    assert delivery.problems() == ("sink bad is behind, it was given 10 lines of the ledger: gone",)


def test_the_first_fault_is_the_one_that_is_told(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    bad = spy(fails={"0": ValueError("first"), "close": ValueError("second")})
    delivery = Delivery({"bad": bad}, deadline_s=PATIENT_S)
    asyncio.run(whole_run(delivery, ledger, lines))
    assert "first" in delivery.problems()[0]
    assert "second" not in delivery.problems()[0]


def test_a_sink_that_ignores_its_cancellation_does_not_hold_up_the_run(ledger: Ledger, lines: list[Line]) -> None:
    release = asyncio.Event()

    class Stubborn:
        async def open(self, meta: Any) -> None:
            """Nothing to open."""

        async def deliver(self, lines: Sequence[Line]) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            raise OSError("late")

        async def close(self, end: Any) -> None:
            """Nothing to close."""

    complaints: list[dict[str, Any]] = []

    async def scenario() -> tuple[str, ...]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        delivery = Delivery({"stubborn": Stubborn()}, deadline_s=AT_ONCE_S)
        await whole_run(delivery, ledger, lines)
        release.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        gc.collect()
        return delivery.problems()

    assert "no answer" in asyncio.run(scenario())[0]
    assert complaints == [], "what it raised in the end concerns nobody any more"


def test_a_cancelled_run_leaves_no_hole_in_any_sink(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(spy):  # type: ignore[misc]  # the class comes from a fixture
        async def deliver(self, lines: Sequence[Line]) -> None:
            entered.set()
            await go_on.wait()
            await super().deliver(lines)

    sinks = {"slow": Slow(), "next": spy()}

    async def scenario() -> Delivery:
        delivery = Delivery(sinks, deadline_s=PATIENT_S)
        await delivery.open(ledger.meta)
        run = asyncio.create_task(delivery.deliver(lines[:2]))
        await entered.wait()
        run.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await run
        await delivery.deliver(lines[2:3])
        return delivery

    delivery = asyncio.run(scenario())
    assert delivery.problems() == ()
    for sink in sinks.values():
        assert sink.seen == ["open", "0 1", "2"]


def test_a_run_that_is_taken_up_again_hands_over_its_ledger_in_pieces(
    spy: Any, ledger: Ledger, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks = {"a": spy(), "b": spy()}
    monkeypatch.setattr(delivery_module, "PIECE_LINES", 3)
    monkeypatch.setattr(delivery_module, "PIECE_BYTES", len(lines[7].raw) + len(lines[6].raw) - 1)

    async def scenario() -> Delivery:
        delivery = Delivery(sinks, deadline_s=PATIENT_S)
        await delivery.begin(ledger.meta, iter(lines[:9]))
        await delivery.deliver(lines[9:])
        await delivery.close(ledger.end)
        return delivery

    assert asyncio.run(scenario()).problems() == ()
    for sink in sinks.values():
        first, *pieces, last, closed = sink.seen
        assert (first, last, closed) == ("open", "9", "close")
        assert " ".join(pieces) == "0 1 2 3 4 5 6 7 8"
        assert len(pieces) > 3
        assert all(len(piece.split()) <= 3 for piece in pieces)


def test_a_sink_that_cannot_be_opened_again_is_told_and_the_others_go_on(
    spy: Any, ledger: Ledger, lines: list[Line]
) -> None:
    bad, good = spy(fails={"open": OSError("no route")}), spy()
    delivery = Delivery({"bad": bad, "good": good}, deadline_s=PATIENT_S)
    asyncio.run(delivery.begin(ledger.meta, lines))
    assert (bad.seen, good.seen) == (["open"], ["open", "0 1 2 3 4 5 6 7 8 9"])
    assert "it was given 0 lines of the ledger: OSError: no route" in delivery.problems()[0]


def test_a_cancelled_beginning_is_finished_first(
    spy: Any, ledger: Ledger, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "PIECE_LINES", 4)
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(spy):  # type: ignore[misc]  # the class comes from a fixture
        async def deliver(self, lines: Sequence[Line]) -> None:
            entered.set()
            await go_on.wait()
            await super().deliver(lines)

    sink = Slow()

    async def scenario() -> None:
        beginning = asyncio.create_task(Delivery({"a": sink}, deadline_s=PATIENT_S).begin(ledger.meta, lines))
        await entered.wait()
        beginning.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await beginning

    asyncio.run(scenario())
    assert sink.seen == ["open", "0 1 2 3", "4 5 6 7", "8 9"]


def test_a_ledger_that_cannot_be_read_again_is_no_fault_of_a_sink(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    def broken() -> Any:
        yield lines[0]
        raise UsageError("gone")

    delivery = Delivery({"a": spy()}, deadline_s=PATIENT_S)
    with pytest.raises(UsageError, match="gone"):
        asyncio.run(delivery.begin(ledger.meta, broken()))
    assert delivery.problems() == ()


def test_deliveries_from_several_tasks_keep_their_order(spy: Any, ledger: Ledger, lines: list[Line]) -> None:
    class Yielding(spy):  # type: ignore[misc]  # the class comes from a fixture
        async def deliver(self, lines: Sequence[Line]) -> None:
            for _ in range(10 - lines[0].seq):
                await asyncio.sleep(0)
            await super().deliver(lines)

    sink = Yielding()

    async def scenario() -> None:
        delivery = Delivery({"a": sink}, deadline_s=PATIENT_S)
        await asyncio.gather(*[delivery.deliver([line]) for line in lines])

    asyncio.run(scenario())
    assert sink.seen == [str(line.seq) for line in lines]
