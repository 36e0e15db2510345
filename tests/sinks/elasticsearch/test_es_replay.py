from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.interfaces import SinkTarget
from weeyuga_core.sinks.elasticsearch import catchup
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.elasticsearch.sink import ElasticsearchSink
from weeyuga_core.sinks.replay import ReplayOptions, ReplayReport, Replays

INDEX = "weeyuga-telemetry-2026.04.29"
RUN = "4e2a9c1d-7b35-4f0e-9a61-2d8c5e0b7f43"


def catch_up(ledger: Path, store: Any, *, patience_s: float = 60.0, **options: bool) -> ReplayReport:
    settings = Settings(url="http://store.invalid:9200")
    asked = ReplayOptions(**options)
    side_dir = ledger.with_suffix(".d")
    return asyncio.run(
        catchup.catch_up(ledger, side_dir, settings, asked, lambda words: None, patience_s=patience_s, batch_items=3)
    )


def test_a_replay_brings_the_store_level_and_proves_it(ledger_path: Path, store: Any) -> None:
    report = catch_up(ledger_path, store, verify=True)
    assert (report.created, report.duplicate, report.dead, report.stored, report.missing) == (10, 0, 0, 10, 0)
    assert report.exit_code == ExitCode.OK
    assert [len(ids) for ids in store.bulks] == [3, 3, 3, 1]
    assert sorted(store.documents) == [(INDEX, f"{RUN}:{n}") for n in range(10)]


def test_a_second_replay_sends_nothing(ledger_path: Path, store: Any) -> None:
    catch_up(ledger_path, store)
    sent = len(store.bulks)
    report = catch_up(ledger_path, store)
    assert (report.acknowledged_before, report.acknowledged, report.level) == (10, 10, True)
    assert len(store.bulks) == sent


def test_from_the_start_everything_is_there_already(ledger_path: Path, store: Any) -> None:
    catch_up(ledger_path, store)
    report = catch_up(ledger_path, store, from_start=True)
    assert (report.created, report.duplicate, report.level) == (0, 10, True)
    assert store.created == 10


def test_lines_that_came_later_are_sent_later(ledger_path: Path, store: Any) -> None:
    whole = ledger_path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ledger_path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    assert catch_up(ledger_path, store).acknowledged == 5
    ledger_path.write_bytes(whole)
    report = catch_up(ledger_path, store, verify=True)
    assert (report.acknowledged_before, report.created, report.stored) == (5, 5, 10)


def test_a_store_that_lost_documents_is_found_out(ledger_path: Path, store: Any) -> None:
    catch_up(ledger_path, store)
    del store.documents[INDEX, f"{RUN}:3"]
    report = catch_up(ledger_path, store, verify=True)
    assert (report.stored, report.missing, report.missing_ids) == (9, 1, (f"{RUN}:3",))
    assert report.exit_code == ExitCode.INCOMPLETE
    assert catch_up(ledger_path, store, verify=True, from_start=True).level


def test_a_line_whose_identity_is_taken_is_dead(ledger_path: Path, store: Any) -> None:
    store.documents[INDEX, f"{RUN}:3"] = {"metadata": {"benchmark_record_sha256": "other"}}
    report = catch_up(ledger_path, store, verify=True)
    assert (report.duplicate, report.stored, report.dead, report.missing) == (1, 9, 1, 0)
    assert report.dead_reasons == {"409: identity_taken: the store holds another document under this identity": 1}
    assert report.level


def test_what_is_dead_is_counted_and_sent_again_when_asked(ledger_path: Path, store: Any) -> None:
    store.refused[f"{RUN}:4"] = 400
    report = catch_up(ledger_path, store, verify=True)
    assert (report.created, report.dead, report.stored, report.missing, report.level) == (9, 1, 9, 0, True)
    assert report.dead_reasons == {"400: type_400: because": 1}
    store.refused.clear()
    assert catch_up(ledger_path, store, verify=True).dead == 1, "without being asked it stays"
    risen = catch_up(ledger_path, store, verify=True, redrive_dlq=True)
    assert (risen.created, risen.dead, risen.stored, risen.level) == (1, 0, 10, True)
    assert risen.dead_file is None


def test_a_store_that_is_away_for_a_while_is_waited_for(fake: ModuleType, ledger_path: Path, store: Any) -> None:
    store.script = [fake.lost(before=True), fake.lost(before=False), fake.status(503)]
    report = catch_up(ledger_path, store, verify=True)
    assert report.level
    assert store.created == 10


def test_a_store_that_stays_away_leaves_the_rest_for_later(fake: ModuleType, ledger_path: Path, store: Any) -> None:
    store.script = [fake.taken, *[fake.status(503)] * 1000]
    report = catch_up(ledger_path, store, patience_s=0.0)
    assert (report.acknowledged, report.lines, report.exit_code) == (3, 10, ExitCode.INCOMPLETE)
    assert report.stopped is not None
    store.script = []
    assert catch_up(ledger_path, store, verify=True).created == 7


def test_a_store_without_a_front_is_known_all_the_same(ledger_path: Path, store: Any) -> None:
    store.front = 405
    assert catch_up(ledger_path, store).level
    acks = next(ledger_path.with_suffix(".d").glob("acks-*.json")).read_bytes()
    store.front = 200
    assert catch_up(ledger_path, store).acknowledged_before == 10
    assert next(ledger_path.with_suffix(".d").glob("acks-*.json")).read_bytes() == acks


