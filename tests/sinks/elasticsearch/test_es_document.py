from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import Line
from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.model import tags
from weeyuga_core.model.records import CallRecord
from weeyuga_core.sinks.elasticsearch.bulk import Item
from weeyuga_core.sinks.elasticsearch.document import FIELDS, WORDS, Documents, moment

GOLDEN = Path(__file__).parents[2] / "golden" / "ledger_v1.jsonl"
RUN = "4e2a9c1d-7b35-4f0e-9a61-2d8c5e0b7f43"


def documents_of(lines: list[Line], *, under: str = "metadata", prefix: str = "weeyuga-telemetry") -> list[Item]:
    documents = Documents(prefix=prefix, tags_under=under)
    made = []
    for line in lines:
        documents.learn(line)
        made.append(documents.item(line))
    return made


def golden_lines() -> list[Line]:
    return list(iter_lines(GOLDEN))


def line_of(record: dict[str, Any], seq: int) -> Line:
    raw = json.dumps(record).encode() + b"\n"
    return Line(seq, 0, raw, record)


def bodies(**more: Any) -> list[dict[str, Any]]:
    return [json.loads(item.document) for item in documents_of(golden_lines(), **more)]


def test_every_line_has_a_document_under_run_and_number() -> None:
    assert [item.id for item in documents_of(golden_lines())] == [f"{RUN}:{n}" for n in range(len(golden_lines()))]


def test_the_same_ledger_gives_the_same_documents() -> None:
    assert documents_of(golden_lines()) == documents_of(golden_lines())


def test_every_document_is_tagged_as_a_test_with_its_run_and_the_digest_of_its_line() -> None:
    for line, body in zip(golden_lines(), bodies(), strict=True):
        assert body["metadata"][tags.TAG_TEST] is True
        assert body["metadata"][tags.TAG_RUN_ID] == RUN
        assert body["metadata"][tags.TAG_HARNESS_VERSION] == "1"
        assert body["metadata"][tags.TAG_RECORD_SHA256] == sha256(line.raw).hexdigest()


def test_a_call_carries_every_tag_and_a_skipped_cell_those_that_it_has() -> None:
    by_seq = bodies()
    assert by_seq[4]["metadata"] == {
        "test": True,
        "benchmark_run_id": RUN,
        "benchmark_cell_id": "mac:llamacpp:qwen3.5:0.8b",
        "benchmark_prompt_id": "P-EASY",
        "benchmark_phase": "warm",
        "benchmark_run_idx": 0,
        "harness_version": "1",
        "benchmark_record_sha256": sha256(golden_lines()[4].raw).hexdigest(),
    }
    assert "benchmark_prompt_id" not in by_seq[1]["metadata"]
    assert by_seq[1]["metadata"]["benchmark_phase"] == "skipped"


def test_logs_have_the_same_tags_as_texts_under_labels() -> None:
    for plain, logs in zip(bodies(), bodies(under="labels"), strict=True):
        assert "metadata" not in logs
        assert logs["labels"] == {
            key: "true" if value is True else str(value) for key, value in plain["metadata"].items()
        }


def test_a_call_is_named_as_others_name_it() -> None:
    body = bodies()[3]
    assert body["@timestamp"] == "2026-04-29T02:00:05.012Z"
    assert body["event"] == {
        "kind": "metric",
        "dataset": "weeyuga.benchmark.call",
        "sequence": 3,
        "outcome": "success",
        "duration": 3080500000,
    }
    assert body["server"] == {"address": "mac"}
    assert body["gen_ai"] == {
        "operation": {"name": "chat"},
        "provider": {"name": "llamacpp"},
        "request": {"model": "qwen3.5:0.8b"},
        "response": {"time_to_first_chunk": 2.8105, "finish_reasons": ["stop"]},
        "usage": {"input_tokens": 11, "output_tokens": 27},
    }
    assert (body["trace"]["id"], body["span"]["id"]) == tags.trace_ids(RUN, 3)


def test_a_call_that_failed_and_a_cell_that_was_skipped_are_told_apart() -> None:
    skipped, failed = bodies()[1], bodies()[8]
    assert (skipped["event"]["outcome"], skipped["error"]) == ("unknown", {"type": "skipped"})
    assert (failed["event"]["outcome"], failed["error"]) == ("failure", {"type": "reset"})
    assert "gen_ai" not in skipped
    assert "trace" not in skipped


def test_the_model_asked_for_is_that_of_the_cell_record() -> None:
    lines = golden_lines()
    cell = dict(lines[2].record) | {"request_model": "another name"}
    made = documents_of([lines[0], line_of(cell, 2), lines[3]])
    assert json.loads(made[2].document)["gen_ai"]["request"]["model"] == "another name"
    unready = documents_of([lines[0], lines[3]])
    assert json.loads(unready[1].document)["gen_ai"]["request"]["model"] == "qwen3.5:0.8b"


