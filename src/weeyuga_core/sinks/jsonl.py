"""The ledger's own lines, copied as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from weeyuga_core.interfaces import Line, SinkTarget
from weeyuga_core.model.records import EndRecord, MetaRecord
from weeyuga_core.sinks.output import Output


class JsonlSink:
    """Copies lines to a new file or to stdout; without a target the ledger itself is the copy.

    Files are written by a thread: a full pipe or a share that hangs must run into the deadline, not stop the loop.
    """

    def __init__(self, target: SinkTarget) -> None:
        self._output = Output(target.target, option=f"--sink jsonl={target.target}") if target.target else None

    async def open(self, meta: MetaRecord) -> None:
        """Create the file."""
        if self._output is not None:
            await asyncio.to_thread(self._output.open)

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Append the lines' bytes."""
        if self._output is not None:
            await asyncio.to_thread(self._output.write, b"".join(line.raw for line in lines))

    async def close(self, end: EndRecord | None) -> None:
        """Make the copy durable."""
        if self._output is not None:
            await asyncio.to_thread(self._output.close)
