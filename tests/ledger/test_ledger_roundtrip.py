"""Whatever a record holds comes back from the file as it was; and the golden file pins the bytes."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weeyuga_core.ledger.reader import read
from weeyuga_core.ledger.structure import RECORDS, to_record
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.model.records import (
    CallRecord,
    CellRecord,
    EndRecord,
    MetaRecord,
    Record,
    ResumeRecord,
    ms,
    to_line,
)

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
"""Any code points, lone surrogates too: engines send broken text."""

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(-(2**80), 2**80),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    Any: st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of([values(one) for one in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple and args[-1] is ...:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[values(one) for one in args])
    if origin is Mapping:
        return st.dictionaries(TEXTS, values(args[1]), max_size=3)
    return SCALARS[kind]


def records(kind: type[Record]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in attrs.fields(kind)})


@pytest.mark.parametrize("kind", RECORDS.values(), ids=list(RECORDS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_record_comes_back_from_its_line(kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(records(kind))
    line = to_line(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    back = to_record(json.loads(line))
    assert back == record
    assert back is not None
    assert to_line(back) == line


@settings(max_examples=20, deadline=None)
@given(
    meta=records(MetaRecord),
    body=st.lists(records(CellRecord) | records(CallRecord) | records(ResumeRecord), max_size=4),
    end=records(EndRecord),
)
def test_a_ledger_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, meta: MetaRecord, body: list[Record], end: EndRecord
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "run.jsonl"
    with LedgerWriter.create(path) as writer:
        writer.append_many([meta, *body])
        writer.finish(end)
    ledger = read(path)
    assert ledger.problems == ()
    assert ledger.meta == attrs.evolve(meta, seq=0)
    numbered = [attrs.evolve(record, seq=seq) for seq, record in enumerate(body, start=1)]
    assert [*ledger.cells] == [record for record in numbered if isinstance(record, CellRecord)]
    assert [*ledger.calls] == [record for record in numbered if isinstance(record, CallRecord)]
    assert [*ledger.resumes] == [record for record in numbered if isinstance(record, ResumeRecord)]


def test_the_golden_bytes_are_what_is_still_written(golden_lines: list[bytes], resumed_lines: list[bytes]) -> None:
    for line in [*golden_lines, *resumed_lines]:
        data = json.loads(line)
        record = to_record(data)
        assert record is not None
        now = json.loads(to_line(record))
        assert list(now)[: len(data)] == list(data), "fields are appended, never renamed or reordered"
        same_fields = {name: now[name] for name in data}
        assert json.dumps(same_fields, separators=(",", ":")).encode() + b"\n" == line


def test_the_golden_figures_agree_with_each_other(golden: Path) -> None:
    for call in read(golden).calls:
        twins = [name for name in attrs.fields_dict(CallRecord) if name.endswith("_ms")]
        for name in twins:
            assert getattr(call, name) == ms(getattr(call, name.removesuffix("_ms") + "_ns")), name
        if call.tokens_per_sec is None:
            continue
        assert call.first_delta_ns is not None
        assert call.last_delta_ns is not None
        assert call.total_duration_ns is not None
        assert call.completion_tokens is not None
        window_s = (call.total_duration_ns - call.first_delta_ns) / 1e9
        assert call.tokens_per_sec == round(call.completion_tokens / window_s, 3)
        decode_s = (call.last_delta_ns - call.first_delta_ns) / 1e9
        assert call.decode_tokens_per_sec == round((call.completion_tokens - 1) / decode_s, 3)


def test_the_golden_end_record_counts_its_ledger(golden: Path, resumed: Path) -> None:
    for path, superseded in ((golden, 0), (resumed, 1)):
        ledger = read(path)
        assert ledger.end is not None
        measured = [call for call in ledger.calls if call.phase != "skipped"]
        assert ledger.end.calls == len(measured)
        assert ledger.end.errors == sum(call.error is not None for call in measured)
        assert ledger.end.skipped == len(ledger.calls) - len(measured) - superseded
        assert ledger.end.record_count == ledger.lines - 1
