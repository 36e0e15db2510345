from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from weeyuga_core.cli import main
from weeyuga_core.errors import ExitCode
from weeyuga_core.sinks.elasticsearch.kibana import HIDE, saved_objects
from weeyuga_core.sinks.elasticsearch.templates import component_template


def written(tmp_path: Path) -> list[dict[str, Any]]:
    out = tmp_path / "kibana.ndjson"
    assert main(["es", "dashboards", "--out", str(out)]) == ExitCode.OK
    return [json.loads(line) for line in out.read_bytes().splitlines()]


def strings_of_json(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every text that is JSON by its name, parsed, with where it stands."""
    for key, one in value.items() if isinstance(value, dict) else ():
        if isinstance(one, str) and key.endswith(("JSON", "State")):
            yield f"{path}.{key}", json.loads(one)
        yield from strings_of_json(one, f"{path}.{key}")


def test_the_command_writes_what_the_builder_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = written(tmp_path)
    assert objects == saved_objects("weeyuga-telemetry")
    assert main(["es", "dashboards"]) == ExitCode.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == objects


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("precious")
    assert main(["es", "dashboards", "--out", str(taken)]) == ExitCode.USAGE
    assert taken.read_text() == "precious"


def test_every_reference_leads_to_an_object_that_comes_before() -> None:
    seen: set[tuple[str, str]] = set()
    for one in saved_objects("weeyuga-telemetry"):
        assert {(ref["type"], ref["id"]) for ref in one["references"]} <= seen
        seen.add((one["type"], one["id"]))
    assert len(seen) == len(saved_objects("weeyuga-telemetry"))


@pytest.mark.parametrize("one", saved_objects("weeyuga-telemetry"), ids=lambda one: one["id"])
def test_every_name_that_is_referred_to_is_among_the_references(one: dict[str, Any]) -> None:
    names = {ref["name"] for ref in one["references"]}
    texts = dict(strings_of_json(one["attributes"]))
    used = {value for text in texts.values() for value in ref_names(text)}
    assert used == names


def ref_names(value: Any) -> Iterator[str]:
    """Every `...RefName` in a value."""
    if isinstance(value, list):
        for one in value:
            yield from ref_names(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in ("indexRefName", "panelRefName"):
                yield one
            else:
                yield from ref_names(one)


@pytest.mark.parametrize(
    ("prefix", "field"), [("weeyuga-telemetry", "metadata.test"), ("weeyuga-logs-x", "labels.test")]
)
def test_benchmark_traffic_is_hidden_until_somebody_switches_the_filter_off(prefix: str, field: str) -> None:
    by_id = {one["id"]: one for one in saved_objects(prefix)}
    dashboard = by_id["weeyuga-bench-telemetry"]["attributes"]
    (pill,) = json.loads(dashboard["kibanaSavedObjectMeta"]["searchSourceJSON"])["filter"]
    assert (pill["meta"]["alias"], pill["meta"]["negate"], pill["meta"]["disabled"]) == (HIDE, True, False)
    assert pill["query"] == {"match_phrase": {field: "true"}}
    (saved,) = by_id["weeyuga-bench-hide"]["attributes"]["filters"]
    assert saved["query"] == pill["query"]


def test_panels_use_only_fields_that_the_mappings_hold_typed() -> None:
    mapped = set(leaves(component_template(opensearch=False)["template"]["mappings"]["properties"]))
    used = {
        agg["params"]["field"]
        for one in saved_objects("weeyuga-telemetry")
        if one["type"] == "visualization"
        for agg in json.loads(one["attributes"]["visState"])["aggs"]
        if "field" in agg["params"]
    }
    assert used
    assert used <= mapped


def leaves(properties: dict[str, Any], path: str = "") -> Iterator[str]:
    """Names of the fields of a mapping, but not of flat objects."""
    for name, one in properties.items():
        if "properties" in one:
            yield from leaves(one["properties"], f"{path}{name}.")
        elif one["type"] not in ("flattened", "flat_object"):
            yield f"{path}{name}"
