from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.sinks.elasticsearch.bulk import Fate
from weeyuga_core.sinks.elasticsearch.sender import CAP_S, ODD_TRIES


def fates(sent: Any) -> list[str]:
    return [outcome.fate.value for outcome in sent.outcomes.values()]


def test_a_good_store_takes_everything_in_one_request(fake: ModuleType) -> None:
    store = fake.FakeStore()
    sent = fake.send(store, fake.items(5))
    assert fates(sent) == ["created"] * 5
    assert (sent.retried, sent.stop, len(store.bulks)) == (0, None, 1)
    assert store.requests[0].headers["content-type"] == "application/x-ndjson"


def test_nothing_to_send_asks_nothing(fake: ModuleType) -> None:
    store = fake.FakeStore()
    assert fake.send(store, []).outcomes == {}
    assert store.requests == []


def test_what_is_there_already_is_settled(fake: ModuleType) -> None:
    store = fake.FakeStore()
    fake.send(store, fake.items(3))
    assert fates(fake.send(store, fake.items(3))) == ["duplicate"] * 3
    assert store.created == 3


def test_only_the_items_that_were_refused_for_now_are_sent_again(fake: ModuleType) -> None:
    store = fake.FakeStore(fake.partly(429))
    sent = fake.send(store, fake.items(4))
    assert store.bulks == [["run:0", "run:1", "run:2", "run:3"], ["run:0", "run:2"]]
    assert (store.created, sent.retried, len(sent.outcomes)) == (4, 2, 4)


AMBIGUOUS: list[Callable[[Any], Any]] = [
    lambda told: told[:-1],
    lambda told: told[::-1],
    lambda told: b'{"items":[{"cre',
    lambda told: b"",
    lambda told: [*told, told[0]],
]


@pytest.mark.parametrize("change", AMBIGUOUS)
def test_an_answer_in_doubt_is_resolved_by_sending_again(fake: ModuleType, change: Callable[[Any], Any]) -> None:
    store = fake.FakeStore(fake.garbled(change))
    sent = fake.send(store, fake.items(3))
    assert fates(sent) == ["duplicate"] * 3
    assert (store.created, len(store.documents)) == (3, 3)


@pytest.mark.parametrize("before", [True, False])
def test_a_connection_that_breaks_loses_nothing_and_doubles_nothing(fake: ModuleType, before: bool) -> None:
    store = fake.FakeStore(fake.lost(before=before))
    sent = fake.send(store, fake.items(3))
    assert fates(sent) == (["created"] if before else ["duplicate"]) * 3
    assert store.created == 3


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_busy_store_is_asked_again_later(fake: ModuleType, code: int) -> None:
    clock = fake.Clock()
    store = fake.FakeStore(*[fake.status(code)] * 4)
    assert fates(fake.send(store, fake.items(2), clock=clock)) == ["created"] * 2
    assert len(clock.pauses) == 4


def test_a_request_that_is_too_large_is_halved_until_it_fits(fake: ModuleType) -> None:
    def limit(store: Any, request: Any) -> Any:
        too_large = len(request.content.splitlines()) > 2 * 2
        return (fake.status(413) if too_large else fake.taken)(store, request)

    store = fake.FakeStore(*[limit] * 20)
    assert fates(fake.send(store, fake.items(8))) == ["created"] * 8
    assert [len(ids) for ids in store.bulks] == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize("code", [400, 413])
@given(culprit=st.integers(0, 12), count=st.integers(1, 13))
def test_the_one_that_spoils_a_request_is_found_and_the_others_get_through(
    fake: ModuleType, code: int, culprit: int, count: int
) -> None:
    def refuses(store: Any, request: Any) -> Any:
        spoiled = f'"_id":"run:{culprit}"}}'.encode() in request.content
        return (fake.status(code, body={"error": {"type": "bad"}}) if spoiled else fake.taken)(store, request)

    store = fake.FakeStore(*[refuses] * 60)
    sent = fake.send(store, fake.items(count))
    dead = [id_ for id_, outcome in sent.outcomes.items() if outcome.fate is Fate.DEAD]
    assert dead == ([f"run:{culprit}"] if culprit < count else [])
    assert store.created == count - len(dead)


