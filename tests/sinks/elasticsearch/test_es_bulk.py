from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.sinks.elasticsearch import bulk
from weeyuga_core.sinks.elasticsearch.bulk import Again, Answer, Fate, Item, Items, Split, Stop

INDEX = "weeyuga-telemetry-2026.04.29"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({"create": {"_id": "run:0"}}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["items", "create", "x"]), inner),
    max_leaves=8,
)


def batch(count: int) -> list[Item]:
    return [Item(f"run:{n}", INDEX, b"{}", n, b"x", "sha") for n in range(count)]


def answer(statuses: list[int], *, ids: list[str] | None = None, index: str = INDEX) -> bytes:
    names = ids or [f"run:{n}" for n in range(len(statuses))]
    told = [{"create": {"_id": id_, "_index": index, "status": one}} for id_, one in zip(names, statuses, strict=True)]
    return json.dumps({"items": told}).encode()


@given(st.integers(1, 20))
def test_a_body_is_one_create_and_one_document_an_item(count: int) -> None:
    lines = bulk.encode(batch(count)).split(b"\n")
    assert lines.pop() == b"", "stores refuse a body that does not end in a newline"
    assert [json.loads(line) for line in lines[::2]] == [
        {"create": {"_index": INDEX, "_id": f"run:{n}"}} for n in range(count)
    ]
    assert lines[1::2] == [b"{}"] * count


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (200, Fate.CREATED),
        (201, Fate.CREATED),
        (409, Fate.DUPLICATE),
        (429, Fate.RETRY),
        (500, Fate.RETRY),
        (503, Fate.RETRY),
        (400, Fate.DEAD),
        (401, Fate.HALT),
        (403, Fate.HALT),
        (404, Fate.HALT),
        (418, Fate.ODD),
        (302, Fate.ODD),
        (999, Fate.ODD),
    ],
)
def test_each_status_of_an_item_has_one_meaning(status: int, fate: Fate) -> None:
    (outcome,) = bulk.read_items(batch(1), answer([status])) or ()
    assert outcome.fate is fate


@given(st.lists(st.integers(100, 999), min_size=1, max_size=10))
def test_outcomes_stand_in_the_order_of_the_items(statuses: list[int]) -> None:
    found = bulk.read_items(batch(len(statuses)), answer(statuses))
    assert found is not None
    assert [outcome.status for outcome in found] == statuses


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[" * 5000,
        b"null",
        answer([201]),
        answer([201, 201, 201]),
        answer([201, 201], ids=["run:1", "run:0"]),
        b'{"items":[{"index":{"_id":"run:0","status":201}},{"index":{"_id":"run:1","status":201}}]}',
        answer([201, 201])[:-4],
        answer([201, 201]).replace(b"201", b'"201"'),
    ],
)
def test_an_answer_that_does_not_fit_leaves_all_in_doubt(body: bytes) -> None:
    assert bulk.decide(batch(2), Answer(200, body)) == Again("an answer that does not fit the request")


@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=30), st.integers(1, 3))
def test_no_body_is_too_strange(body: bytes, count: int) -> None:
    assert isinstance(bulk.decide(batch(count), Answer(200, body)), Again | Items)
    for status in (400, 401, 413, 302):
        assert isinstance(bulk.decide(batch(count), Answer(status, body)), Split | Stop)


@pytest.mark.parametrize("status", [None, 429, 500, 502, 503, 504])
def test_a_store_that_is_busy_or_away_is_asked_again(status: int | None) -> None:
    assert isinstance(bulk.decide(batch(2), Answer(status, fault="reset")), Again)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 406, 418])
def test_what_an_operator_must_mend_stops_all_and_says_how(status: int) -> None:
    told = bulk.decide(batch(2), Answer(status, b'{"error":{"type":"why","reason":"because"}}'))
    assert isinstance(told, Stop)
    assert told.halted
    assert told.hint
    assert told.why == f"the store answers HTTP {status}: why: because"


@pytest.mark.parametrize("status", [400, 413])
def test_a_request_refused_as_a_whole_is_halved(status: int) -> None:
    told = bulk.decide(batch(2), Answer(status))
    assert isinstance(told, Split)
    assert told.if_single.fate is Fate.DEAD


@pytest.mark.parametrize("status", [201, 409])
def test_a_name_that_leads_to_another_index_stops_all(status: int) -> None:
    (outcome,) = bulk.read_items(batch(1), answer([status], index=f".ds-{INDEX}-000001")) or ()
    assert outcome.fate is Fate.HALT
    assert "a prefix of its own" in bulk.halt(outcome).hint


def test_only_settled_items_are_settled() -> None:
    assert {fate for fate in Fate if fate.settled} == {Fate.CREATED, Fate.DUPLICATE, Fate.DEAD}
