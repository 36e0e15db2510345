from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import GateRefused, LedgerError, UsageError
from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.sinks.elasticsearch import checkpoint as checkpoints
from weeyuga_core.sinks.elasticsearch.bulk import Fate, Item, Outcome
from weeyuga_core.sinks.elasticsearch.document import Documents
from weeyuga_core.sinks.elasticsearch.journal import Journal, paths
from weeyuga_core.sinks.elasticsearch.settings import Settings

SETTINGS = Settings(url="http://store.invalid")
GOLDEN = Path(__file__).parents[2] / "golden" / "ledger_v1.jsonl"
DEAD = Outcome(Fate.DEAD, 400, "mapper", "because")
TAKEN = Outcome(Fate.CREATED, 201)


def items_of(ledger: Path) -> list[Item]:
    documents = Documents(prefix="weeyuga-telemetry", tags_under="metadata")
    made = []
    for line in iter_lines(ledger):
        documents.learn(line)
        made.append(documents.item(line))
    return made


def journal(ledger: Path, *, cluster: str | None = "c", settings: Settings = SETTINGS) -> Journal:
    return Journal(ledger, ledger.with_suffix(".d"), settings, cluster_uuid=cluster)


def files(ledger: Path) -> tuple[Path, Path]:
    return paths(ledger.with_suffix(".d"), SETTINGS.key)


def settle_all(ledger: Path, *, dead: tuple[int, ...] = ()) -> None:
    items = items_of(ledger)
    with journal(ledger) as one:
        one.settle(items, {item.id: DEAD if n in dead else TAKEN for n, item in enumerate(items)})


def test_a_ledger_begins_unacknowledged(ledger_path: Path) -> None:
    with journal(ledger_path) as one:
        assert (one.offset, one.lines, one.doubt) == (0, 0, None)
    assert not files(ledger_path)[0].exists()


def test_what_was_settled_is_remembered(ledger_path: Path) -> None:
    settle_all(ledger_path)
    with journal(ledger_path) as one:
        assert (one.offset, one.lines, one.doubt) == (ledger_path.stat().st_size, 10, None)


@given(st.sets(st.integers(0, 9)))
def test_the_prefix_ends_before_the_first_line_that_is_not_settled(
    tmp_path_factory: pytest.TempPathFactory, settled: set[int]
) -> None:
    ledger = tmp_path_factory.mktemp("run") / "run.jsonl"
    ledger.write_bytes(GOLDEN.read_bytes())
    items = items_of(ledger)
    first_open = next((n for n in range(10) if n not in settled), 10)
    with journal(ledger) as one:
        one.settle(items, {items[n].id: TAKEN for n in settled})
    with journal(ledger) as again:
        assert again.lines == first_open
        again.settle(items[first_open:], {item.id: TAKEN for item in items})
    with journal(ledger) as last:
        assert (last.lines, last.doubt) == (10, None)


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[1]", b'{"offset": -1}', b"\xff\0"])
def test_a_broken_checkpoint_means_from_the_start(ledger_path: Path, content: bytes) -> None:
    settle_all(ledger_path)
    files(ledger_path)[0].write_bytes(content)
    with journal(ledger_path) as one:
        assert (one.offset, one.lines) == (0, 0)
        assert one.doubt is not None
    assert ledger_path.read_bytes() == GOLDEN.read_bytes()


@pytest.mark.parametrize("field", ["offset", "sha256", "target"])
def test_a_checkpoint_that_does_not_fit_means_from_the_start(ledger_path: Path, field: str) -> None:
    settle_all(ledger_path)
    path = files(ledger_path)[0]
    data = json.loads(path.read_text())
    data[field] = data[field] - 1 if field == "offset" else "other"
    path.write_text(json.dumps(data))
    with journal(ledger_path) as one:
        assert one.offset == 0
        assert one.doubt is not None


def test_a_ledger_that_was_changed_or_cut_is_sent_again(ledger_path: Path) -> None:
    settle_all(ledger_path)
    whole = ledger_path.read_bytes()
    for changed in (whole.replace(b"P-EASY", b"P-EASE", 1), whole[:-2], b""):
        ledger_path.write_bytes(changed)
        with journal(ledger_path) as one:
            assert one.offset == 0


def test_a_store_that_was_made_anew_is_another_store(ledger_path: Path) -> None:
    settle_all(ledger_path)
    with journal(ledger_path, cluster="new") as one:
        assert one.offset == 0
        assert one.doubt is not None
        assert "made anew" in one.doubt


def test_another_target_is_acknowledged_apart(ledger_path: Path) -> None:
    settle_all(ledger_path)
    with journal(ledger_path, settings=Settings(url="http://other.invalid")) as one:
        assert (one.offset, one.doubt) == (0, None)


def test_the_dead_are_kept_with_their_words_before_the_checkpoint_moves(
    ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, checkpoint: checkpoints.Checkpoint) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.raises(LedgerError, match="the checkpoint cannot be written: No space left"):
        settle_all(ledger_path, dead=(2,))
    acks, dead = files(ledger_path)
    assert not acks.exists()
    letter = json.loads(dead.read_text())
    assert (letter["status"], letter["error_type"], letter["reason"]) == (400, "mapper", "because")
    assert letter["record"] == json.loads(ledger_path.read_bytes().splitlines()[2])


def test_a_dead_line_is_kept_once_however_often_it_dies(ledger_path: Path) -> None:
    for _ in range(3):
        files(ledger_path)[0].unlink(missing_ok=True)
        settle_all(ledger_path, dead=(2, 5))
    assert len(files(ledger_path)[1].read_bytes().splitlines()) == 2


def test_a_dead_line_that_a_store_takes_after_all_is_struck_out(ledger_path: Path) -> None:
    settle_all(ledger_path, dead=(2, 5))
    items = items_of(ledger_path)
    with journal(ledger_path) as one:
        one.record([items[2]], {items[2].id: TAKEN})
        assert list(one.dead.ids) == [items[5].id]
        one.record([items[5]], {items[5].id: TAKEN})
    assert not files(ledger_path)[1].exists()


def test_every_way_to_die_while_writing_a_letter_leaves_whole_letters(ledger_path: Path) -> None:
    settle_all(ledger_path, dead=(2, 5))
    path = files(ledger_path)[1]
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with journal(ledger_path) as one:
            assert len(one.dead.ids) == (size >= first)
        assert path.read_bytes() == whole[:first] * (size >= first)


def test_a_dead_letter_file_that_is_something_else_is_named_and_kept(ledger_path: Path) -> None:
    settle_all(ledger_path, dead=(2,))
    path = files(ledger_path)[1]
    path.write_bytes(b"my notes\n")
    for _ in range(2):  # the lock is let go as well
        with pytest.raises(UsageError, match=r"dead-es-\w+\.jsonl:1: the line is no dead letter"):
            journal(ledger_path)
    assert path.read_bytes() == b"my notes\n"


def test_two_cannot_send_one_ledger_to_one_store(ledger_path: Path) -> None:
    with journal(ledger_path):
        with pytest.raises(GateRefused, match="another run or replay"):
            journal(ledger_path)
        with journal(ledger_path, settings=Settings(url="http://other.invalid")) as other:
            assert other.offset == 0
    with journal(ledger_path) as after:
        after.close()
        after.close()


def test_side_files_that_cannot_be_made_are_named(ledger_path: Path) -> None:
    ledger_path.with_suffix(".d").write_text("in the way")
    with pytest.raises(LedgerError, match="side files cannot be used"):
        journal(ledger_path)
