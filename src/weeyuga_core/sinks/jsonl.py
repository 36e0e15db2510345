"""The ledger's own lines, copied as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from weeyuga_core.interfaces import Line, SinkTarget
from weeyuga_core.model.records import EndRecord, MetaRecord
from weeyuga_core.sinks.output import Ours, Output, nobodys


class JsonlSink:
    """Copies lines to a new file or to stdout; without a target the ledger itself is the copy.

    Files are written by a thread: a full pipe or a share that hangs must run into the deadline, not stop the loop.
    The copy of a run that is taken up again is written anew, whole, to its file or to the new process's stdout.
    """

    def __init__(self, target: SinkTarget) -> None:
        ours = _begins(Path(target.ledger_path)) if target.resumed else nobodys
        option = f"--sink jsonl={target.target}"
        self._output = Output(target.target, option=option, ours=ours) if target.target else None

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


def _begins(ledger: Path) -> Ours:
    """Whether a file holds the first bytes of the ledger, and nothing else."""
    return lambda content: ledger.read_bytes().startswith(content)
