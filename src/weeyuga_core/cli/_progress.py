"""Shows the progress of a run: a live line on a terminal, plain lines elsewhere. All of it on stderr.

Nothing is drawn by a timer: the runner sends its events between calls, and only then the line changes.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from weeyuga_core.cli._output import say
from weeyuga_core.model.plan import Step
from weeyuga_core.model.records import CallRecord
from weeyuga_core.run import progress as events


class PlainProgress:
    """One line an event; for logs, pipes and CI."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def __call__(self, event: events.ProgressEvent) -> None:
        if not isinstance(event, events.CallStarting):
            self.line(describe(event))

    def line(self, text: str) -> None:
        """Say one line."""
        say(text)


class LiveProgress(PlainProgress):
    """Finished things as lines that stay, the coming call as a line that changes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._last = ""
        self._eta = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def __call__(self, event: events.ProgressEvent) -> None:
        if isinstance(event, events.CallStarting):
            head = f"[{event.number}/{event.of}] {_step(event.step)} ..."
            self._show("  ".join(part for part in (head, self._last, self._eta) if part))
            return
        if isinstance(event, events.CallDone):
            self._last = f"last: {_figures(event.record)}"
            self._eta = "" if event.eta_s is None else f"ETA {duration(event.eta_s)}"
        self.line(describe(event))

    def line(self, text: str) -> None:
        self._live.update("", refresh=True)
        self._console.print(text, markup=False)

    def _show(self, text: str) -> None:
        from rich.text import Text

        self._live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)


def watcher() -> PlainProgress:
    """The live line where stderr is a terminal, plain lines elsewhere."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def describe(event: events.ProgressEvent) -> str:
    """One line of words for an event."""
    match event:
        case events.RunStarted():
            estimate = "" if event.estimate_s is None else f", about {duration(event.estimate_s)}"
            goes_on, left = (" goes on", " left") if event.resumed else ("", "")
            counts = f"{event.cells} cells, {event.steps} calls{left}{estimate}"
            return f"run {event.run_id}{goes_on}: {counts} -> {event.ledger_path}"
        case events.Waiting():
            return f"waiting up to {duration(event.limit_s)} for {event.why}"
        case events.CellStarting():
            return f"{event.cell_id}: {event.health.detail or event.health.state}"
        case events.CellReady():
            return f"{event.record.cell_id}: ready, {event.record.engine_version or 'version unknown'}"
        case events.CallStarting():
            return f"[{event.number}/{event.of}] {_step(event.step)}"
        case events.CallDone():
            eta = "" if event.eta_s is None or event.number == event.of else f"  ETA {duration(event.eta_s)}"
            return f"[{event.number}/{event.of}] {_call(event.record)}  {_figures(event.record)}{eta}"
        case events.CellSkipped():
            return f"{event.record.cell_id}: skipped: {event.record.error}"
        case events.Notice():
            return event.text


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _step(step: Step) -> str:
    return f"{step.cell_id} {step.prompt_id} {step.phase} {step.run_idx + 1}"


def _call(record: CallRecord) -> str:
    return f"{record.cell_id} {record.prompt_id} {record.phase} {record.run_idx + 1}"


def _figures(record: CallRecord) -> str:
    if record.error is not None:
        return f"error: {record.error}"
    rate = "" if record.tokens_per_sec is None else f"  {record.tokens_per_sec:.1f} tokens/s"
    first = "-" if record.first_delta_ms is None else f"{record.first_delta_ms} ms"
    return f"TTFT {first}  total {record.total_duration_ms} ms{rate}"
