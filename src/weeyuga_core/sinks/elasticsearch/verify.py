"""Hold a store against a ledger, line by line: is it there, and is it that line?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import httpx
from attrs import define, field

from weeyuga_core.model.tags import TAG_RECORD_SHA256
from weeyuga_core.sinks.elasticsearch.bulk import Fate, Item, Outcome
from weeyuga_core.sinks.elasticsearch.server import ask

BATCH_ITEMS = 500
_TAKEN = Outcome(Fate.DEAD, 409, "identity_taken", "the store holds another document under this identity")


@define
class Held:
    """What was found."""

    stored: int = 0
    """Lines that are in the store as they stand in the ledger."""
    missing: list[str] = field(factory=list)
    """Identities that are not there."""
    settled: list[tuple[Item, Outcome]] = field(factory=list)
    """Lines that are newly known to be dead, since their identity belongs to another document, or not to be."""


async def hold(http: httpx.AsyncClient, items: Iterable[Item], *, tags_under: str, dead: Collection[str] = ()) -> Held:
    """Look every item up by its identity. Raises StoreUnavailable."""
    held = Held()
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_ITEMS:
            await _look_up(http, batch, tags_under, held, dead)
            batch = []
    if batch:
        await _look_up(http, batch, tags_under, held, dead)
    return held


async def _look_up(
    http: httpx.AsyncClient, items: Sequence[Item], tags_under: str, held: Held, dead: Collection[str]
) -> None:
    name = f"{tags_under}.{TAG_RECORD_SHA256}"
    wanted = [{"_index": item.index, "_id": item.id, "_source": [name]} for item in items]
    answer = await ask(http, "POST", "/_mget?filter_path=docs._id,docs.found,docs._source", json={"docs": wanted})
    told = answer.get("docs")
    found = {doc["_id"]: _sha256(doc, tags_under) for doc in told if doc.get("found")} if isinstance(told, list) else {}
    for item in items:
        if item.id not in found:
            held.missing.append(item.id)
        elif found[item.id] == item.record_sha256:
            held.stored += 1
            if item.id in dead:
                held.settled.append((item, Outcome(Fate.DUPLICATE, 409)))
        else:
            held.settled.append((item, _TAKEN))


def _sha256(doc: dict[str, object], tags_under: str) -> object:
    source = doc.get("_source")
    tags = source.get(tags_under) if isinstance(source, dict) else None
    return tags.get(TAG_RECORD_SHA256) if isinstance(tags, dict) else None
