from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.testing.golden_script import GoldenScript, ScriptError, Write, fleet, play

US = 1_000


def writes(**script: Any) -> list[Write]:
    return list(play(GoldenScript(**script), "golden-1", 0))


def marked(mark: str, **script: Any) -> list[int]:
    """When the data lines of that mark are due, in us."""
    return [write.due_ns // US for write in writes(**script) for one in write.marks if one == mark]


def body(**script: Any) -> bytes:
    return b"".join(write.data for write in writes(framing="close", **script) if "head" not in write.marks)


def test_deltas_are_due_at_their_interval() -> None:
    assert marked("answer", chunks=3, first_delay_us=500, interval_us=70) == [500, 570, 640]
    assert marked("done", chunks=3, first_delay_us=500, interval_us=70) == [640]


def test_reasoning_comes_before_the_answer_on_the_same_beat() -> None:
    script = {"reasoning": 2, "chunks": 1, "first_delay_us": 0, "interval_us": 10}
    assert marked("reasoning", **script) == [0, 10]
    assert marked("answer", **script) == [20]


def test_several_deltas_in_one_write_are_due_with_the_last_of_them() -> None:
    script = {"chunks": 5, "per_write": 2, "first_delay_us": 100, "interval_us": 10}
    assert marked("answer", **script) == [110, 110, 130, 130, 140]
    assert body(**script) == body(chunks=5, first_delay_us=100, interval_us=10)


def test_the_head_may_be_late_and_holds_everything_back() -> None:
    script = {"head_delay_us": 900, "first_delay_us": 100, "chunks": 1}
    assert marked("head", **script) == [900]
    assert marked("answer", **script) == [900]


def test_the_role_chunk_may_lead() -> None:
    assert marked("role", role_lead_us=300, first_delay_us=500) == [200]
    assert marked("role", role_chunk=False) == marked("role", shape="ndjson") == []


def test_pings_are_spread_over_the_wait() -> None:
    pings = [write.due_ns // US for write in writes(pings=3, first_delay_us=400) if not write.marks]
    assert pings == [100, 200, 300]


def test_a_fleet_keeps_step_or_is_spread_over_one_interval() -> None:
    script = GoldenScript(interval_us=400, first_delay_us=1_000)

    def firsts(*, aligned: bool) -> list[int]:
        """Asked for at different moments, all within one interval."""
        made = enumerate(fleet(4, script, aligned=aligned))
        return [next(w.due_ns for w in play(one, "x", i * 37 * US) if "answer" in w.marks) // US for i, one in made]

    assert firsts(aligned=True) == [1_200] * 4
    assert firsts(aligned=False) == [1_200, 1_300, 1_400, 1_500]


@given(
    st.sampled_from(["openai_sse", "ndjson"]),
    st.sampled_from(["none", "halves", "utf8", "bytes"]),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 4),
)
def test_splitting_changes_no_byte_and_no_mark(shape: str, split: str, per_write: int, reasoning: int, n: int) -> None:
    script = {"shape": shape, "per_write": per_write, "reasoning": reasoning, "chunks": n, "text": "žluť"}
    whole, torn = writes(**script), writes(split=split, **script)
    assert b"".join(write.data for write in torn) == b"".join(write.data for write in whole)
    assert [mark for write in torn for mark in write.marks] == [mark for write in whole for mark in write.marks]


def test_utf8_is_torn_inside_a_character() -> None:
    torn = [write.data for write in writes(split="utf8", text="ž", chunks=1) if write.data.endswith("ž".encode()[:1])]
    assert len(torn) == 1


@pytest.mark.parametrize("cut", ["none", "error", "end"])
@pytest.mark.parametrize("shape", ["openai_sse", "ndjson"])
def test_a_sized_reply_states_its_true_length(shape: str, cut: str) -> None:
    head, *rest = writes(shape=shape, framing="sized", chunks=3, cut=cut, cut_after=2)
    assert f"content-length: {sum(len(write.data) for write in rest)}\r\n".encode() in head.data


def test_a_sized_reply_that_breaks_off_promised_more() -> None:
    head, *rest = writes(framing="sized", chunks=3, cut="close", cut_after=2)
    assert f"content-length: {sum(len(write.data) for write in rest) + 1}\r\n".encode() in head.data


def test_the_engines_clock_tells_what_the_schedule_makes_true() -> None:
    lines = body(chunks=4, first_delay_us=2_000, interval_us=500, cached_tokens=5, prompt_tokens=12).split(b"\n\n")
    chunk = next(json.loads(line[6:]) for line in lines if b"timings" in line)
    assert chunk["usage"]["completion_tokens"] == 4
    assert chunk["timings"] == {
        "cache_n": 5,
        "prompt_n": 12 - 5,
        "prompt_ms": 2.0,
        "predicted_n": 4,
        "predicted_ms": 3 * 0.5,
        "predicted_per_second": 2_000.0,
    }


def test_an_engine_can_be_made_to_lie() -> None:
    assert json.loads(body(shape="ndjson", claims={"eval_count": 99}).splitlines()[-1])["eval_count"] == 99


def test_the_first_answer_may_be_a_megabyte() -> None:
    longest = max(body(chunks=2, first_text_bytes=1_000_000).split(b"\n"), key=len)
    assert len(longest) > 1_000_000


def test_a_script_goes_through_json_unchanged() -> None:
    script = GoldenScript(shape="ndjson", chunks=3, finish=None, claims={"x": 1}, headers={"a": "b"})
    assert GoldenScript.from_json(json.loads(json.dumps(asdict(script)))) == script


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"chunk": 1}, "chunk; known: shape"),
        ({"chunks": "a"}, "chunks"),
        ({"chunks": -1}, "chunks"),
        ({"shape": "smoke"}, "shape"),
        ({"done": 1}, "done"),
        ({"per_write": 0}, "per_write"),
        ([], "is an object"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_by_name(wanted: object, named: str) -> None:
    with pytest.raises(ScriptError, match=named):
        GoldenScript.from_json(wanted)
