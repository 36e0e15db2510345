"""What a ledger line becomes in the store. Pure: the same ledger gives the same documents.

No text of a prompt, an answer or an error message is in a document, and no address: the node's name stands for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import attrs

from weeyuga_core.errors import UsageError
from weeyuga_core.interfaces import Line
from weeyuga_core.model import tags
from weeyuga_core.model.records import CallRecord, CellRecord, EndRecord, MetaRecord, Record, ResumeRecord
from weeyuga_core.sinks.elasticsearch.bulk import Item

DATASET = "weeyuga.benchmark"
"""`event.dataset` begins so. A router's own documents about the same calls have another, so nothing counts twice."""
SERVICE = "weeyuga-bench"

LONG, DOUBLE, BOOLEAN, KEYWORD = "long", "double", "boolean", "keyword"
"""Types in the index."""
_TYPES = {"int": LONG, "float": DOUBLE, "bool": BOOLEAN}
_CHECKS: Mapping[str, tuple[type, ...]] = {LONG: (int,), DOUBLE: (int, float), BOOLEAN: (bool,), KEYWORD: (str, list)}

WORDS = frozenset(
    {"adapter", "backend", "call_flags", "cell_id", "cold_kind", "connection", "engine", "engine_version"}
    | {"error_kind", "fingerprint", "finish_reason", "git_sha", "harness_version", "label", "ledger_sha256"}
    | {"model_digest", "node", "phase", "plan_sha256", "platform", "prompt_cache", "prompt_id", "python", "reasons"}
    | {"request_model", "response_id", "routes", "stamp_point", "verdict"}
)
"""Fields that hold short words, or lists of them. What is not listed stays in the ledger: it may be text or a place."""


def _typed(kind: type[Record]) -> Iterator[tuple[str, str]]:
    """The fields of a record that a document carries, each with its type in the index."""
    for field in attrs.fields(kind):
        plain = str(field.type).removesuffix(" | None")
        if field.name in WORDS:
            yield field.name, KEYWORD
        elif plain in _TYPES and field.name != "seq":
            yield field.name, _TYPES[plain]


FIELDS: Mapping[str, Mapping[str, str]] = {
    kind.TYPE: dict(_typed(kind)) for kind in (MetaRecord, CellRecord, CallRecord, EndRecord, ResumeRecord)
}
"""`type` of a record -> field -> type in the index. Numbers come by themselves when a record grows."""


