"""The baseline as Markdown, written when the run is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from weeyuga_core.interfaces import Line, SinkTarget
from weeyuga_core.ledger import reader
from weeyuga_core.model.records import EndRecord, MetaRecord
from weeyuga_core.report.markdown import names_run, render_ledger
from weeyuga_core.sinks.output import Ours, Output, nobodys


class MarkdownSink:
    """Writes what `report` would print for the ledger, by default to a file beside it.

    The page of a run that was interrupted gives way to that of the same run taken up again.
    """

    def __init__(self, target: SinkTarget) -> None:
        self._ledger = Path(target.ledger_path)
        option = f"--sink markdown={target.target}" if target.target else "--sink markdown"
        ours = _tells_of(self._ledger) if target.resumed else nobodys
        self._output = Output(target.target or str(self._ledger.with_suffix(".md")), option=option, ours=ours)

    async def open(self, meta: MetaRecord) -> None:
        """Nothing yet: a report of a run that has not ended is none."""

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Nothing: the ledger is read when it is whole."""

    async def close(self, end: EndRecord | None) -> None:
        """Read the ledger and write its baseline, also that of a run that died."""
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        page = render_ledger(self._ledger).encode()
        self._output.open()
        with closing(self._output):
            self._output.write(page)


def _tells_of(ledger: Path) -> Ours:
    """Whether a page is about the run of that ledger."""
    return lambda content: names_run(content, reader.read(ledger).meta.benchmark_run_id)
