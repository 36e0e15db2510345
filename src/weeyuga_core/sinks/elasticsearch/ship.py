"""Move ledger lines into a store: check the index, send, keep the dead, move the checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import httpx
from attrs import define

from weeyuga_core.sinks.elasticsearch import server
from weeyuga_core.sinks.elasticsearch.bulk import Fate, Item, Outcome, Stop
from weeyuga_core.sinks.elasticsearch.journal import Journal
from weeyuga_core.sinks.elasticsearch.sender import Sender, Sent, Tell

BATCH_ITEMS = 1000
BATCH_BYTES = 4 << 20


@define
class Counts:
    """What became of the items that were sent."""

    created: int = 0
    duplicate: int = 0
    dead: int = 0
    retried: int = 0


class Shipper:
    """Sends batches of one ledger, in its order, and keeps its journal."""

    def __init__(self, http: httpx.AsyncClient, journal: Journal, *, tell: Tell = lambda words: None) -> None:
        self.counts = Counts()
        self.journal = journal
        self._http = http
        self._tell = tell
        self._sender = Sender(http, tell=tell)
        self._plain: set[str] = set()

    async def ship(self, items: Sequence[Item], *, deadline_s: float) -> Stop | None:
        """Send the items that follow the acknowledged prefix, and acknowledge what is settled; what stopped it."""
        sent = await self._send(items, deadline_s)
        await _to_its_end(self.journal.settle, items, sent.outcomes)
        return sent.stop

    async def redrive(self, items: Sequence[Item], *, deadline_s: float) -> Stop | None:
        """Send dead items once more; the checkpoint stays where it is."""
        sent = await self._send(items, deadline_s)
        await _to_its_end(self.journal.record, items, sent.outcomes)
        return sent.stop

    async def _send(self, items: Sequence[Item], deadline_s: float) -> Sent:
        try:
            for index in sorted({item.index for item in items} - self._plain):
                check = partial(server.refuse_streams, self._http, index)
                await server.patiently(check, deadline_s=deadline_s, tell=self._tell)
                self._plain.add(index)
        except server.StoreUnavailable as error:
            return Sent({}, stop=error.stop)
        sent = await self._sender.send(items, deadline_s=deadline_s)
        fates = [outcome.fate for outcome in sent.outcomes.values()]
        self.counts.created += fates.count(Fate.CREATED)
        self.counts.duplicate += fates.count(Fate.DUPLICATE)
        self.counts.dead += fates.count(Fate.DEAD)
        self.counts.retried += sent.retried
        return sent


async def _to_its_end(
    write: Callable[[Sequence[Item], Mapping[str, Outcome]], None],
    items: Sequence[Item],
    outcomes: Mapping[str, Outcome],
) -> None:
    """Write in a thread, and leave only when that is through: a cancelled caller would meet a half-moved journal."""
    writing = asyncio.create_task(asyncio.to_thread(write, items, outcomes))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        raise
