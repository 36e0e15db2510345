"""What can be had from JSON that nobody vouches for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core import loose_json
from weeyuga_core.loose_json import count, excerpt, items, mapping, message_of, number, parsed, text, words_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "n"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_text_raises(said: bytes | str) -> None:
    parsed(said)


def test_json_nested_beyond_reason_is_none() -> None:
    assert parsed("[" * 200_000) is None


@given(ANYTHING)
def test_whatever_is_parsed_can_be_written_into_a_ledger(value: object) -> None:
    json.dumps(parsed(json.dumps(value)), allow_nan=False)


@given(ANYTHING)
def test_each_kind_is_that_kind_or_nothing(value: object) -> None:
    assert mapping(value) == (value if isinstance(value, dict) else {})
    assert items(value) == (value if isinstance(value, list) else [])
    assert text(value) == (value if isinstance(value, str) else "")
    assert isinstance(words_of(value), str)


@pytest.mark.parametrize(
    ("value", "as_number", "as_count"),
    [
        (0, 0, 0),
        (7, 7, 7),
        (0.5, 0.5, None),
        (2**53 - 1, 2**53 - 1, 2**53 - 1),
        (2**53, None, None),
        (-1, None, None),
        (True, None, None),
        ("7", None, None),
        (None, None, None),
        (float("nan"), None, None),
    ],
)
def test_numbers_are_told_where_they_can_be_meant(value: object, as_number: object, as_count: object) -> None:
    assert number({"n": value}, "n") == as_number
    assert count({"n": value}, "n") == as_count
    assert count({"n": value}, "n", 3) == (3 if as_count is None else as_count)
    assert count({}, "n", 3) == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no such model"}}', "no such model"),
        (b'\xef\xbb\xbf{"error": {"message": "no such model"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b'{"detail": "no such model"}', "no such model"),
        (b"no such model\n", "no such model"),
        (b'{"error": {"message": 5}}', '{"error": {"message": 5}}'),
        (b"\xff", "�"),
        (b"", ""),
    ],
)
def test_a_refusal_speaks_in_the_servers_words(body: bytes, words: str) -> None:
    assert message_of(body) == words


def test_words_of_any_length_are_cut_short() -> None:
    long = "x" * 10_000
    assert len(message_of(long.encode())) == loose_json.MESSAGE_CHARS
    assert len(words_of({"error": long})) == loose_json.MESSAGE_CHARS
    assert excerpt("short") == "'short'"
    assert excerpt(long) == repr("x" * loose_json.EXCERPT_CHARS + "...")
