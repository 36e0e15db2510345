"""Bring a copy level with its ledger after the run: what may be asked of a sink that keeps a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from weeyuga_core.errors import ExitCode


@frozen(kw_only=True)
class ReplayOptions:
    """What the operator asks for."""

    from_start: bool = False
    """Send every line again, whatever is acknowledged."""
    verify: bool = False
    """Look every line up afterwards."""
    redrive_dlq: bool = False
    """Send the dead letters once more."""


@frozen(kw_only=True)
class DryRun:
    """What a replay would send."""

    url: str
    acknowledged: int
    """Lines that are not sent, since they were taken before."""
    indices: Mapping[str, int]
    """index -> lines that would go there."""
    size_bytes: int
    example: Mapping[str, Any] | None
    """The last document of a call."""


@frozen(kw_only=True)
class ReplayReport:
    """What came of a replay. `created`, `duplicate` and `retried` count this replay; the rest is the state after it."""

    lines: int = 0
    """Complete lines of the ledger."""
    acknowledged_before: int = 0
    acknowledged: int = 0
    """Lines that are in the store or dead, from the first on without a gap."""
    created: int = 0
    duplicate: int = 0
    """Lines that the store had already."""
    retried: int = 0
    """Lines that were sent more than once."""
    dead: int = 0
    dead_reasons: Mapping[str, int] = field(factory=dict)
    dead_file: str | None = None
    stored: int | None = None
    """Lines that were looked up and found as they stand in the ledger."""
    missing: int | None = None
    """Lines that are neither in the store nor dead."""
    missing_ids: tuple[str, ...] = ()
    """The first of them."""
    stopped: str | None = None
    hint: str = ""

    @property
    def level(self) -> bool:
        """Whether every line is accounted for; where they were looked up, whether each was found or is dead."""
        if self.stopped is not None or self.acknowledged != self.lines:
            return False
        return self.stored is None or (self.missing == 0 and self.stored + self.dead == self.lines)

    @property
    def exit_code(self) -> ExitCode:
        """0 when the copy is level, else 3."""
        return ExitCode.OK if self.level else ExitCode.INCOMPLETE


@runtime_checkable
class Replays(Protocol):
    """Ability of a sink: it knows how far its copy got, and can bring it level."""

    async def replay(self, options: ReplayOptions, tell: Callable[[str], None]) -> ReplayReport:
        """Send what is missing. `tell` takes a line for whoever waits."""
        ...

    def dry_run(self, options: ReplayOptions) -> DryRun:
        """What `replay` would send."""
        ...
