"""Whether the clock that timed the calls ran at the speed of the world's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen

WARN = 0.001
INVALID = 0.01
RESOLUTION_S = 0.05
"""Absolute differences below this are no evidence.

A busy host may take the processor away between the readings of the two clocks, at either end of the run and at each
try; a time daemon may also have corrected the wall clock by some milliseconds, which is its work. So below 5 s not even
1 % can be told from noise, and below 50 s not 0.1 %.
"""


@frozen(kw_only=True)
class ClockCheck:
    """Readings of the monotonic and the wall clock at the start of a run, in ns.

    Both must advance alike. They do not when the machine slept (the monotonic clock stands still then), when the
    wall clock was set, or when a virtual machine was paused.
    """

    mono_ns: int
    wall_ns: int
    read: Callable[[], tuple[int, int]]
    """The monotonic and the wall clock at one moment."""

    @classmethod
    def start(cls, read: Callable[[], tuple[int, int]]) -> ClockCheck:
        """Read both clocks now."""
        mono_ns, wall_ns = read()
        return cls(mono_ns=mono_ns, wall_ns=wall_ns, read=read)

    def elapsed_s(self) -> float:
        """Seconds since the start, by the monotonic clock."""
        return (self.read()[0] - self.mono_ns) / 1e9

    def drift(self) -> float:
        """(wall - monotonic) / monotonic time since the start; positive when the wall clock went further."""
        mono_ns, wall_ns = self.read()
        mono, wall = mono_ns - self.mono_ns, wall_ns - self.wall_ns
        return (wall - mono) / mono if mono > 0 else 0.0


def classify(drift: float, elapsed_s: float) -> Literal["warn", "invalid"] | None:
    """What a drift over that many seconds means for the run; None when it is fine or cannot be told."""
    if abs(drift) * elapsed_s < RESOLUTION_S:
        return None
    if abs(drift) > INVALID:
        return "invalid"
    return "warn" if abs(drift) > WARN else None
