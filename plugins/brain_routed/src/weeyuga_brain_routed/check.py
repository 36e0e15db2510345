"""Whether the tags of a call reach a brain's telemetry: what was sent, and what the envelopes say of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from attrs import frozen

from weeyuga_core.model.tags import (
    HEADER_OF_TAG,
    HEADER_TRACE,
    LABELS,
    METADATA,
    TAG_CELL_ID,
    TAG_PROMPT_ID,
    TAG_RUN_ID,
    call_headers,
    trace_ids,
)

State: TypeAlias = Literal["arrived", "misplaced", "altered", "missing"]
WORSE: Sequence[State] = ("arrived", "misplaced", "altered", "missing")

TRACE_KEY = "trace.id"
TELLING = (TAG_RUN_ID, TAG_CELL_ID, TAG_PROMPT_ID)
"""Tags whose values stand for nothing else in a document, wherever they turn up."""
LIMIT = 100
"""Envelopes that are looked at: a brain emits a few per call."""


@frozen(kw_only=True)
class Sent:
    """One tagged call. What can differ from call to call does: a brain may have a constant in its place."""

    headers: Mapping[str, str]
    tags: Mapping[str, str]
    """Key in telemetry -> the value that must stand there."""
    trace_id: str


@frozen(kw_only=True)
class Finding:
    """What became of one header. Attribute names are keys of `brain check --json`."""

    header: str
    key: str
    sent: tuple[str, ...]
    state: State
    under: tuple[str, ...]
    """Where its values stand in the envelopes; for an altered one, what stands there."""
    needed: bool
    envelopes: int
    """In how many envelopes it arrived as it should."""

    @property
    def ok(self) -> bool:
        """Whether the brain does what is asked of it here."""
        return self.state == "arrived" or not self.needed


def calls_to_send() -> tuple[Sent, ...]:
    """Two calls of a run that nobody else has."""
    run_id, cell_id = str(uuid4()), f"check:brain-routed:{uuid4().hex[:12]}"
    ways = (("P-CHECK-1", "cold", 0), ("P-CHECK-2", "warm", 1))
    return tuple(_sent(run_id, seq, cell_id, *way) for seq, way in enumerate(ways))


def _sent(run_id: str, seq: int, cell_id: str, prompt_id: str, phase: str, run_idx: int) -> Sent:
    headers = call_headers(run_id=run_id, seq=seq, cell_id=cell_id, prompt_id=prompt_id, phase=phase, run_idx=run_idx)
    tags = {tag: headers[name] for tag, name in HEADER_OF_TAG.items()}
    return Sent(headers=headers, tags=tags, trace_id=trace_ids(run_id, seq)[0])


# --- the search ------------------------------------------------------------------------------------------------------


def query(sent: Sequence[Sent]) -> dict[str, Any]:
    """A search for every envelope of these calls, by whichever of their marks arrived.

    `.keyword` is where a store without a template of its own puts the whole word; with a flattened object it is one
    more key that is not there.
    """
    marks = {f"{place}.{tag}": [sent[0].tags[tag]] for place in (METADATA, LABELS) for tag in (TAG_RUN_ID, TAG_CELL_ID)}
    marks[TRACE_KEY] = [one.trace_id for one in sent]
    should = [{"terms": {name + end: values}} for name, values in marks.items() for end in ("", ".keyword")]
    return {"size": LIMIT, "query": {"bool": {"should": should, "minimum_should_match": 1}}}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each value of a document as text, under its dotted path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


# --- the findings ----------------------------------------------------------------------------------------------------


def all_seen(sent: Sequence[Sent], documents: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each call has an envelope."""
    return {id(_call_of(sent, dict(leaves(document)))) for document in documents} == {id(one) for one in sent}


def findings(sent: Sequence[Sent], documents: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """One per header; the worst that any envelope shows, since a tag must stand in each of them."""
    read = [(told, _call_of(sent, told)) for told in (dict(leaves(document)) for document in documents)]
    # Of a call without an envelope nothing arrived.
    read += [({}, one) for one in sent if all(other is not one for _, other in read)]
    tags = [
        _finding(name, tag, f"{METADATA}.{tag}", [one.tags[tag] for one in sent], read)
        for tag, name in HEADER_OF_TAG.items()
    ]
    return (*tags, _finding(HEADER_TRACE, None, TRACE_KEY, [one.trace_id for one in sent], read))


def _call_of(sent: Sequence[Sent], told: Mapping[str, str]) -> Sent:
    """The call that an envelope is about: the one of whose values it holds most."""
    values = set(told.values())
    return max(sent, key=lambda one: len({*one.tags.values(), one.trace_id} & values))


def _finding(
    header: str, tag: str | None, key: str, values: Sequence[str], read: Sequence[tuple[Mapping[str, str], Sent]]
) -> Finding:
    seen = [_one(told, tag, one.trace_id if tag is None else one.tags[tag]) for told, one in read]
    states: list[State] = [state for state, _ in seen]
    return Finding(
        header=header,
        key=key,
        sent=tuple(dict.fromkeys(values)),
        state=max(states, key=WORSE.index, default="missing"),
        under=tuple(dict.fromkeys(where for _, where in seen if where)),
        needed=tag is not None,
        envelopes=states.count("arrived"),
    )


def _one(told: Mapping[str, str], tag: str | None, value: str) -> tuple[State, str]:
    """What one envelope says of one tag, and where."""
    keys = [TRACE_KEY] if tag is None else [f"{METADATA}.{tag}", f"{LABELS}.{tag}"]
    for key in keys:
        if told.get(key) == value:
            return "arrived", key
    for key in keys:
        if key in told:
            return "altered", f"{key} = {told[key]}"
    if tag is None or tag in TELLING:
        for key, other in told.items():
            if other == value:
                return "misplaced", key
    return "missing", ""
