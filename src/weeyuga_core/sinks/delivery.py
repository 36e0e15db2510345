"""Feed a run's sinks, each behind a guard: none can stop the run, delay it for long, or starve another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define

from weeyuga_core.errors import BenchError
from weeyuga_core.interfaces import Line, ResultSink
from weeyuga_core.model.records import EndRecord, MetaRecord

PIECE_LINES = 200
PIECE_BYTES = 1 << 20
"""What one delivery of an earlier part of the ledger holds at most: a long ledger must not outlast the deadline."""


@define
class _Feed:
    """One sink, how far it got, and why it got no further."""

    name: str
    sink: ResultSink
    lines: int = 0
    behind: str | None = None

    @property
    def problem(self) -> str:
        return f"sink {self.name} is behind, it was given {self.lines} lines of the ledger: {self.behind}"


class Delivery:
    """The sinks of one run, fed in order. A sink that failed once is fed no more: its copy would have a hole.

    A sink that blocks the event loop without awaiting anything cannot be stopped by the deadline.
    """

    def __init__(self, sinks: Mapping[str, ResultSink], *, deadline_s: float) -> None:
        """`sinks` by the name they are reported under; `deadline_s` is for each call of each sink."""
        self._feeds = [_Feed(name, sink) for name, sink in sinks.items()]
        self._deadline_s = deadline_s
        self._turn = asyncio.Lock()

    async def open(self, meta: MetaRecord) -> None:
        """Open every sink."""
        await self._to_its_end(self._round(lambda sink: sink.open(meta), 0))

    async def begin(self, meta: MetaRecord, lines: Iterable[Line]) -> None:
        """Open every sink and hand it the lines that the ledger holds by now, piece by piece.

        Raises what reading `lines` raises.
        """
        await self._to_its_end(self._begin(meta, lines))

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Hand durable lines to every sink that is not behind."""
        await self._to_its_end(self._hand_over(lines))

    async def close(self, end: EndRecord | None) -> None:
        """Close every sink, also those that are behind: they may hold files or connections."""
        await self._to_its_end(self._round(lambda sink: sink.close(end), 0, also_behind=True))

    def problems(self) -> tuple[str, ...]:
        """For each sink that is behind, how far it got and why it stopped."""
        return tuple(feed.problem for feed in self._feeds if feed.behind is not None)

    async def _to_its_end(self, feeding: Coroutine[Any, Any, None]) -> None:
        """Feed the sinks; a cancellation is passed on once they are through.

        Otherwise Ctrl-C would leave a hole in the sinks that had not been reached yet.
        """
        task = asyncio.create_task(feeding)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            _look_away(task)
            raise

    async def _begin(self, meta: MetaRecord, lines: Iterable[Line]) -> None:
        await self._round(lambda sink: sink.open(meta), 0)
        for piece in _pieces(lines):
            await self._hand_over(piece)

    async def _hand_over(self, lines: Sequence[Line]) -> None:
        await self._round(lambda sink: sink.deliver(lines), len(lines))

    async def _round(
        self, call: Callable[[ResultSink], Awaitable[None]], lines: int, *, also_behind: bool = False
    ) -> None:
        async with self._turn:
            for feed in self._feeds:
                if feed.behind is not None and not also_behind:
                    continue
                fault = await self._guarded(call, feed.sink)
                if fault is None and feed.behind is None:
                    feed.lines += lines
                feed.behind = feed.behind or fault

    async def _guarded(self, call: Callable[[ResultSink], Awaitable[None]], sink: ResultSink) -> str | None:
        """Make one call; what went wrong, or None."""

        async def made() -> None:
            await call(sink)

        task = asyncio.create_task(made())
        done, _ = await asyncio.wait({task}, timeout=self._deadline_s)
        if not done:
            # Not awaited: a sink that ignores its cancellation would hold up the run after all.
            task.cancel()
            task.add_done_callback(_look_away)
            return f"no answer within {self._deadline_s:g} s"
        if task.cancelled():
            return "it cancelled itself"
        error = task.exception()
        return None if error is None else _words(error)


def _pieces(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines in lists of bounded length and size."""
    piece: list[Line] = []
    size = 0
    for line in lines:
        if piece and (len(piece) == PIECE_LINES or size + len(line.raw) > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line.raw)
    if piece:
        yield piece


def _words(error: BaseException) -> str:
    """One line about an error: ours speak for themselves."""
    return error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def _look_away(task: asyncio.Task[None]) -> None:
    """Take the late result of a call that was given up, which asyncio would complain of otherwise."""
    if not task.cancelled():
        task.exception()
