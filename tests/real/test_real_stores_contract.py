"""What the sink promises, on every store that it is for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from store_parts import DEFAULT, GOLDEN, ONCE_MORE, StoreNode, running, write_ledger

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.ledger.reader import iter_lines

pytestmark = pytest.mark.real

INDEX = "weeyuga-telemetry-2026.04.29"
PATTERN = "weeyuga-telemetry-*"


@pytest.fixture(scope="module", params=[*DEFAULT, *ONCE_MORE])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreNode]:
    """One store after the other: two at a time would not fit beside everything else."""
    with running(request.param, tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    path.write_bytes(GOLDEN.read_bytes())
    return path


def replay(ledger: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict]:
    """Exit code and figures of a replay."""
    capsys.readouterr()
    code = main(["replay", str(ledger), "--sink", "es", "--json", *options])
    return code, json.loads(capsys.readouterr().out)["data"]


def setup(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = main(["es", "setup", "--json", *options])
    return code, json.loads(capsys.readouterr().out)["data"]


def test_every_line_is_found_by_its_id_and_tagged(store: StoreNode, ledger: Path, capsys) -> None:
    assert setup(capsys)[0] == ExitCode.OK
    code, report = replay(ledger, capsys, "--verify")
    assert (code, report["created"], report["stored"], report["missing"]) == (ExitCode.OK, 10, 10, 0)
    for line in iter_lines(ledger):
        run_id = next(iter_lines(ledger)).record["benchmark_run_id"]
        found = store.get(f"/{INDEX}/_doc/{run_id}:{line.seq}")["_source"]
        assert found["metadata"]["test"] is True
        assert found["weeyuga"]["bench"]["record"] == line.record["type"]
    assert store.count(PATTERN, "metadata.test:true") == 10


def test_the_tags_hide_benchmark_traffic_and_nothing_else(store: StoreNode, ledger: Path, capsys) -> None:
    setup(capsys)
    replay(ledger, capsys)
    for number, metadata in enumerate([{}, {"test": False}, {"other": {"test": "x"}}]):
        body = {"@timestamp": "2026-04-29T02:00:00Z", "event": {"dataset": "prod"}, "metadata": metadata}
        store.ask("PUT", f"/{INDEX}/_doc/production-{number}", json=body)
    assert store.count(PATTERN) == 13
    assert store.count(PATTERN, "NOT metadata.test:true") == 3
    assert store.count(PATTERN, "metadata.test:true") == 10


def test_runs_cells_prompts_and_phases_can_be_grouped_by_and_numbers_have_percentiles(
    store: StoreNode, ledger: Path, capsys
) -> None:
    setup(capsys)
    replay(ledger, capsys)
    store.refresh()
    calls = [line.record for line in iter_lines(ledger) if line.record["type"] == "call"]
    for name in ("cell_id", "prompt_id", "phase"):
        told = store.ask("POST", f"/{PATTERN}/_search", json=_grouped(name))["aggregations"]["by"]["buckets"]
        expected = Counter(call[name] for call in calls if call[name] is not None)
        assert {one["key"]: one["doc_count"] for one in told} == expected
        measured = [one for one in told if one["key"] != "skipped" and not one["key"].startswith("pavilion")]
        assert all(isinstance(one["p"]["values"]["50.0"], float) for one in measured)
    told = store.ask("POST", f"/{PATTERN}/_search", json=_grouped("benchmark_run_id"))["aggregations"]["by"]
    assert [one["doc_count"] for one in told["buckets"]] == [len(calls)]


def _grouped(name: str) -> dict:
    percentiles = {"percentiles": {"field": "weeyuga.bench.first_delta_ms", "percents": [50]}}
    return {
        "size": 0,
        "query": {"term": {"event.dataset": "weeyuga.benchmark.call"}},
        "aggs": {"by": {"terms": {"field": f"weeyuga.bench.{name}"}, "aggs": {"p": percentiles}}},
    }


def test_a_replay_from_the_start_doubles_nothing(store: StoreNode, ledger: Path, capsys) -> None:
    replay(ledger, capsys)
    code, report = replay(ledger, capsys, "--from-start", "--verify")
    assert (code, report["created"], report["duplicate"], report["stored"]) == (ExitCode.OK, 0, 10, 10)
    assert store.count(PATTERN) == 10


def test_without_any_template_the_tags_work_all_the_same(store: StoreNode, ledger: Path, capsys) -> None:
    assert replay(ledger, capsys, "--verify")[0] == ExitCode.OK
    assert store.count(PATTERN, "metadata.test:true") == 10
    assert store.count(PATTERN, "NOT metadata.test:true") == 0


def test_a_line_that_the_store_refuses_is_kept_and_the_rest_gets_through(
    store: StoreNode, tmp_path: Path, capsys
) -> None:
    setup(capsys)
    ledger = tmp_path / "run.jsonl"
    lines = write_ledger(ledger, 20, refused_every=10)
    code, report = replay(ledger, capsys, "--verify")
    assert (code, report["dead"], report["stored"], report["missing"]) == (ExitCode.OK, 2, lines - 2, 0)
    letters = [json.loads(line) for line in Path(report["dead_file"]).read_bytes().splitlines()]
    assert [(letter["status"], letter["record"]["seq"]) for letter in letters] == [(400, 2), (400, 12)]
    assert replay(ledger, capsys, "--redrive-dlq", "--verify")[1]["dead"] == 2
    assert store.count(PATTERN) == lines - 2


def test_logs_indices_carry_the_tags_as_labels(
    store: StoreNode, ledger: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEEYUGA_ES_INDEX", "weeyuga-logs-bench")
    assert setup(capsys)[0] == ExitCode.OK
    assert replay(ledger, capsys, "--verify")[0] == ExitCode.OK
    assert store.count("weeyuga-logs-bench-*", "labels.test:true") == 10
    assert store.count("weeyuga-logs-bench-*", "NOT labels.test:true") == 0


def test_setup_shows_before_it_does_and_leaves_alone_what_is_as_it_should_be(store: StoreNode, capsys) -> None:
    assert [step["action"] for step in setup(capsys, "--dry-run")[1]["steps"]] == ["create", "create"]
    assert [step["action"] for step in setup(capsys)[1]["steps"]] == ["create", "create"]
    assert [step["action"] for step in setup(capsys)[1]["steps"]] == ["keep", "keep"]
    simulated = store.ask("POST", f"/_index_template/_simulate_index/{INDEX}")["template"]["mappings"]["properties"]
    assert simulated["metadata"]["type"] == ("flat_object" if store.opensearch else "flattened")


def test_a_template_of_somebody_else_is_never_changed_and_its_owner_is_told_what_to_add(
    store: StoreNode, ledger: Path, capsys
) -> None:
    flat = {"type": "flat_object" if store.opensearch else "flattened"}
    mappings = {"properties": {"@timestamp": {"type": "date"}, "metadata": flat}}
    theirs = {"index_patterns": [PATTERN], "priority": 500, "template": {"mappings": mappings}}
    store.ask("PUT", "/_index_template/weeyuga-theirs", json=theirs)
    before = store.get("/_index_template/weeyuga-theirs")
    code, data = setup(capsys)
    assert code == ExitCode.INCOMPLETE
    assert [step["action"] for step in data["steps"]] == ["create", "leave"]
    assert "ask its owner" in data["notes"][0]
    assert store.get("/_index_template/weeyuga-theirs") == before
    assert len(store.get("/_index_template")["index_templates"]) == len(before["index_templates"]) + _builtin(store)
    assert replay(ledger, capsys, "--verify")[0] == ExitCode.OK
    store.ask("PUT", "/_index_template/weeyuga-theirs", json=theirs | {"composed_of": ["weeyuga-bench-mappings"]})
    assert setup(capsys)[0] == ExitCode.OK


def _builtin(store: StoreNode) -> int:
    """Templates that came with the store."""
    return sum("weeyuga" not in one["name"] for one in store.get("/_index_template")["index_templates"])


def test_a_component_of_our_name_that_is_not_ours_is_left_alone(store: StoreNode, capsys) -> None:
    store.ask("PUT", "/_component_template/weeyuga-bench-mappings", json={"template": {"mappings": {}}})
    before = store.get("/_component_template/weeyuga-bench-mappings")
    assert setup(capsys)[0] == ExitCode.INCOMPLETE
    assert store.get("/_component_template/weeyuga-bench-mappings") == before


def test_an_alias_is_refused_before_anything_is_written(store: StoreNode, ledger: Path, capsys) -> None:
    store.ask("PUT", "/weeyuga-telemetry-real", json={"aliases": {INDEX: {}}})
    code, report = replay(ledger, capsys)
    assert code == ExitCode.INCOMPLETE
    assert "an alias" in report["stopped"]
    assert store.count("weeyuga-telemetry-real") == 0


def test_a_blocked_index_halts_with_a_remedy_and_goes_on_when_it_is_lifted(
    store: StoreNode, ledger: Path, capsys
) -> None:
    store.ask("PUT", f"/{INDEX}", json={"settings": {"index.blocks.write": True}})
    code, report = replay(ledger, capsys)
    assert (code, report["acknowledged"]) == (ExitCode.INCOMPLETE, 0)
    assert "block" in report["stopped"]
    assert "lift the index's block" in report["hint"]
    store.ask("PUT", f"/{INDEX}/_settings", json={"index.blocks.write": None})
    assert replay(ledger, capsys, "--verify")[0] == ExitCode.OK


def test_a_store_that_lost_an_index_is_found_out_and_made_level(store: StoreNode, ledger: Path, capsys) -> None:
    replay(ledger, capsys)
    httpx.delete(f"{store.url}/{INDEX}", trust_env=False).raise_for_status()
    code, report = replay(ledger, capsys, "--verify")
    assert (code, report["missing"]) == (ExitCode.INCOMPLETE, 10)
    assert replay(ledger, capsys, "--verify", "--from-start")[0] == ExitCode.OK
