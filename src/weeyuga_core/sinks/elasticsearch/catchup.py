"""Bring a store level with a ledger, from the acknowledged line to the last complete one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx

from weeyuga_core.interfaces import Line
from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.sinks.elasticsearch import checkpoint as checkpoints
from weeyuga_core.sinks.elasticsearch.bulk import Item, Stop
from weeyuga_core.sinks.elasticsearch.checkpoint import Checkpoint
from weeyuga_core.sinks.elasticsearch.document import Documents
from weeyuga_core.sinks.elasticsearch.journal import Journal, paths
from weeyuga_core.sinks.elasticsearch.sender import Tell
from weeyuga_core.sinks.elasticsearch.server import StoreUnavailable, identify, patiently
from weeyuga_core.sinks.elasticsearch.settings import Settings
from weeyuga_core.sinks.elasticsearch.ship import BATCH_BYTES, BATCH_ITEMS, Shipper
from weeyuga_core.sinks.elasticsearch.verify import Held, hold
from weeyuga_core.sinks.replay import DryRun, ReplayOptions, ReplayReport

PATIENCE_S = 120.0
"""How long a replay waits for a store that takes nothing, before it leaves the rest for another time."""
SHOWN = 10

Wanted = Callable[[str, Line], bool]
"""Identity and line -> whether it is to be sent."""


async def catch_up(
    ledger: Path,
    side_dir: Path,
    settings: Settings,
    options: ReplayOptions,
    tell: Tell,
    *,
    patience_s: float = PATIENCE_S,
    batch_items: int = BATCH_ITEMS,
) -> ReplayReport:
    """Send what is not acknowledged, and prove it where that is asked for.

    Raises GateRefused while another run or replay is at it, LedgerError on a disk that takes no side files, and the
    errors of reading a ledger.
    """
    async with settings.client() as http:
        try:
            server = await patiently(lambda: identify(http), deadline_s=patience_s, tell=tell)
        except StoreUnavailable as error:
            known = _believed(ledger, side_dir, settings)
            acknowledged = known.lines if known else 0
            return ReplayReport(
                lines=sum(1 for _ in iter_lines(ledger)),
                acknowledged_before=acknowledged,
                acknowledged=acknowledged,
                stopped=error.stop.why,
                hint=error.stop.hint,
            )
        with Journal(ledger, side_dir, settings, cluster_uuid=server.cluster_uuid) as journal:
            work = _CatchUp(http, ledger, settings, journal, tell, patience_s, batch_items)
            return await work.run(options)


def dry_run(ledger: Path, side_dir: Path, settings: Settings, options: ReplayOptions) -> DryRun:
    """What a replay would send. The store is not asked and nothing is written."""
    believed = None if options.from_start else _believed(ledger, side_dir, settings)
    start = believed.offset if believed else 0
    indices: dict[str, int] = {}
    size_bytes = 0
    example = b""
    for item in _items(ledger, settings, lambda id_, line: line.offset >= start):
        indices[item.index] = indices.get(item.index, 0) + 1
        size_bytes += item.size_bytes
        example = item.document if b'"record":"call"' in item.document or not example else example
    return DryRun(
        url=settings.url,
        acknowledged=believed.lines if believed else 0,
        indices=indices,
        size_bytes=size_bytes,
        example=json.loads(example) if example else None,
    )


def _believed(ledger: Path, side_dir: Path, settings: Settings) -> Checkpoint | None:
    """The checkpoint, where it fits the ledger; whether it is this very store's is not known without asking it."""
    path, _ = paths(side_dir, settings.key)
    found = checkpoints.read(path)
    return found if found and checkpoints.misfit(found, ledger, target=None) is None else None


def _items(ledger: Path, settings: Settings, wanted: Wanted) -> Iterator[Item]:
    """The items of the wanted lines; the others are learnt from."""
    documents = Documents(prefix=settings.prefix, tags_under=settings.tags_under)
    for line in iter_lines(ledger):
        documents.learn(line)
        if wanted(documents.identity(line), line):
            yield documents.item(line)