def test_a_wrong_account_is_told_with_the_remedy(
    ledger_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.front = 401
    report = catch_up(ledger_path, store, patience_s=60.0)
    assert report.stopped is not None
    assert "401" in report.stopped
    assert (report.lines, report.acknowledged) == (10, 0)
    assert "WEEYUGA_ES_API_KEY" in report.hint


@pytest.mark.parametrize("how", ["exists", "would be made"])
def test_a_data_stream_is_refused_before_anything_is_sent(ledger_path: Path, store: Any, how: str) -> None:
    if how == "exists":
        store.streams = [INDEX]
    else:
        plain = {"name": "low", "index_template": {"index_patterns": ["weeyuga-*"], "priority": 1}}
        stream = {"index_patterns": ["weeyuga-telemetry-*"], "priority": 200, "data_stream": {}}
        store.templates = [plain, {"name": "theirs", "index_template": stream}]
    report = catch_up(ledger_path, store)
    assert report.stopped is not None
    assert "data stream" in report.stopped
    assert "WEEYUGA_ES_INDEX" in report.hint
    assert store.bulks == []


def test_a_template_without_a_stream_that_wins_is_no_obstacle(ledger_path: Path, store: Any) -> None:
    stream = {"index_patterns": ["weeyuga-*"], "priority": 1, "data_stream": {}}
    plain = {"index_patterns": ["weeyuga-telemetry-*"], "priority": 2}
    store.templates = [{"name": "a", "index_template": stream}, {"name": "b", "index_template": plain}]
    assert catch_up(ledger_path, store).level


def test_the_sink_can_be_asked_to_replay(ledger_path: Path, store: Any) -> None:
    target = SinkTarget(target=None, ledger_path=str(ledger_path), side_dir=str(ledger_path.with_suffix(".d")))
    assert isinstance(ElasticsearchSink(target), Replays)


# --- the commands ---------------------------------------------------------------------------------------------------


def test_the_command_prints_what_became_of_the_lines(
    ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store.refused[f"{RUN}:4"] = 400
    assert main(["replay", str(ledger_path), "--sink", "es", "--verify"]) == ExitCode.OK
    told = capsys.readouterr()
    assert told.out == ("created 9, duplicate 0, retried 0, dead 1, stored 9, missing 0; 10 of 10 lines acknowledged\n")
    assert "dead: 1 x 400: type_400: because" in told.err
    assert "--redrive-dlq" in told.err


def test_a_level_copy_is_not_claimed_where_it_is_not(
    fake: ModuleType, ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store.script = [fake.status(403, body={"error": {"type": "security_exception"}})]
    assert main(["replay", str(ledger_path), "--sink", "es", "--json"]) == ExitCode.INCOMPLETE
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["warnings"] == ["the store answers HTTP 403: security_exception"]
    assert "privilege" in told["data"]["hint"]


def test_a_dry_run_asks_nobody_and_writes_nothing(
    ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(ledger_path.parent.rglob("*"))
    assert main(["replay", str(ledger_path), "--sink", "es", "--dry-run"]) == ExitCode.OK
    told = capsys.readouterr()
    assert json.loads(told.out)["metadata"]["test"] is True
    assert f"10 lines to {INDEX}" in told.err
    assert store.requests == []
    assert sorted(ledger_path.parent.rglob("*")) == before


def test_a_dry_run_after_a_replay_counts_what_is_left(
    ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["replay", str(ledger_path), "--sink", "es"])
    capsys.readouterr()
    assert main(["replay", str(ledger_path), "--sink", "es", "--dry-run", "--json"]) == ExitCode.OK
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["acknowledged"], data["indices"], data["example"]) == (10, {}, None)


def test_a_sink_without_a_checkpoint_cannot_be_replayed(ledger_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(ledger_path), "--sink", "jsonl=copy"]) == ExitCode.USAGE
    assert "keeps no checkpoint" in capsys.readouterr().err


def test_status_says_what_a_copy_lacks(ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ledger_path.read_bytes()
    lines = whole.splitlines(keepends=True)
    ledger_path.write_bytes(b"".join(lines[:7]))
    store.refused[f"{RUN}:4"] = 400
    main(["replay", str(ledger_path), "--sink", "es"])
    ledger_path.write_bytes(whole)
    capsys.readouterr()
    assert main(["sinks", "status", str(ledger_path), "--json"]) == ExitCode.INCOMPLETE
    (row,) = json.loads(capsys.readouterr().out)["data"]
    assert (row["sink"], row["acknowledged"], row["lag_lines"], row["dead"]) == ("es", 7, 3, 1)
    assert row["lag_bytes"] == sum(map(len, lines[7:]))


def test_status_of_a_level_copy_is_fine_and_without_any_there_is_nothing_to_say(
    ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sinks", "status", str(ledger_path)]) == ExitCode.NOTHING_TO_DO
    main(["replay", str(ledger_path), "--sink", "es"])
    assert main(["sinks", "status", str(ledger_path)]) == ExitCode.OK
    assert "weeyuga-telemetry@" in capsys.readouterr().out


def test_status_doubts_a_checkpoint_that_does_not_fit(
    ledger_path: Path, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["replay", str(ledger_path), "--sink", "es"])
    ledger_path.write_bytes(ledger_path.read_bytes().replace(b"P-EASY", b"P-EASE", 1))
    assert main(["sinks", "status", str(ledger_path)]) == ExitCode.INCOMPLETE
    assert "a replay begins anew" in capsys.readouterr().err
