"""Saved objects for Kibana 7.17 and later, and for OpenSearch Dashboards. Pure.

Two dashboards: all telemetry, with benchmark traffic hidden by a filter that is on until somebody switches it off; and
the benchmarks, by cell. They use aggregations over typed fields only, because sub-fields of a flat object cannot be
grouped by everywhere, and no Lens, which OpenSearch Dashboards does not have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weeyuga_core.model.tags import TAG_TEST
from weeyuga_core.sinks.elasticsearch.document import DATASET
from weeyuga_core.sinks.elasticsearch.settings import tags_under

HIDE = "Hide benchmark traffic"
SHOW_ONLY = "Only measured calls"
BENCH = "weeyuga.bench"

_SOURCE_INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"
_FILTER_INDEX = "kibanaSavedObjectMeta.searchSourceJSON.filter[0].meta.index"
_MIGRATIONS = {"index-pattern": "7.6.0", "visualization": "7.10.0", "dashboard": "7.9.3", "query": "7.16.0"}
"""Shapes in which the objects are written; an importing Kibana brings them up to its own."""
PERCENTS = (50, 95)

Object = dict[str, Any]
Reference = dict[str, str]


def saved_objects(prefix: str) -> list[Object]:
    """Every object, those that others refer to first."""
    view = _data_view(prefix)
    events = _visualization("events", "Events by dataset", view["id"], _events_over_time())
    outcomes = _visualization("outcomes", "Outcomes", view["id"], _outcomes())
    ttft = _visualization("ttft", "Warm first delta by cell (ms)", view["id"], _percentiles("first_delta_ms"))
    total = _visualization("total", "Warm total duration by cell (ms)", view["id"], _percentiles("total_duration_ms"))
    calls = _visualization("calls", "Calls by run, cell and phase", view["id"], _calls())
    tags = tags_under(prefix)
    return [
        view,
        _saved_query(view["id"], tags),
        *(events, outcomes, ttft, total, calls),
        _dashboard("telemetry", "Weeyuga telemetry", [events, outcomes], hide_filter(view["id"], tags)),
        _dashboard("benchmarks", "Weeyuga benchmarks", [ttft, total, calls], _calls_filter(view["id"])),
    ]


def hide_filter(view_id: str, tags: str) -> Object:
    """The filter pill that hides what is tagged as a test; documents without the tag stay."""
    field = f"{tags}.{TAG_TEST}"
    return _phrase_filter(view_id, field, "true", alias=HIDE, negate=True)


def _calls_filter(view_id: str) -> Object:
    return _phrase_filter(view_id, "event.dataset", f"{DATASET}.call", alias=SHOW_ONLY, negate=False)


def _phrase_filter(view_id: str, field: str, value: str, *, alias: str, negate: bool) -> Object:
    return {
        "$state": {"store": "appState"},
        "meta": {
            "alias": alias,
            "disabled": False,
            "index": view_id,
            "key": field,
            "negate": negate,
            "params": {"query": value},
            "type": "phrase",
        },
        "query": {"match_phrase": {field: value}},
    }


# --- objects ------------------------------------------------------------------------------------------------------


def _object(kind: str, id_: str, attributes: Mapping[str, Any], references: Sequence[Reference] = ()) -> Object:
    return {
        "type": kind,
        "id": id_,
        "attributes": dict(attributes),
        "references": list(references),
        "migrationVersion": {kind: _MIGRATIONS[kind]},
    }


def _data_view(prefix: str) -> Object:
    attributes = {"title": f"{prefix}-*", "timeFieldName": "@timestamp"}
    return _object("index-pattern", f"weeyuga-bench-{prefix}", attributes)


def _saved_query(view_id: str, tags: str) -> Object:
    """The same filter for dashboards of other people: they load it by its name."""
    attributes = {
        "title": HIDE,
        "description": "Leaves out what the benchmark harness caused",
        "query": {"query": "", "language": "kuery"},
        "filters": [hide_filter(view_id, tags)],
    }
    return _object("query", "weeyuga-bench-hide", attributes)


def _visualization(id_: str, title: str, view_id: str, state: Mapping[str, Any]) -> Object:
    search = {"query": {"query": "", "language": "kuery"}, "filter": [], "indexRefName": _SOURCE_INDEX}
    query = state.get("query")
    if query:
        search["query"] = {"query": query, "language": "kuery"}
    attributes = {
        "title": title,
        "description": "",
        "version": 1,
        "uiStateJSON": "{}",
        "visState": _json({"title": title} | {key: value for key, value in state.items() if key != "query"}),
        "kibanaSavedObjectMeta": {"searchSourceJSON": _json(search)},
    }
    reference = {"name": _SOURCE_INDEX, "type": "index-pattern", "id": view_id}
    return _object("visualization", f"weeyuga-bench-{id_}", attributes, [reference])


def _dashboard(id_: str, title: str, panels: Sequence[Object], pill: Object) -> Object:
    """A dashboard: panels below each other, and one filter pill."""
    view_id = pill["meta"].pop("index")
    pill["meta"]["indexRefName"] = _FILTER_INDEX
    search = {"query": {"query": "", "language": "kuery"}, "filter": [pill]}
    laid_out = [
        {
            "version": "7.9.3",
            "type": "visualization",
            "gridData": {"x": 0, "y": 15 * number, "w": 48, "h": 15, "i": str(number)},
            "panelIndex": str(number),
            "embeddableConfig": {},
            "panelRefName": f"panel_{number}",
        }
        for number, _ in enumerate(panels)
    ]
    attributes = {
        "title": title,
        "description": "",
        "version": 1,
        "hits": 0,
        "timeRestore": False,
        "optionsJSON": _json({"useMargins": True, "hidePanelTitles": False}),
        "panelsJSON": _json(laid_out),
        "kibanaSavedObjectMeta": {"searchSourceJSON": _json(search)},
    }
    references = [{"name": _FILTER_INDEX, "type": "index-pattern", "id": view_id}]
    references += [
        {"name": f"panel_{number}", "type": "visualization", "id": panel["id"]} for number, panel in enumerate(panels)
    ]
    return _object("dashboard", f"weeyuga-bench-{id_}", attributes, references)


# --- what the panels show -------------------------------------------------------------------------------------------


def _events_over_time() -> Object:
    params: Object = {"type": "histogram", "addTooltip": True, "addLegend": True, "legendPosition": "right"}
    time = _agg("2", "date_histogram", "segment", field="@timestamp", interval="auto", min_doc_count=1)
    return {"type": "histogram", "params": params, "aggs": [_count(), time, _terms("3", "group", "event.dataset")]}


def _outcomes() -> Object:
    return _table_of([_count(), _terms("2", "bucket", "event.dataset"), _terms("3", "bucket", "event.outcome")])


def _percentiles(field: str) -> Object:
    metric = _agg("1", "percentiles", "metric", field=f"{BENCH}.{field}", percents=list(PERCENTS))
    cells = _terms("2", "bucket", f"{BENCH}.cell_id", size=50)
    prompts = _terms("3", "bucket", f"{BENCH}.prompt_id", size=20)
    return _table_of([metric, cells, prompts]) | {"query": f"{BENCH}.phase : warm and event.outcome : success"}


def _calls() -> Object:
    names = (f"{BENCH}.benchmark_run_id", f"{BENCH}.cell_id", f"{BENCH}.phase")
    return _table_of([_count(), *(_terms(str(number), "bucket", name) for number, name in enumerate(names, start=2))])


def _table_of(aggs: list[Object]) -> Object:
    params = {"perPage": 25, "showPartialRows": False, "showMetricsAtAllLevels": False, "showTotal": False}
    return {"type": "table", "params": params, "aggs": aggs}


def _count() -> Object:
    return _agg("1", "count", "metric")


def _terms(id_: str, schema: str, field: str, *, size: int = 20) -> Object:
    return _agg(id_, "terms", schema, field=field, orderBy="_key", order="asc", size=size)


def _agg(id_: str, kind: str, schema: str, **params: Any) -> Object:
    return {"id": id_, "enabled": True, "type": kind, "schema": schema, "params": params}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
