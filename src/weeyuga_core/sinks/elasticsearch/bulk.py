"""The body of a bulk request, and what its answer means for each item. Pure.

An item is only ever created under an identity of its own, so "it is there already" is as good as "it was created", and
whatever is in doubt is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

from attrs import frozen

REASON_CHARS = 500

_HINTS: Mapping[int, str] = {
    401: "set WEEYUGA_ES_API_KEY, or WEEYUGA_ES_USER and WEEYUGA_ES_PASSWORD",
    403: "give the account the privilege create_doc (or create) on the index, or lift the index's block",
    404: "is the URL that of the store itself, and may it create indices (action.auto_create_index)?",
    405: "is the URL that of the store itself, and not of something in front of it?",
    406: "this store does not take application/x-ndjson: Elasticsearch 7 to 9 and OpenSearch 2 and 3 do",
}


@frozen
class Item:
    """One ledger line on its way: identity, index, document, and where it stands in the ledger."""

    id: str
    index: str
    document: bytes
    offset: int
    raw: bytes
    record_sha256: str

    @property
    def size_bytes(self) -> int:
        """What it adds to a request, roughly."""
        return len(self.document) + len(self.id) + len(self.index) + 48


class Fate(Enum):
    """What became of an item."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    DEAD = "dead"
    """Refused for good: only an operator can help."""
    RETRY = "retry"
    ODD = "odd"
    """A status that nobody has heard of: tried again, but not for ever."""
    HALT = "halt"
    """The next item would fare no better."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be done about the item."""
        return self in (Fate.CREATED, Fate.DUPLICATE, Fate.DEAD)


@frozen
class Outcome:
    """The fate of one item, and the store's words for it."""

    fate: Fate
    status: int
    kind: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (f"status {self.status}", self.kind, self.reason) if part)


@frozen
class Answer:
    """What came back for a request: a status and a body, or why there is none."""

    status: int | None
    body: bytes = b""
    retry_after_s: float | None = None
    fault: str = ""

    def __str__(self) -> str:
        return self.fault if self.status is None else f"HTTP {self.status}"


@frozen
class Items:
    """The store judged every item by itself, in the order in which they were sent."""

    outcomes: tuple[Outcome, ...]


@frozen
class Again:
    """Nothing certain is known about the request: all of it is sent again, after a pause."""

    why: str


@frozen
class Split:
    """The request as a whole is refused: two halves fare better, and a single item is dead."""

    if_single: Outcome


@frozen
class Stop:
    """Nothing more is sent. `halted`: an operator must act; otherwise the store was not to be had in time."""

    why: str
    hint: str = ""
    halted: bool = True


Decision: TypeAlias = Items | Again | Split | Stop


def encode(items: Sequence[Item]) -> bytes:
    """The body of a bulk request."""
    parts: list[bytes] = []
    for item in items:
        action = {"create": {"_index": item.index, "_id": item.id}}
        parts += (json.dumps(action, separators=(",", ":")).encode(), b"\n", item.document, b"\n")
    return b"".join(parts)


def decide(items: Sequence[Item], answer: Answer) -> Decision:
    """What an answer means for the items that were sent."""
    status = answer.status
    if status == 200:
        outcomes = read_items(items, answer.body)
        return Items(outcomes) if outcomes else Again("an answer that does not fit the request")
    if status is None or status == 429 or status >= 500:
        return Again(str(answer))
    kind, reason = _error(_json(answer.body))
    if status == 413:
        return Split(Outcome(Fate.DEAD, status, "too_large", "the store does not take a document of this size"))
    if status == 400:
        return Split(Outcome(Fate.DEAD, status, kind, reason))
    said = ": ".join(part for part in (f"the store answers {answer}", kind, reason) if part)
    return Stop(said, _HINTS.get(status, "is the URL that of the store itself?"))


def read_items(items: Sequence[Item], body: bytes) -> tuple[Outcome, ...] | None:
    """The outcome of each item; None where the answer is not one to exactly this request."""
    parsed = _json(body)
    told = parsed.get("items") if isinstance(parsed, dict) else None
    if not isinstance(told, list) or len(told) != len(items):
        return None
    outcomes: list[Outcome] = []
    for item, entry in zip(items, told, strict=True):
        one = entry.get("create") if isinstance(entry, dict) else None
        if not isinstance(one, dict) or one.get("_id") != item.id or type(one.get("status")) is not int:
            return None
        outcomes.append(_outcome(item, one))
    return tuple(outcomes)


def _outcome(item: Item, told: Mapping[str, Any]) -> Outcome:
    status: int = told["status"]
    kind, reason = _error(told)
    written_to = told.get("_index")
    fate = _fate(status)
    if fate in (Fate.CREATED, Fate.DUPLICATE) and written_to != item.index:
        # Identity holds inside one index only: behind an alias or a data stream the index changes over time.
        return Outcome(Fate.HALT, status, "not_a_plain_index", f"{item.index} leads to {written_to}")
    return Outcome(fate, status, kind, reason)


def _fate(status: int) -> Fate:
    if status in (200, 201):
        return Fate.CREATED
    if status == 409:
        return Fate.DUPLICATE
    if status == 400:
        return Fate.DEAD
    if status in (401, 403, 404):
        return Fate.HALT
    return Fate.RETRY if status == 429 or 500 <= status < 600 else Fate.ODD


def halt(outcome: Outcome) -> Stop:
    """Why an item stops everything."""
    if outcome.kind == "not_a_plain_index":
        hint = "an alias or a data stream cannot keep a line single; set WEEYUGA_ES_INDEX to a prefix of its own"
        return Stop(outcome.reason, hint)
    return Stop(f"the store refuses: {outcome}", _HINTS.get(outcome.status, ""))


def _error(told: Any) -> tuple[str, str]:
    """Type and reason of an error, in the store's words, shortened."""
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, str):
        return "", error[:REASON_CHARS]
    if not isinstance(error, dict):
        return "", ""
    return str(error.get("type", ""))[:REASON_CHARS], str(error.get("reason", ""))[:REASON_CHARS]


def _json(body: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
