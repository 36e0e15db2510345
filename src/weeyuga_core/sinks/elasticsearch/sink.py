"""`--sink es`: lines are put by while calls are measured, and sent between cells and at the end.

A store that is down costs the run one short attempt and one more at its end. Whatever was not sent waits in the
ledger for `weeyuga-bench replay`. A run that is taken up again sends what the store lacks of its earlier part at once.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

from weeyuga_core.errors import BenchError, ExitCode
from weeyuga_core.interfaces import Line, SinkTarget
from weeyuga_core.model.records import CellRecord, EndRecord, MetaRecord
from weeyuga_core.sinks.elasticsearch import catchup
from weeyuga_core.sinks.elasticsearch.bulk import Item, Stop
from weeyuga_core.sinks.elasticsearch.document import Documents
from weeyuga_core.sinks.elasticsearch.journal import Journal
from weeyuga_core.sinks.elasticsearch.server import Server, StoreUnavailable, identify
from weeyuga_core.sinks.elasticsearch.settings import Settings, from_env
from weeyuga_core.sinks.elasticsearch.ship import Shipper
from weeyuga_core.sinks.replay import DryRun, ReplayOptions, ReplayReport

FLUSH_S = 2.0
"""What one attempt between two cells may take; the run gives each delivery 5 s."""
CLOSE_S = 4.0
CATCH_UP_S = 4.0
"""What one attempt may take while an earlier part of the run is delivered: nothing is measured by then."""
CATCH_UP_ITEMS = 1000
"""Lines of an earlier part of the run that are sent together."""
KEPT_ITEMS = 5000
"""Lines that wait in memory at most, some 10 MB."""


class NotLevel(BenchError):
    """The run is over, and lines of its ledger are not in the store."""

    exit_code = ExitCode.INCOMPLETE


class ElasticsearchSink:
    """Sends a run's lines to Elasticsearch or OpenSearch when a cell is done and when the run is."""

    def __init__(self, target: SinkTarget) -> None:
        """Read the settings; nothing is asked of the store yet. Raises UsageError."""
        self._settings: Settings = from_env(target.target)
        self._option = f"es={target.target}" if target.target else "es"
        self._ledger = Path(target.ledger_path)
        self._side_dir = Path(target.side_dir)
        self._documents = Documents(prefix=self._settings.prefix, tags_under=self._settings.tags_under)
        self._resumed = target.resumed
        self._earlier_bytes = 0
        """Where the earlier part of a resumed run ends in the ledger."""
        self._waiting: list[Item] = []
        self._given = 0
        self._taken = 0
        """Lines that were handed over, and those of them that are settled."""
        self._down: str | None = None
        """Why the last attempt failed: the next one is the last."""
        self._left: str | None = None
        """Why what follows is left to a replay whatever the store does."""
        self._http: httpx.AsyncClient | None = None
        self._journal: asyncio.Task[Journal] | None = None
        self._shipper: Shipper | None = None

    async def open(self, meta: MetaRecord) -> None:
        """Make the client. Raises UsageError when the CA cannot be read."""
        self._earlier_bytes = self._ledger.stat().st_size if self._resumed else 0
        self._http = self._settings.client()

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Put the lines by. The record of a new cell means that the last one is done: what waits is sent."""
        for line in lines:
            self._put_by(line)
        if self._down is not None or not lines:
            return
        if lines[-1].offset < self._earlier_bytes:
            await self._catch_up(lines[-1])
        elif any(line.record.get("type") == CellRecord.TYPE for line in lines):
            await self._flush(FLUSH_S)

    async def close(self, end: EndRecord | None) -> None:
        """Send what waits, in one last attempt. Raises NotLevel when lines are left."""
        try:
            if self._waiting:
                await self._flush(CLOSE_S)
        finally:
            await self._let_go()
        if self._taken < self._given:
            command = f"weeyuga-bench replay {shlex.quote(str(self._ledger))} --sink {shlex.quote(self._option)}"
            why = self._down or self._left
            raise NotLevel(f"{self._given - self._taken} of them are not in the store ({why}); later: {command}")

    async def replay(self, options: ReplayOptions, tell: Callable[[str], None]) -> ReplayReport:
        """Bring the store level with the ledger."""
        return await catchup.catch_up(self._ledger, self._side_dir, self._settings, options, tell)

    def dry_run(self, options: ReplayOptions) -> DryRun:
        """What a replay would send."""
        return catchup.dry_run(self._ledger, self._side_dir, self._settings, options)

    async def _catch_up(self, last: Line) -> None:
        """Send of the earlier part what has come together, and at its end what is left of it."""
        if len(self._waiting) >= CATCH_UP_ITEMS or last.offset + len(last.raw) == self._earlier_bytes:
            await self._flush(CATCH_UP_S)

    def _put_by(self, line: Line) -> None:
        self._given += 1
        self._documents.learn(line)
        if self._left is None and len(self._waiting) == KEPT_ITEMS:
            self._left = f"more than {KEPT_ITEMS} lines waited"
        if self._left is None:
            self._waiting.append(self._documents.item(line))

    async def _flush(self, limit_s: float) -> None:
        """Send what waits, for so long and no longer."""
        stop: Stop | None
        try:
            async with asyncio.timeout(limit_s):
                shipper = await self._ready()
                stop = await shipper.ship(self._waiting, deadline_s=limit_s) if self._waiting else None
        except TimeoutError:
            stop = Stop(f"the store did not answer within {limit_s:g} s")
        except StoreUnavailable as error:
            stop = error.stop
        except BenchError as error:
            stop = Stop(error.message)
        self._down = stop.why if stop else None
        self._forget_settled()

    async def _ready(self) -> Shipper:
        """Who sends, made at the first attempt: only then is the store asked who it is."""
        if self._shipper is None:
            assert self._http is not None, "the sink is open"
            journal = await self._opened(await identify(self._http))
            self._shipper = Shipper(self._http, journal)
            self._forget_settled()
            if self._waiting and self._waiting[0].offset != journal.offset:
                self._left, self._waiting = "earlier lines come first", []
        return self._shipper

    async def _opened(self, server: Server) -> Journal:
        """The journal. An attempt whose time is up leaves its thread at work, and the next one waits for that."""
        if self._journal is None:
            make = partial(Journal, self._ledger, self._side_dir, self._settings, cluster_uuid=server.cluster_uuid)
            self._journal = asyncio.create_task(asyncio.to_thread(make))
        return await asyncio.shield(self._journal)

    def _forget_settled(self) -> None:
        if self._shipper is not None:
            offset = self._shipper.journal.offset
            waiting = [item for item in self._waiting if item.offset >= offset]
            self._taken += len(self._waiting) - len(waiting)
            self._waiting = waiting

    async def _let_go(self) -> None:
        if self._journal is not None:
            await asyncio.wait({self._journal})
            if self._journal.exception() is None:
                self._journal.result().close()
        if self._http is not None:
            await self._http.aclose()
