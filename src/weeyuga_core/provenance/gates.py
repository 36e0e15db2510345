"""Gates: what must hold before the first call. Each refusal says the figure and the flag that overrides it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import frozen

from weeyuga_core.errors import ConfigError, GateRefused
from weeyuga_core.provenance.git import GitFacts
from weeyuga_core.provenance.host import load_avg

MAX_LOAD = 4.0
"""A one-minute load average above this makes the host too busy to measure from."""

WAIT_STEP_S = 2.0
_FILES_SHOWN = 5
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))Z")


def check_dirty(facts: GitFacts, allow: bool) -> None:
    """Raise GateRefused when uncommitted changes stand in the way and are not allowed."""
    if allow or not facts.gate_files:
        return
    count = len(facts.gate_files)
    shown = [_printable(entry) for entry in facts.gate_files[:_FILES_SHOWN]]
    more = f", and {count - len(shown)} more" if count > len(shown) else ""
    raise GateRefused(
        f"{count} uncommitted {'change' if count == 1 else 'changes'} in the repository that holds the cells file: "
        f"{', '.join(shown)}{more}",
        hint="commit them, or run with --allow-dirty (the files are listed in the ledger)",
    )


def check_load(load1: float, force: bool) -> str | None:
    """Why the numbers will be noisy when a busy host is forced, else None. Raises GateRefused when it is not."""
    if load1 <= MAX_LOAD:
        return None
    words = f"load average {load1:.2f} is above {MAX_LOAD:.1f}"
    if force:
        return f"{words} (forced)"
    raise GateRefused(
        f"{words}: this host is too busy, its numbers would be noisy",
        hint="wait for it with --wait-load S (seconds), or run anyway with --force-load (the run is marked unreliable)",
    )


async def wait_for_load(
    limit_s: float,
    *,
    load: Callable[[], tuple[float, float, float]] = load_avg,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[float, float], None],
) -> bool:
    """Wait until the host is quiet enough, at most `limit_s`; whether it became so.

    `tell` is given the load average and the seconds left before each sleep.
    """
    deadline = clock() + limit_s
    while (load1 := load()[0]) > MAX_LOAD:
        left = deadline - clock()
        if left <= 0:
            return False
        tell(load1, left)
        await sleep(min(WAIT_STEP_S, left))
    return True


@frozen(kw_only=True)
class Window:
    """A daily stretch of time in UTC, in minutes after midnight: `start` is inside, `end` is not. May span midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """From `HH:MM-HH:MMZ`. Raises ValueError."""
        match = _WINDOW.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a window like 02:00-05:00Z")
        hour, minute, end_hour, end_minute = (int(part) for part in match.groups() if part is not None)
        window = cls(start=hour * 60 + minute, end=end_hour * 60 + end_minute)
        if window.start == window.end:
            raise ValueError(f"{text!r} begins and ends at the same minute")
        return window

    def holds(self, now: datetime) -> bool:
        """Whether that moment (with a time zone) lies inside."""
        utc = now.astimezone(UTC)
        minute = utc.hour * 60 + utc.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def check_quiet_hours(windows: Mapping[str, str], nodes: Iterable[str], now: datetime, allow: bool) -> None:
    """Raise GateRefused when a node may be measured only in its quiet hours and it is not that time.

    `windows` maps a node to the hours in which runs on it are allowed. Raises ConfigError when one is malformed,
    also when `allow` is given.
    """
    if now.tzinfo is None:
        raise ValueError("the time now must carry its time zone")
    outside = [f"{node} ({windows[node]})" for node in dict.fromkeys(nodes) if not _open_now(node, windows, now)]
    if allow or not outside:
        return
    raise GateRefused(
        f"outside the quiet hours of {', '.join(outside)}: it is {now.astimezone(UTC):%H:%M}Z now",
        hint="run inside the window, or, with the owner's consent, with --outside-quiet-hours",
    )


def _open_now(node: str, windows: Mapping[str, str], now: datetime) -> bool:
    if node not in windows:
        return True
    try:
        return Window.parse(windows[node]).holds(now)
    except ValueError as error:
        raise ConfigError(f"nodes.{node}.quiet_hours: {error}", hint="write it as 02:00-05:00Z") from error


def check_publication(unhealthy: Sequence[tuple[str, str]]) -> None:
    """Raise GateRefused when a run meant for publication has cells that failed their health check (cell id, reason)."""
    if not unhealthy:
        return
    count = len(unhealthy)
    listed = "".join(f"\n  {cell}: {reason}" for cell, reason in unhealthy)
    raise GateRefused(
        f"{count} {'cell' if count == 1 else 'cells'} failed the health check, so this run cannot be "
        f"--for-publication:{listed}",
        hint="bring them up, disable them in the cells file (enabled: false), or run without --for-publication",
    )


def _printable(text: str) -> str:
    """The text on one line: characters that would move the cursor are written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