def test_an_item_that_the_mapping_refuses_is_dead_at_once(fake: ModuleType) -> None:
    store = fake.FakeStore()
    store.refused["run:1"] = 400
    sent = fake.send(store, fake.items(3))
    assert fates(sent) == ["created", "dead", "created"]
    assert str(sent.outcomes["run:1"]) == "status 400: type_400: because"
    assert len(store.bulks) == 1


def test_an_unheard_of_status_is_tried_a_few_times(fake: ModuleType) -> None:
    store = fake.FakeStore()
    store.refused["run:0"] = 418
    sent = fake.send(store, fake.items(2))
    assert len(store.bulks) == ODD_TRIES
    assert sent.outcomes["run:0"].status == 418
    assert "run:1" in sent.outcomes


@pytest.mark.parametrize("code", [301, 401, 403, 404, 405, 406])
def test_a_request_that_nobody_may_make_stops_at_once(fake: ModuleType, code: int) -> None:
    store = fake.FakeStore(fake.status(code))
    sent = fake.send(store, fake.items(2))
    assert sent.stop is not None
    assert sent.stop.halted
    assert sent.outcomes == {}
    assert len(store.bulks) == 1


def test_a_block_on_the_index_stops_and_what_was_taken_stays_settled(fake: ModuleType) -> None:
    store = fake.FakeStore()
    store.refused["run:1"] = 403
    sent = fake.send(store, fake.items(3))
    assert sorted(sent.outcomes) == ["run:0", "run:2"]
    assert sent.stop is not None
    assert "lift the index's block" in sent.stop.hint


def test_a_store_that_takes_nothing_is_left_when_the_time_is_up(fake: ModuleType) -> None:
    clock = fake.Clock()
    store = fake.FakeStore(*[fake.status(503)] * 1000)
    sent = fake.send(store, fake.items(2), deadline_s=30.0, clock=clock)
    assert sent.stop is not None
    assert not sent.stop.halted
    assert clock.now_s <= 30.0
    assert "HTTP 503" in sent.stop.why


def test_the_time_begins_anew_with_every_item_that_gets_through(fake: ModuleType) -> None:
    clock = fake.Clock()
    slow = [fake.status(503, headers={"retry-after": "8"}), fake.partly(429)]
    store = fake.FakeStore(*slow * 6)
    sent = fake.send(store, fake.items(64), deadline_s=20.0, clock=clock)
    assert sent.stop is None
    assert store.created == 64
    assert clock.now_s > 20.0


@pytest.mark.parametrize(
    ("told", "least_s", "most_s"), [("7", 7.0, 7.0), ("4000", CAP_S, CAP_S), ("soon", 0.0, 1.0), ("-1", 0.0, 1.0)]
)
def test_the_store_may_say_when_to_come_again_within_reason(
    fake: ModuleType, told: str, least_s: float, most_s: float
) -> None:
    clock = fake.Clock()
    fake.send(fake.FakeStore(fake.status(429, headers={"retry-after": told})), fake.items(1), clock=clock)
    assert least_s <= clock.pauses[0] <= most_s


def test_pauses_grow_at_random_up_to_the_cap(fake: ModuleType) -> None:
    clock = fake.Clock()
    fake.send(fake.FakeStore(*[fake.status(503)] * 40), fake.items(1), deadline_s=1e9, clock=clock)
    assert len(clock.pauses) == 40
    assert all(pause <= min(CAP_S, 0.5 * 2**tries) for tries, pause in enumerate(clock.pauses, start=1))
    assert max(clock.pauses[-20:]) > CAP_S / 2


FAULTS = ["taken", "429", "503", "partly", "lost before", "lost after", "short", "reversed", "cut"]


@given(st.lists(st.sampled_from(FAULTS), max_size=25), st.integers(1, 30))
def test_whatever_happens_each_item_is_there_once(fake: ModuleType, script: list[str], count: int) -> None:
    meets = {
        "taken": fake.taken,
        "429": fake.status(429),
        "503": fake.status(503),
        "partly": fake.partly(429),
        "lost before": fake.lost(before=True),
        "lost after": fake.lost(before=False),
        "short": fake.garbled(lambda told: told[1:]),
        "reversed": fake.garbled(lambda told: [*told[::-1], {}]),
        "cut": fake.garbled(lambda told: b'{"items":['),
    }
    store = fake.FakeStore(*(meets[word] for word in script))
    sent = fake.send(store, fake.items(count), deadline_s=1e9)
    assert sorted(sent.outcomes) == sorted(item.id for item in fake.items(count))
    assert store.created == len(store.documents) == count