def test_each_kind_of_record_has_a_time_of_its_own() -> None:
    stamps = [body["@timestamp"] for body in bodies()]
    assert stamps[0] == "2026-04-29T02:00:00.000Z", "the run's start"
    assert stamps[1] == stamps[0], "a skipped cell has none: the run's start stands for it"
    assert stamps[2] == "2026-04-29T02:00:02.950Z", "when the cell was ready"
    assert stamps[3] == "2026-04-29T02:00:05.012Z", "when the call began"
    assert stamps[-1] == golden_lines()[-1].record["finished_at_utc"], "when the run ended"


def test_the_index_is_named_from_the_records_own_day_in_utc() -> None:
    meta = golden_lines()[0]
    calls = [
        line_of({"type": "call", "cell_id": "a:b:c", "started_at_utc": at}, seq)
        for seq, at in enumerate(["2026-04-29T23:59:59.999Z", "2026-04-30T00:00:00Z", "2026-04-30T01:30:00+02:00"], 1)
    ]
    names = [item.index for item in documents_of([meta, *calls], prefix="own")]
    assert names == ["own-2026.04.29", "own-2026.04.29", "own-2026.04.30", "own-2026.04.29"]


def test_a_record_of_a_kind_that_is_not_known_is_carried_with_its_tags() -> None:
    meta = golden_lines()[0]
    body = json.loads(documents_of([meta, line_of({"type": "new", "text": "secret"}, 1)])[1].document)
    assert body["event"]["dataset"] == "weeyuga.benchmark.new"
    assert body["weeyuga"]["bench"] == {"record": "new", "benchmark_run_id": RUN}


def test_a_run_without_a_time_is_refused() -> None:
    meta = dict(golden_lines()[0].record) | {"started_at_utc": "yesterday"}
    with pytest.raises(UsageError, match="started_at_utc"):
        documents_of([line_of(meta, 0)])


def test_numbers_and_the_words_to_group_by_are_typed_outside_the_tags() -> None:
    bench = bodies()[4]["weeyuga"]["bench"]
    line = golden_lines()[4].record
    for name in ("cell_id", "prompt_id", "phase", "run_idx", "first_delta_ms", "total_duration_ns", "tokens_per_sec"):
        assert bench[name] == line[name]
    assert bench["benchmark_run_id"] == RUN


def test_every_number_of_a_call_is_carried() -> None:
    numbers = {
        field.name
        for field in attrs.fields(CallRecord)
        if str(field.type).removesuffix(" | None") in ("int", "float", "bool") and field.name != "seq"
    }
    assert numbers <= FIELDS["call"].keys()


TEXTS = ("error", "cold_proof", "primed", "tokens_per_sec_null_reason", "endpoint", "git_note", "host", "flags")


def test_texts_and_places_are_not_carried() -> None:
    assert not WORDS & set(TEXTS)
    lines = golden_lines()
    marked = [
        line_of({name: "MARK" if name in TEXTS else value for name, value in line.record.items()}, line.seq)
        for line in lines
    ]
    marked[0] = lines[0]
    assert not [item.id for item in documents_of(marked) if b"MARK" in item.document]


@given(st.dictionaries(st.sampled_from(sorted(FIELDS["call"])), st.none() | st.integers() | st.text() | st.booleans()))
def test_a_value_of_the_wrong_type_is_left_out(values: dict[str, Any]) -> None:
    call = {"type": "call", "cell_id": "a:b:c"} | values
    body = json.loads(documents_of([golden_lines()[0], line_of(call, 1)])[1].document)
    types = {"long": int, "double": float, "boolean": bool, "keyword": str}
    for name, value in body["weeyuga"]["bench"].items():
        if name in FIELDS["call"]:
            assert type(value) is types[FIELDS["call"][name]]


@given(st.text(max_size=30) | st.none() | st.integers())
def test_a_moment_is_in_utc_or_none(text: object) -> None:
    at = moment(text)
    assert at is None or at.utcoffset() is not None


def test_trace_and_span_are_w3c_ids_that_differ_by_call() -> None:
    seen = {tags.trace_ids(RUN, seq) for seq in range(100)}
    assert len(seen) == 100
    assert all((len(trace), len(span)) == (32, 16) and int(trace, 16) and int(span, 16) for trace, span in seen)


def test_a_resume_line_is_dated_by_itself_and_carries_its_figures() -> None:
    lines = list(iter_lines(GOLDEN.with_name("ledger_v1_resumed.jsonl")))
    (number,) = [line.seq for line in lines if line.record["type"] == "resume"]
    body = json.loads(documents_of(lines)[number].document)
    assert body["@timestamp"] == lines[number].record["resumed_at_utc"]
    assert body["event"]["dataset"] == "weeyuga.benchmark.resume"
    figures = {"gap_s": 1860.5, "steps_left": 9, "git_dirty": True}
    assert figures.items() <= body["weeyuga"]["bench"].items()
    assert "notes.txt" not in json.dumps(body)
