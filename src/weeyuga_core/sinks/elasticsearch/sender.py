"""Send items until every one is settled, or until it is clear that this is not the time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from attrs import define, field, frozen

from weeyuga_core.sinks.elasticsearch import bulk
from weeyuga_core.sinks.elasticsearch.bulk import Again, Answer, Fate, Item, Items, Outcome, Split, Stop

BACKOFF_S = 0.5
CAP_S = 60.0
"""Longest pause between two requests, whatever the store asks for."""
ODD_TRIES = 3
"""How often an item is sent whose status nobody has heard of, before it is dead."""
TOLD_S = 1.0
"""Pauses from this length on are told to whoever waits."""

_PATH = "/_bulk?filter_path=items.*._id,items.*._index,items.*.status,items.*.error"
_HEADERS = {"content-type": "application/x-ndjson"}

Tell = Callable[[str], None]


@frozen
class Sent:
    """What came of a batch: the items that are settled, how many were sent more than once, and what stopped it."""

    outcomes: dict[str, Outcome]
    """id of an item -> its outcome, where it is settled."""
    retried: int = 0
    stop: Stop | None = None


@define
class _Work:
    """A batch under way."""

    pending: deque[tuple[Item, ...]]
    until: float
    outcomes: dict[str, Outcome] = field(factory=dict)
    odd: dict[str, int] = field(factory=dict)
    retried: set[str] = field(factory=set)
    settled_before: int = 0
    tries: int = 0
    stop: Stop | None = None


class Sender:
    """The one place that talks to `_bulk`: a request at a time, full-jitter pauses, no request without an end."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        tell: Tell = lambda words: None,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._tell = tell
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._now = now

    async def send(self, items: Sequence[Item], *, deadline_s: float) -> Sent:
        """Send the items; give up after `deadline_s` without one more being settled. Nothing is raised."""
        work = _Work(deque([tuple(items)] if items else []), self._now() + deadline_s)
        while work.pending and work.stop is None:
            chunk = work.pending.popleft()
            answer = await self._post(chunk)
            again, why = self._apply(work, chunk, answer)
            if self._progressed(work):
                work.until, work.tries = self._now() + deadline_s, 0
            if again and work.stop is None:
                work.pending.appendleft(again)
                work.retried.update(item.id for item in again)
                await self._pause(work, answer, why)
        return Sent(work.outcomes, len(work.retried), work.stop)

    def _apply(self, work: _Work, chunk: tuple[Item, ...], answer: Answer) -> tuple[tuple[Item, ...], str]:
        """Take note of an answer; what is to be sent again, and why."""
        match bulk.decide(chunk, answer):
            case Items(outcomes):
                return self._sort(work, chunk, outcomes)
            case Again(why):
                return chunk, why
            case Split(if_single) if len(chunk) == 1:
                work.outcomes[chunk[0].id] = if_single
            case Split():
                half = len(chunk) // 2
                work.pending.extendleft((chunk[half:], chunk[:half]))
            case Stop() as stop:
                work.stop = stop
        return (), ""

    def _sort(
        self, work: _Work, chunk: tuple[Item, ...], outcomes: tuple[Outcome, ...]
    ) -> tuple[tuple[Item, ...], str]:
        again: list[Item] = []
        why = ""
        for item, outcome in zip(chunk, outcomes, strict=True):
            if outcome.fate is Fate.HALT:
                work.stop = work.stop or bulk.halt(outcome)
            elif outcome.fate.settled or self._hopeless(work, item, outcome):
                work.outcomes[item.id] = outcome
            else:
                again.append(item)
                why = str(outcome)
        return tuple(again), why

    @staticmethod
    def _hopeless(work: _Work, item: Item, outcome: Outcome) -> bool:
        """Whether an item with an unheard-of status was tried often enough."""
        if outcome.fate is not Fate.ODD:
            return False
        work.odd[item.id] = work.odd.get(item.id, 0) + 1
        return work.odd[item.id] >= ODD_TRIES

    @staticmethod
    def _progressed(work: _Work) -> bool:
        """Whether items were settled since the last look."""
        before, work.settled_before = work.settled_before, len(work.outcomes)
        return work.settled_before > before

    async def _pause(self, work: _Work, answer: Answer, why: str) -> None:
        """Wait before the next request, or stop the work when its time would be over by then."""
        work.tries += 1
        pause_s = self._rng.uniform(0, min(CAP_S, BACKOFF_S * 2 ** min(work.tries, 10)))
        if answer.retry_after_s is not None:
            pause_s = min(CAP_S, max(pause_s, answer.retry_after_s))
        if self._now() + pause_s > work.until:
            work.stop = Stop(f"the store took nothing in time; its last answer: {why}", halted=False)
            return
        if pause_s >= TOLD_S:
            self._tell(f"the store answers {why}; next try in {pause_s:.0f} s")
        await self._sleep(pause_s)

    async def _post(self, chunk: Sequence[Item]) -> Answer:
        try:
            response = await self._http.post(_PATH, content=bulk.encode(chunk), headers=_HEADERS)
        except httpx.HTTPError as error:
            return Answer(None, fault=fault_words(error))
        return Answer(response.status_code, response.content, _retry_after_s(response))


def fault_words(error: httpx.HTTPError) -> str:
    """Why there is no answer, in a line."""
    return f"{type(error).__name__}{f': {error}' if str(error) else ''}"


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that the store asks us to wait; None where it does not, or not in a way that can be read."""
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return float(told)
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
