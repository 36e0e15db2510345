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
        """Refuse a target that cannot be written, before anything is measured. Raises UsageError."""
        self._ledger = Path(target.ledger_path)
        self._target = target
        if target.target or self._ledger.parent.is_dir():  # the ledger's own folder may be made by the run
            self._output()

    async def open(self, meta: MetaRecord) -> None:
        """Nothing yet: a report of a run that has not ended is none."""

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Nothing: the ledger is read when it is whole."""

    async def close(self, end: EndRecord | None) -> None:
        """Read the ledger and write its baseline, also that of a run that died."""
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        page = render_ledger(self._ledger).encode()
        output = self._output()
        output.open()
        with closing(output):
            output.write(page)

    def _output(self) -> Output:
        given = self._target.target
        option = f"--sink markdown={given}" if given else "--sink markdown"
        ours = _tells_of(self._ledger) if self._target.resumed else nobodys
        return Output(given or str(self._ledger.with_suffix(".md")), option=option, ours=ours)


def _tells_of(ledger: Path) -> Ours:
    """Whether a page is about the run of that ledger."""
    return lambda content: names_run(content, reader.read(ledger).meta.benchmark_run_id)
