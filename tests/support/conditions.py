"""What tests wait for, and look at, in other processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0
"""Far more than any condition takes, also on a machine that is busy: no test measures time."""
LOOK_S = 0.01
"""Between two looks."""


def wait_until(condition: Callable[[], T], what: str) -> T:
    """The condition's value, as soon as it is true. Fails the test, naming `what` did not come, after two minutes."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(LOOK_S)
    return value


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