class Documents:
    """Turns the lines of one ledger, in order, into items. Remembers what the lines before said about run and cells."""

    def __init__(self, *, prefix: str, tags_under: str) -> None:
        self._prefix = prefix
        self._tags_under = tags_under
        self._meta: Mapping[str, Any] = {}
        self._began: datetime | None = None
        self._models: dict[str, str] = {}

    def learn(self, line: Line) -> None:
        """Take note of a line that later ones refer to. Raises UsageError for a run without a time."""
        record = line.record
        if record.get("type") == MetaRecord.TYPE:
            self._meta = record
            self._began = moment(record.get("started_at_utc"))
            if self._began is None:
                raise UsageError("line 1 of the ledger: started_at_utc is no time in ISO 8601")
        elif record.get("type") == CellRecord.TYPE:
            self._models[str(record.get("cell_id"))] = str(record.get("request_model"))

    def identity(self, line: Line) -> str:
        """The document's id: run and number of the line."""
        return f"{self._run_id}:{line.seq}"

    def item(self, line: Line) -> Item:
        """The item of a line, once it and those before it have been learnt from."""
        return Item(
            id=self.identity(line),
            index=self.index(line),
            document=json.dumps(self.document(line), separators=(",", ":"), allow_nan=False).encode(),
            offset=line.offset,
            raw=line.raw,
            record_sha256=sha256(line.raw).hexdigest(),
        )

    def index(self, line: Line) -> str:
        """The index of a line, named from its own day: the same whenever it is sent."""
        return f"{self._prefix}-{self._time(line):%Y.%m.%d}"

    def document(self, line: Line) -> dict[str, Any]:
        """The document of a line."""
        record, kind, at = line.record, str(line.record.get("type")), self._time(line)
        document: dict[str, Any] = {
            "@timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
            "event": {"kind": "event", "dataset": f"{DATASET}.{kind}", "sequence": line.seq},
            "service": {"name": SERVICE, "version": self._version()},
            "host": {"name": self._meta.get("host")},
            "weeyuga": {"bench": {"record": kind, "benchmark_run_id": self._run_id} | dict(_values(kind, record))},
            self._tags_under: self._tags(line),
        }
        if kind in (CallRecord.TYPE, CellRecord.TYPE):
            document["server"] = {"address": str(record.get("cell_id")).partition(":")[0]}
        if kind == CallRecord.TYPE:
            self._add_call(document, line)
        return document

    def _add_call(self, document: dict[str, Any], line: Line) -> None:
        """The names by which others know what a call is."""
        record = line.record
        skipped = record.get("phase") == "skipped"
        duration = record.get("total_duration_ns")
        outcome = "unknown" if skipped else "failure" if record.get("error") else "success"
        document["event"] |= {"kind": "metric", "outcome": outcome} | _known(duration=duration)
        document |= _known(error=_known(type=record.get("error_kind")) or None)
        if skipped:
            return
        trace, span = tags.trace_ids(self._run_id, line.seq)
        document |= {"trace": {"id": trace}, "span": {"id": span}, "gen_ai": self._gen_ai(record)}

    def _gen_ai(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """OpenTelemetry's names, as of its semantic conventions for generative AI in development in late 2026."""
        _, engine, label = (f"{record.get('cell_id')}::").split(":", 2)
        first, reason = record.get("first_delta_ns"), record.get("finish_reason")
        usage = _known(input_tokens=record.get("prompt_tokens"), output_tokens=record.get("completion_tokens"))
        if record.get("reasoning_tokens") is not None:
            usage["reasoning"] = {"output_tokens": record["reasoning_tokens"]}
        response = _known(
            time_to_first_chunk=first / 1e9 if isinstance(first, int) else None,
            finish_reasons=[reason] if reason else None,
        )
        model = self._models.get(str(record.get("cell_id")), label.removesuffix("::"))
        return {
            "operation": {"name": "chat"},
            "provider": {"name": engine},
            "request": {"model": model},
        } | _known(response=response or None, usage=usage or None)

    def _tags(self, line: Line) -> dict[str, Any]:
        """The tags by which benchmark traffic is known, hidden and shown."""
        record = line.record
        found = {tags.TAG_TEST: True} | _known(
            **{
                tags.TAG_RUN_ID: self._run_id,
                tags.TAG_CELL_ID: record.get("cell_id"),
                tags.TAG_PROMPT_ID: record.get("prompt_id"),
                tags.TAG_PHASE: record.get("phase"),
                tags.TAG_RUN_IDX: record.get("run_idx"),
                tags.TAG_HARNESS_VERSION: self._meta.get("harness_version"),
                tags.TAG_RECORD_SHA256: sha256(line.raw).hexdigest(),
            }
        )
        if self._tags_under == tags.LABELS:
            return {key: "true" if value is True else str(value) for key, value in found.items()}
        return found

    def _time(self, line: Line) -> datetime:
        at = _own_time(line.record) or self._began
        if at is None:
            raise UsageError("the ledger's first line is no meta record")
        return at

    @property
    def _run_id(self) -> str:
        return str(self._meta.get("benchmark_run_id"))

    def _version(self) -> str | None:
        versions = self._meta.get("versions")
        return versions.get(SERVICE) if isinstance(versions, dict) else None


def moment(text: object) -> datetime | None:
    """A time of the ledger in UTC; None for what is none."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _own_time(record: Mapping[str, Any]) -> datetime | None:
    """When that happened which the record tells of; None where it has no time of its own (a skipped cell)."""
    at_end = record.get("type") == EndRecord.TYPE
    names = ("finished_at_utc",) if at_end else ("ready_at_utc", "started_at_utc", "resumed_at_utc")
    return next((at for name in names if (at := moment(record.get(name)))), None)


def _values(kind: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The typed fields of a record that are known and of their type."""
    for name, wanted in FIELDS.get(kind, {}).items():
        value = record.get(name)
        if isinstance(value, _CHECKS[wanted]) and isinstance(value, bool) is (wanted == BOOLEAN):
            # Without our template the store takes the type of the first value it meets: 1.0 is a double, 1 is not.
            yield name, float(record[name]) if wanted == DOUBLE else value


def _known(**values: Any) -> dict[str, Any]:
    """The values that are known."""
    return {name: value for name, value in values.items() if value is not None}
