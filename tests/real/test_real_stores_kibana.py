"""The queries behind the dashboards, run on a real store. No Kibana: what it would ask is made from its objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from store_parts import DEFAULT, StoreNode, running, write_ledger

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.sinks.elasticsearch.kibana import saved_objects

pytestmark = pytest.mark.real

CALLS = 200
PRODUCTION = 30
OBJECTS = saved_objects("weeyuga-telemetry")
VIEW = next(one["attributes"]["title"] for one in OBJECTS if one["type"] == "index-pattern")
PANELS = [one for one in OBJECTS if one["type"] == "visualization"]
DASHBOARDS = [one for one in OBJECTS if one["type"] == "dashboard"]


@pytest.fixture(scope="module", params=DEFAULT)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreNode]:
    """A store with our templates, a run's documents, and some of production's."""
    folder = tmp_path_factory.mktemp("store")
    with running(request.param, folder) as node, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEEYUGA_ES_URL", node.url)
        assert main(["es", "setup"]) == ExitCode.OK
        write_ledger(folder / "run.jsonl", CALLS)
        assert main(["replay", str(folder / "run.jsonl"), "--sink", "es"]) == ExitCode.OK
        for number in range(PRODUCTION):
            body = {"@timestamp": "2026-04-29T13:00:00Z", "event": {"dataset": "weeyuga.brain", "outcome": "success"}}
            node.ask("PUT", f"/weeyuga-telemetry-2026.04.29/_doc/{number}", json=body | {"metadata": {"user": "x"}})
        node.refresh()
        yield node


def of_the(dashboard: dict[str, Any]) -> dict[str, Any]:
    """The filter of a dashboard, as Kibana puts it into a query."""
    text = dashboard["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]
    (pill,) = json.loads(text)["filter"]
    return {"bool": {"must_not" if pill["meta"]["negate"] else "filter": [pill["query"]]}}


def aggregations(panel: dict[str, Any]) -> dict[str, Any]:
    """The buckets of a panel, each inside the one before, and its metrics in the innermost."""
    aggs = json.loads(panel["attributes"]["visState"])["aggs"]
    inner: dict[str, Any] = {
        one["id"]: {one["type"]: {"field": one["params"]["field"], "percents": one["params"]["percents"]}}
        for one in aggs
        if one["schema"] == "metric" and one["type"] != "count"
    }
    for one in reversed([one for one in aggs if one["schema"] != "metric"]):
        params = one["params"]
        asked = {"field": params["field"]} | (
            {"fixed_interval": "1h"} if one["type"] == "date_histogram" else {"size": params["size"]}
        )
        inner = {one["id"]: {one["type"]: asked} | ({"aggs": inner} if inner else {})}
    return inner


def search(store: StoreNode, query: dict[str, Any], aggs: dict[str, Any]) -> dict[str, Any]:
    return store.ask("POST", f"/{VIEW}/_search", json={"size": 0, "query": query, "aggs": aggs})


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["id"])
def test_every_panel_has_something_to_show(store: StoreNode, panel: dict[str, Any]) -> None:
    aggs = aggregations(panel)
    found = search(store, {"match_all": {}}, aggs)["aggregations"]
    while aggs:
        ((id_, asked),) = aggs.items()
        if "percentiles" in asked:
            assert found[id_]["values"]["50.0"] > 0
            return
        assert found[id_]["buckets"]
        # Buckets come by their size, and most documents are calls.
        found, aggs = found[id_]["buckets"][0], asked.get("aggs", {})


def test_the_filter_hides_every_line_of_the_run_and_nothing_of_production(store: StoreNode) -> None:
    hidden = of_the(next(one for one in DASHBOARDS if one["id"].endswith("telemetry")))
    everything = search(store, {"match_all": {}}, {})["hits"]["total"]["value"]
    shown = search(store, hidden, {})["hits"]["total"]["value"]
    assert (everything, shown) == (CALLS + 3 + PRODUCTION, PRODUCTION)


def test_the_dashboard_of_benchmarks_shows_the_calls_and_only_them(store: StoreNode) -> None:
    calls = of_the(next(one for one in DASHBOARDS if one["id"].endswith("benchmarks")))
    assert search(store, calls, {})["hits"]["total"]["value"] == CALLS


def test_grouping_by_run_gives_the_run_and_no_other_key(store: StoreNode) -> None:
    panel = next(one for one in PANELS if one["id"].endswith("calls"))
    buckets = search(store, {"match_all": {}}, aggregations(panel))["aggregations"]["2"]["buckets"]
    assert [one["doc_count"] for one in buckets] == [CALLS + 3]
