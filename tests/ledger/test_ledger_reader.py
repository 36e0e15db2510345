from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from weeyuga_core.errors import LedgerDamaged, NothingToDo, UsageError
from weeyuga_core.ledger.reader import TornTail, iter_lines, read
from weeyuga_core.ledger.recover import recover
from weeyuga_core.ledger.structure import IF_SET, RECORDS
from weeyuga_core.ledger.writer import LedgerWriter


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes, or mappings as lines, to a ledger file."""

    def write(*parts: bytes | dict[str, Any]) -> Path:
        path = tmp_path / "run.jsonl"
        lines = [part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n" for part in parts]
        path.write_bytes(b"".join(lines))
        return path

    return write


@pytest.fixture
def lines(golden_lines: list[bytes]) -> list[dict[str, Any]]:
    """The golden ledger without its end record, as mappings that a test may change."""
    return [json.loads(line) for line in golden_lines[:-1]]


def test_the_golden_ledger_is_whole(golden: Path) -> None:
    ledger = read(golden)
    assert ledger.problems == ()
    assert ledger.complete
    assert ledger.digest_ok is True
    assert (len(ledger.cells), len(ledger.calls), ledger.lines, ledger.unknown) == (1, 7, 10, 0)
    assert ledger.path_name == golden.name
    assert ledger.size_bytes == golden.stat().st_size


def test_the_golden_ledger_of_a_resumed_run_is_whole(resumed: Path) -> None:
    ledger = read(resumed)
    assert ledger.problems == ()
    assert (ledger.complete, ledger.resumable, ledger.digest_ok) == (True, False, True)
    (resume,) = ledger.resumes
    (interrupted,) = ledger.earlier_ends
    assert interrupted.interrupted
    assert interrupted.seq + 1 == resume.seq
    assert ledger.end is not None
    assert not ledger.end.interrupted
    assert ledger.lines == ledger.end.record_count + 1


def test_reading_changes_nothing(tmp_path: Path, golden_lines: list[bytes]) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(golden_lines[:4]) + b"torn")
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    read(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_ledger_without_end_is_readable(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    ledger = read(put(*golden_lines[:-1]))
    assert not ledger.complete
    assert ledger.resumable
    assert ledger.digest_ok is None
    assert ledger.problems == ("no end record: the run died",)


# --- a run that was taken up again --------------------------------------------------------------------------------


@pytest.fixture
def at(resumed_lines: list[bytes]) -> int:
    """Where the resume line of that ledger stands, behind an end line."""
    (number,) = [number for number, line in enumerate(resumed_lines) if json.loads(line)["type"] == "resume"]
    return number


def test_each_state_of_a_run_has_its_own_end(put: Callable[..., Path], resumed_lines: list[bytes], at: int) -> None:
    interrupted = read(put(*resumed_lines[:at]))
    assert interrupted.end is not None
    assert interrupted.end.interrupted
    assert (interrupted.resumable, interrupted.resumes, interrupted.earlier_ends) == (True, (), ())
    died_again = read(put(*resumed_lines[:-1]))
    assert (died_again.end, died_again.resumable, died_again.digest_ok) == (None, True, True)
    assert died_again.earlier_ends == (interrupted.end,)
    assert died_again.problems == ("no end record: the run died",)


def test_a_resume_line_needs_no_end_line_before_it(
    put: Callable[..., Path], resumed_lines: list[bytes], at: int
) -> None:
    lines = [json.loads(line) for line in resumed_lines[: at - 1] + resumed_lines[at:-1]]
    ledger = read(put(*[line | {"seq": seq} for seq, line in enumerate(lines)]))
    assert (len(ledger.resumes), ledger.earlier_ends, ledger.digest_ok) == (1, (), None)


def test_a_changed_byte_before_any_end_breaks_the_digest(
    put: Callable[..., Path], resumed_lines: list[bytes], at: int
) -> None:
    changed = resumed_lines[3].replace(b'"first_delta_ms":2810,', b'"first_delta_ms":2800,')
    assert changed != resumed_lines[3]
    parts = [*resumed_lines[:3], changed, *resumed_lines[4:]]
    assert read(put(*parts)).digest_ok is False
    # Whoever takes such a run up again writes an end whose own digest is right.
    head = b"".join(parts[:-1])
    end = json.loads(parts[-1]) | {"ledger_sha256": hashlib.sha256(head).hexdigest()}
    assert read(put(head, end)).digest_ok is False


@pytest.mark.parametrize("kind", ["call", "cell", "end", "note", "meta"])
def test_nothing_but_a_resume_line_follows_an_end(
    put: Callable[..., Path], resumed_lines: list[bytes], at: int, kind: str
) -> None:
    whole = [json.loads(line) for line in resumed_lines]
    other = next((line for line in whole if line["type"] == kind), {"type": kind})
    with pytest.raises(LedgerDamaged, match=rf"run\.jsonl:{at + 1}: .*comes after the end record"):
        read(put(*resumed_lines[:at], other | {"seq": at}))


def test_a_run_that_ended_by_itself_is_not_taken_up(
    put: Callable[..., Path], resumed_lines: list[bytes], at: int
) -> None:
    resume = json.loads(resumed_lines[at]) | {"seq": len(resumed_lines)}
    with pytest.raises(LedgerDamaged, match="comes after the end record"):
        read(put(*resumed_lines, resume))


def test_a_resume_line_does_not_begin_a_ledger(put: Callable[..., Path], resumed_lines: list[bytes], at: int) -> None:
    with pytest.raises(LedgerDamaged, match=":1: .*is not the meta record"):
        read(put(json.loads(resumed_lines[at]) | {"seq": 0}))


# --- what is older or newer than this version ---------------------------------------------------------------------


def test_fields_appended_since_take_their_defaults(put: Callable[..., Path], lines: list[dict[str, Any]]) -> None:
    first_shape = [
        {name: value for name, value in line.items() if name == "type" or required(line["type"], name)}
        for line in lines
    ]
    whole, old = read(put(*lines)), read(put(*first_shape))
    assert [call.first_delta_ms for call in old.calls] == [call.first_delta_ms for call in whole.calls]
    assert {call.first_delta_ns for call in old.calls} == {None}
    assert old.last_seq == whole.last_seq == len(lines) - 1, "lines without seq are counted"


def required(kind: str, name: str) -> bool:
    return attrs.fields_dict(RECORDS[kind])[name].default is attrs.NOTHING


def test_the_smallest_ledger_of_the_first_hour_is_readable(put: Callable[..., Path]) -> None:
    ledger = read(
        put(
            {
                "type": "meta",
                "benchmark_run_id": "4e2a",
                "git_sha": "e2d6a6d",
                "git_dirty": True,
                "harness_version": "1",
                "started_at_utc": "2026-04-29T02:00:00Z",
                "host": "bench",
                "load_avg_start": [1.2, 1.5, 1],
                "cells_planned": ["mac:echo:tiny"],
            },
            {
                "type": "call",
                "cell_id": "mac:echo:tiny",
                "prompt_id": "P-EASY",
                "phase": "cold",
                "run_idx": 0,
                "first_delta_ms": 2810,
                "total_duration_ms": 2840,
                "prompt_tokens": 11,
                "completion_tokens": 2,
                "tokens_per_sec": 66.7,
                "finish_reason": "stop",
                "backend": "echo",
                "error": None,
            },
        )
    )
    assert ledger.meta.load_avg_start == (1.2, 1.5, 1.0)
    assert ledger.meta.env_route is None
    assert ledger.calls[0].tokens_per_sec == 66.7


def test_unknown_fields_and_types_are_passed_over_and_counted(
    put: Callable[..., Path], lines: list[dict[str, Any]]
) -> None:
    known = read(put(*lines))
    newer = [{**line, "field_of_tomorrow": {"a": [1]}} for line in lines]
    ledger = read(put(*newer, {"type": "remark", "seq": len(lines)}, {"type": "note"}))
    assert (ledger.meta, ledger.cells, ledger.calls) == (known.meta, known.cells, known.calls)
    assert ledger.unknown == 2


@pytest.mark.parametrize("kind", sorted(RECORDS))
def test_every_field_of_the_first_shape_is_demanded_by_name(
    put: Callable[..., Path], resumed_lines: list[bytes], kind: str
) -> None:
    whole = [json.loads(line) for line in resumed_lines]
    at = next(number for number, line in enumerate(whole) if line["type"] == kind)
    demanded = [field.name for field in attrs.fields(RECORDS[kind]) if field.default is attrs.NOTHING]
    for name in set(demanded) - set(IF_SET):
        less = {key: value for key, value in whole[at].items() if key != name}
        with pytest.raises(LedgerDamaged, match=rf"run\.jsonl:{at + 1}: .*{kind} record: field `{name}` is missing"):
            read(put(*whole[:at], less, *whole[at + 1 :]))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("first_delta_ms", "7", 'a whole number, not "7"'),
        ("first_delta_ms", 7.0, "a whole number, not 7.0"),
        ("run_idx", True, "a whole number, not true"),
        ("run_idx", None, "a whole number, not null"),
        ("tokens_per_sec", "fast", 'a number, not "fast"'),
        ("tokens_per_sec", True, "a number, not true"),
        ("cell_id", 3, "a text, not 3"),
        ("connection_retried", 1, "true or false, not 1"),
        ("call_flags", "stop", 'a list, not "stop"'),
        ("call_flags", [1], "a text, not 1"),
        ("engine_timings", [], r"an object, not \[\]"),
        ("error", ["x" * 99], r'a text, not \["x{38}\.\.\.'),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_file_line_and_field(
    put: Callable[..., Path], lines: list[dict[str, Any]], name: str, value: Any, expected: str
) -> None:
    with pytest.raises(LedgerDamaged, match=rf"run\.jsonl:4: .*field `{name}` must be {expected}"):
        read(put(*lines[:3], {**lines[3], name: value}, *lines[4:]))


def test_several_faults_of_a_line_are_told_together(put: Callable[..., Path], lines: list[dict[str, Any]]) -> None:
    with pytest.raises(LedgerDamaged) as caught:
        read(put(*lines[:3], {**lines[3], "run_idx": "0", "phase": None}))
    assert "`phase`" in caught.value.message
    assert "`run_idx`" in caught.value.message


@pytest.mark.parametrize("load", [[1.0, 2.0], [1.0, 2.0, "3"], None])
def test_three_load_averages_are_demanded(
    put: Callable[..., Path], lines: list[dict[str, Any]], load: list[Any] | None
) -> None:
    with pytest.raises(LedgerDamaged, match="field `load_avg_start` must be"):
        read(put({**lines[0], "load_avg_start": load}))


def test_a_verdict_of_no_known_word_is_refused(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    end = json.loads(golden_lines[-1]) | {"verdict": "splendid"}
    with pytest.raises(LedgerDamaged, match=r"run\.jsonl:10: .*field `verdict`.*splendid"):
        read(put(*golden_lines[:-1], end))


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b"\n", b"\0\0\0\n", b"[1]\n", b'{"a":NaN}\n', b"\xff\xfe{}\n"])
def test_a_line_in_the_middle_that_is_no_json_object_is_refused(
    put: Callable[..., Path], golden_lines: list[bytes], rubbish: bytes
) -> None:
    with pytest.raises(LedgerDamaged, match=r"run\.jsonl:4: the line is no JSON object"):
        read(put(*golden_lines[:3], rubbish, *golden_lines[3:]))


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b"\0" * 4096, b'{"type":"call"', b"\n", b"[" * 100_000 + b"\n"])
def test_a_last_line_that_is_no_json_object_is_set_aside(
    put: Callable[..., Path], golden_lines: list[bytes], rubbish: bytes
) -> None:
    good = golden_lines[:3]
    ledger = read(put(*good, rubbish))
    assert ledger.torn == TornTail(offset=sum(map(len, good)), bytes_len=len(rubbish), line_no=4)
    assert ledger.problems[0] == f"line 4: torn, {len(rubbish)} bytes set aside"
    assert ledger.lines == 3


def test_a_whole_json_line_without_its_newline_was_never_durable(
    put: Callable[..., Path], golden_lines: list[bytes]
) -> None:
    ledger = read(put(*golden_lines[:-1], golden_lines[-1].rstrip(b"\n")))
    assert not ledger.complete
    assert ledger.torn is not None


def arrangements(g: list[bytes]) -> dict[str, list[bytes]]:
    return {
        r":1: .*is not the meta record": g[1:],
        r":2: .*is a second meta record": [g[0], g[0].replace(b'"seq":0', b'"seq":1'), *g[1:]],
        r":4: .*has seq 1 after 2": [*g[:3], g[1], *g[3:]],
        r":5: .*has seq 3 after 3": [*g[:4], g[3], *g[4:]],
        r":3: .*has seq 1 after 2": [g[0], g[2], g[1], *g[3:]],
        r":11: .*comes after the end record": [*g, b'{"type":"note"}\n'],
        r":2: .*field `type` is missing": [g[0], b"{}\n", *g[2:]],
        r":2: .*field `type` must be a text": [g[0], b'{"type":7}\n', *g[2:]],
    }


@pytest.mark.parametrize("number", range(8))
def test_lines_in_an_order_that_no_writer_leaves_are_refused(
    put: Callable[..., Path], golden_lines: list[bytes], number: int
) -> None:
    words, parts = list(arrangements(golden_lines).items())[number]
    with pytest.raises(LedgerDamaged, match=words) as caught:
        read(put(*parts))
    assert caught.value.hint


def test_lines_taken_out_are_told(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    ledger = read(put(*golden_lines[:3], *golden_lines[5:]))
    assert ledger.gaps == ("line 4: seq 2 is followed by 5",)
    assert ledger.digest_ok is False


@pytest.mark.parametrize(("old", "new"), [(b'"first_delta_ms":120,', b'"first_delta_ms":100,'), (b'"stop"', b'"halt"')])
def test_a_changed_byte_breaks_the_digest(put: Callable[..., Path], golden: Path, old: bytes, new: bytes) -> None:
    changed = golden.read_bytes().replace(old, new, 1)
    assert changed != golden.read_bytes()
    ledger = read(put(changed))
    assert ledger.digest_ok is False
    assert ledger.problems == ("digest mismatch: the file was changed after it was written",)


def test_an_end_record_without_digest_says_nothing_about_it(
    put: Callable[..., Path], golden_lines: list[bytes]
) -> None:
    end = {key: value for key, value in json.loads(golden_lines[-1]).items() if key != "ledger_sha256"}
    assert read(put(*golden_lines[:-1], end)).digest_ok is None


@pytest.mark.parametrize("start", [b"", b'{"type":"meta","bench', b'{"ty', b"\0\0\0\0"])
def test_a_run_that_died_before_its_first_record_left_nothing(put: Callable[..., Path], start: bytes) -> None:
    with pytest.raises(NothingToDo, match="before the first record"):
        read(put(start))


@pytest.mark.parametrize("text", [b"cells: []\n", b"# Title", b'{"some":"json"}\n', b"[]\n"])
def test_a_file_that_is_no_ledger_is_called_so_and_left_alone(put: Callable[..., Path], text: bytes) -> None:
    path = put(text)
    for look in (read, recover):
        with pytest.raises(LedgerDamaged, match=r"run\.jsonl:1: the line (is not the meta|does not fit)"):
            look(path)
    assert path.read_bytes() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UsageError, match=f"{path}: the ledger cannot be read: "):
            read(path)


# --- every prefix -----------------------------------------------------------------------------------------------


def test_cut_at_every_byte_the_reader_gives_exactly_the_complete_lines(
    tmp_path: Path, golden: Path, golden_lines: list[bytes]
) -> None:
    whole = read(golden)
    path = tmp_path / "run.jsonl"
    path.write_bytes(golden.read_bytes())
    ends = {sum(map(len, golden_lines[:count])): count for count in range(len(golden_lines) + 1)}
    count = len(golden_lines)
    with path.open("r+b") as file:
        for size in range(golden.stat().st_size, 0, -1):
            file.truncate(size)
            count = ends.get(size, count if size + 1 not in ends else count - 1)
            if count == 0:
                with pytest.raises(NothingToDo):
                    read(path)
                continue
            ledger = read(path)
            assert ledger.lines == count
            assert ledger.calls == whole.calls[: len(ledger.calls)]
            assert (ledger.torn is None) is (size in ends)
            if not ends.keys().isdisjoint((size - 1, size, size + 1)):
                assert [line.raw for line in iter_lines(path)] == golden_lines[:count]


def test_repaired_appended_to_and_reopened_at_many_cuts(
    tmp_path: Path, golden: Path, golden_lines: list[bytes], make: SimpleNamespace, faulty: Callable[..., Any]
) -> None:
    raw = golden.read_bytes()
    second, last = len(golden_lines[0]), len(raw) - len(golden_lines[-1])
    for size in {*range(second, len(raw) - 1, 37), *range(second, second + 20), *range(last - 20, last + 20)}:
        path = tmp_path / f"{size}.jsonl"
        path.write_bytes(raw[:size])
        before = read(path)
        torn = recover(path, io=faulty())
        if torn is not None:
            assert torn.moved_to is not None
            assert (tmp_path / torn.moved_to).read_bytes() == raw[torn.offset : size]
        assert (torn is None) is (before.torn is None)
        with LedgerWriter.reopen(path, io=faulty()) as writer:
            assert writer.append(make.call()).seq == before.lines
        with LedgerWriter.reopen(path, io=faulty()) as writer:
            writer.finish(make.end())
        after = read(path)
        assert (after.problems, after.lines) == ((), before.lines + 2)
        assert after.end is not None
        assert after.end.ledger_sha256 == hashlib.sha256(b"".join(path.read_bytes().splitlines(True)[:-1])).hexdigest()


def test_recovery_leaves_a_sound_ledger_alone(tmp_path: Path, golden: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(golden.read_bytes())
    assert recover(path) is None
    assert path.read_bytes() == golden.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_recovery_moves_a_torn_first_line_too(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    path = put(golden_lines[0][:50])
    torn = recover(path)
    assert torn is not None
    assert (torn.offset, torn.bytes_len, torn.line_no) == (0, 50, 1)
    assert path.read_bytes() == b""
    assert recover(path) is None


def test_recovery_refuses_damage_in_the_middle(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    path = put(*golden_lines[:2], b"rubbish\n", *golden_lines[3:5], b"torn")
    before = path.read_bytes()
    with pytest.raises(LedgerDamaged, match=":3: "):
        recover(path)
    assert path.read_bytes() == before


# --- lines as they stand --------------------------------------------------------------------------------------------


def test_lines_are_given_from_any_line_on(golden: Path, golden_lines: list[bytes]) -> None:
    everything = list(iter_lines(golden))
    assert [line.seq for line in everything] == list(range(len(golden_lines)))
    for number, line in enumerate(everything):
        assert line.record == json.loads(golden_lines[number])
        assert list(iter_lines(golden, line.offset)) == everything[number:]
    assert list(iter_lines(golden, golden.stat().st_size)) == []


@pytest.mark.parametrize("off", [-1, 1])
def test_an_offset_inside_a_line_is_refused(golden: Path, golden_lines: list[bytes], off: int) -> None:
    with pytest.raises(UsageError, match="no line begins at byte"):
        list(iter_lines(golden, len(golden_lines[0]) + off))


def test_an_offset_behind_the_file_is_refused(golden: Path) -> None:
    with pytest.raises(UsageError, match="no line begins at byte"):
        list(iter_lines(golden, golden.stat().st_size + 1))


def test_a_line_that_is_being_written_is_not_given(put: Callable[..., Path], golden_lines: list[bytes]) -> None:
    path = put(*golden_lines[:2], golden_lines[2][:-1])
    assert [line.raw for line in iter_lines(path)] == golden_lines[:2]
