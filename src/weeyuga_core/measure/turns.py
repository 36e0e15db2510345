"""Turns of the event loop: start one request in each, and see how late they come."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weeyuga_core.measure.clock import now_ns

TICK_NS = 20_000_000
"""Between two looks at the loop."""
POLL_GRAIN_NS = 1_000_000
"""A poll waits in whole milliseconds, so that a timer may come this late on a loop that has nothing else to do."""


class LaunchGate:
    """Let one caller through in each turn of the event loop, first come first served.

    Many tasks that become ready together would otherwise all run before the loop looks at its sockets again, and
    every read that arrives meanwhile would be stamped late.
    """

    def __init__(self) -> None:
        self._open = True
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Return when this turn of the loop is the caller's: at once where nobody has taken it."""
        loop = asyncio.get_running_loop()
        if self._open:
            self._open = False
            loop.call_soon(self._next)
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._open = True


class Largest:
    """The largest value noted since any moment, for values noted in order of time.

    Only values that no later one has exceeded are kept, so that the first one since a moment is the largest since then.
    """

    def __init__(self) -> None:
        self._at: list[int] = []
        self._values: list[int] = []

    def note(self, at: int, value: int) -> None:
        """Add a value; `at` never goes back."""
        while self._values and self._values[-1] <= value:
            self._values.pop()
            self._at.pop()
        self._at.append(at)
        self._values.append(value)

    def since(self, at: int) -> int:
        """The largest value noted at that moment or later; 0 where there is none."""
        first = bisect_left(self._at, at)
        return self._values[first] if first < len(self._values) else 0

    def clear(self) -> None:
        """Forget everything."""
        self._at.clear()
        self._values.clear()


class LagMonitor:
    """Largest delay of the event loop while somebody watches.

    Every 20 ms a timer notes by how much it came late, less the millisecond a poll may oversleep, and how long the
    loop then took to come round once: the first sees a process that got no CPU or a callback that ran long, the second
    how long a read may wait behind others in a busy turn. That is some 20 us of work fifty times a second: a read
    of a single stream has a chance of about 1 in 1,000 to be stamped up to 20 us late because of it, a tenth of what
    waking the process costs anyway. A delay that outlasts the exchange is seen all the same: an overdue timer runs in
    the turn that reads the last byte, the waiting task in the next. Nothing is scheduled while nobody watches.
    """

    def __init__(self) -> None:
        self._watchers = 0
        self._due_ns = 0
        self._turn_ns = 0
        self._handle: asyncio.Handle | None = None
        self._lags = Largest()

    @contextmanager
    def watch(self) -> Iterator[Callable[[], int]]:
        """Watch while the context is open; the yielded function tells the largest delay in ns since it was opened."""
        started_ns = now_ns()
        if self._watchers == 0:
            self._arm()
        self._watchers += 1
        try:
            yield lambda: self._lags.since(started_ns)
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                self._rest()

    def _arm(self) -> None:
        self._due_ns = now_ns() + TICK_NS
        self._handle = asyncio.get_running_loop().call_later(TICK_NS / 1e9, self._tick)

    def _rest(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._lags.clear()

    def _tick(self) -> None:
        self._turn_ns = now_ns()
        self._lags.note(self._turn_ns, self._turn_ns - self._due_ns - POLL_GRAIN_NS)
        self._due_ns = self._turn_ns
        self._handle = asyncio.get_running_loop().call_soon(self._come_round)

    def _come_round(self) -> None:
        seen_ns = now_ns()
        self._lags.note(seen_ns, seen_ns - self._turn_ns)
        self._arm()