class _CatchUp:
    """One replay under way."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        ledger: Path,
        settings: Settings,
        journal: Journal,
        tell: Tell,
        patience_s: float,
        batch_items: int,
    ) -> None:
        self._http = http
        self._ledger = ledger
        self._settings = settings
        self._journal = journal
        self._tell = tell
        self._patience_s = patience_s
        self._batch_items = batch_items
        self._shipper = Shipper(http, journal, tell=tell)

    async def run(self, options: ReplayOptions) -> ReplayReport:
        if self._journal.doubt:
            self._tell(f"the checkpoint is not believed, everything is sent again: {self._journal.doubt}")
        if options.from_start:
            self._journal.rewind()
        before = self._journal.lines
        stop = await self._redrive() if options.redrive_dlq else None
        stop = stop or await self._forward()
        held: Held | None = None
        if options.verify and stop is None:
            try:
                held = await self._verify()
            except StoreUnavailable as error:
                stop = error.stop
        return self._report(before, stop, held)

    async def _forward(self) -> Stop | None:
        """Send everything behind the acknowledged prefix."""
        start = self._journal.offset
        return await self._pump(lambda id_, line: line.offset >= start, self._shipper.ship)

    async def _redrive(self) -> Stop | None:
        """Send the dead of the acknowledged prefix once more."""
        dead = set(self._journal.dead.ids)
        start = self._journal.offset
        return await self._pump(lambda id_, line: line.offset < start and id_ in dead, self._shipper.redrive)

    async def _pump(self, wanted: Wanted, ship: Callable[..., Awaitable[Stop | None]]) -> Stop | None:
        """Send the wanted lines batch by batch; the next batch is made while the store works on the last."""
        batches = self._batches(wanted)
        batch = await asyncio.to_thread(next, batches, None)
        while batch:
            coming = asyncio.create_task(asyncio.to_thread(next, batches, None))
            try:
                stop = await ship(batch, deadline_s=self._patience_s)
            finally:
                batch = await coming
            if stop:
                return stop
        return None

    def _batches(self, wanted: Wanted) -> Iterator[list[Item]]:
        batch: list[Item] = []
        size = 0
        for item in _items(self._ledger, self._settings, wanted):
            if batch and (len(batch) == self._batch_items or size + item.size_bytes > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += item.size_bytes
        if batch:
            yield batch

    async def _verify(self) -> Held:
        """Look every acknowledged line up. Those whose identity is taken are dead; those that are there are not."""
        end, journal = self._journal.offset, self._journal
        items = _items(self._ledger, self._settings, lambda id_, line: line.offset < end)
        held = await hold(self._http, items, tags_under=self._settings.tags_under, dead=journal.dead.ids)
        outcomes = {item.id: outcome for item, outcome in held.settled}
        await asyncio.to_thread(journal.record, [item for item, _ in held.settled], outcomes)
        return held

    def _report(self, before: int, stop: Stop | None, held: Held | None) -> ReplayReport:
        journal, counts = self._journal, self._shipper.counts
        missing = None if held is None else [id_ for id_ in held.missing if id_ not in journal.dead.ids]
        return ReplayReport(
            lines=sum(1 for _ in iter_lines(self._ledger)) if stop else journal.lines,
            acknowledged_before=before,
            acknowledged=journal.lines,
            created=counts.created,
            duplicate=counts.duplicate,
            retried=counts.retried,
            dead=len(journal.dead.ids),
            dead_reasons=journal.dead.reasons(),
            dead_file=str(journal.dead.path) if journal.dead.ids else None,
            stored=None if held is None else held.stored,
            missing=None if missing is None else len(missing),
            missing_ids=tuple(missing or ())[:SHOWN],
            stopped=stop.why if stop else None,
            hint=stop.hint if stop else "",
        )
