"""The mappings that the documents want, as composable templates under names of our own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weeyuga_core.model import tags
from weeyuga_core.sinks.elasticsearch.document import BOOLEAN, DOUBLE, FIELDS, KEYWORD, LONG

MAPPINGS = "weeyuga-bench-mappings"
"""Name of the component template."""
PRIORITY = 50
"""Of the index template: below what owners of a cluster give to theirs, so that theirs wins."""
MANAGED_BY = "weeyuga-bench"

_TEXT = {"type": KEYWORD, "ignore_above": 1024}


def index_template_name(prefix: str) -> str:
    """The name of the index template for the indices of a prefix."""
    return f"weeyuga-bench-{prefix}"


def component_template(*, opensearch: bool) -> dict[str, Any]:
    """Mappings: tags as one flat object, and everything that is counted or grouped by, typed, outside of it."""
    flat = {"type": "flat_object" if opensearch else "flattened"}
    properties = {
        "@timestamp": {"type": "date"},
        "event": _object(kind=KEYWORD, dataset=KEYWORD, outcome=KEYWORD, duration=LONG, sequence=LONG),
        "service": _object(name=KEYWORD, version=KEYWORD),
        "host": _object(name=KEYWORD),
        "server": _object(address=KEYWORD),
        "trace": _object(id=KEYWORD),
        "span": _object(id=KEYWORD),
        "error": _object(type=KEYWORD),
        "gen_ai": {"properties": _gen_ai()},
        "weeyuga": {"properties": {"bench": {"dynamic": False, "properties": bench_properties()}}},
        tags.METADATA: flat,
        tags.LABELS: flat,
    }
    return {"template": {"mappings": {"properties": properties}}, "_meta": {"managed_by": MANAGED_BY}}


def index_template(prefix: str) -> dict[str, Any]:
    """A template for the daily indices of a prefix, for clusters that have none for them."""
    return {
        "index_patterns": [f"{prefix}-*"],
        "composed_of": [MAPPINGS],
        "priority": PRIORITY,
        "_meta": {"managed_by": MANAGED_BY},
    }


def bench_properties() -> dict[str, Any]:
    """The typed fields of all records."""
    fields = {name: kind for typed in FIELDS.values() for name, kind in typed.items()}
    return {name: _property(kind) for name, kind in ({"record": KEYWORD, "benchmark_run_id": KEYWORD} | fields).items()}


def is_ours(template: Mapping[str, Any]) -> bool:
    """Whether a template that is there was made by this program."""
    meta = template.get("_meta")
    return isinstance(meta, dict) and meta.get("managed_by") == MANAGED_BY


def _gen_ai() -> dict[str, Any]:
    return {
        "operation": _object(name=KEYWORD),
        "provider": _object(name=KEYWORD),
        "request": _object(model=KEYWORD),
        "response": _object(time_to_first_chunk=DOUBLE, finish_reasons=KEYWORD),
        "usage": {
            "properties": {
                "input_tokens": _property(LONG),
                "output_tokens": _property(LONG),
                "reasoning": _object(output_tokens=LONG),
            }
        },
    }


def _object(**kinds: str) -> dict[str, Any]:
    return {"properties": {name: _property(kind) for name, kind in kinds.items()}}


def _property(kind: str) -> dict[str, Any]:
    assert kind in (LONG, DOUBLE, BOOLEAN, KEYWORD)
    return dict(_TEXT) if kind == KEYWORD else {"type": kind}
