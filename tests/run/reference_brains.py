"""The reference brain in a process of its own, for tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from programs import serving

PROGRAM = Path(__file__).parents[2] / "examples" / "reference_brain" / "weeyuga_reference_brain.py"


def reference_brain(
    upstream: str, folder: Path, *options: str, name: str = "golden", env: Mapping[str, str] | None = None
) -> AbstractContextManager[str]:
    """Base URL of a brain in front of `upstream`; its output is in `folder`. Usable outside of an event loop."""
    return serving(lambda port: brain_argv(port, f"{name}={upstream}", *options), folder / f"brain-{name}.log", env=env)


def brain_argv(port: int, upstream: str, *options: str) -> Sequence[str]:
    """The command line of a reference brain."""
    return (sys.executable, "-P", str(PROGRAM), "--port", str(port), "--upstream", upstream, *options)
