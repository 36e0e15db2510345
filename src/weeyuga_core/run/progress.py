"""What the runner tells whoever watches. Events are sent between calls only, never during one."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from attrs import frozen

from weeyuga_core.interfaces import Health
from weeyuga_core.model.plan import Step
from weeyuga_core.model.records import CallRecord, CellRecord


@frozen(kw_only=True)
class RunStarted:
    """The ledger is open and the first call comes next. `estimate_s` is None where nothing is known."""

    run_id: str
    ledger_path: str
    cells: int
    steps: int
    estimate_s: float | None
    resumed: bool = False
    """Whether `cells` and `steps` are what is left of a run that is taken up again."""


@frozen(kw_only=True)
class Waiting:
    """Something must happen first, for at most `limit_s`."""

    why: str
    limit_s: float


@frozen(kw_only=True)
class CellStarting:
    """A server is being launched, or a loading one waited for."""

    cell_id: str
    health: Health


@frozen(kw_only=True)
class CellReady:
    """The cell record is durable."""

    record: CellRecord


@frozen(kw_only=True)
class CallStarting:
    """`number` of `of` steps comes next."""

    step: Step
    number: int
    of: int


@frozen(kw_only=True)
class CallDone:
    """A call record is durable. `eta_s` is None until something has been measured."""

    record: CallRecord
    number: int
    of: int
    eta_s: float | None


@frozen(kw_only=True)
class CellSkipped:
    """A cell, or the rest of it, is not measured."""

    record: CallRecord


@frozen(kw_only=True)
class Notice:
    """Something the operator should know, that is not an error of a call."""

    text: str


ProgressEvent: TypeAlias = (
    RunStarted | Waiting | CellStarting | CellReady | CallStarting | CallDone | CellSkipped | Notice
)


class Progress(Protocol):
    """Receives progress events. It is called from the event loop, and returns quickly."""

    def __call__(self, event: ProgressEvent) -> None: ...
