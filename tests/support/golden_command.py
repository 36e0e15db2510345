"""The command as installed, with the golden engine beside what is installed: `python golden_command.py ARGS`.

Where `GOLDEN_COMMAND_CTRL_C` is set, it gets a SIGINT, once, as soon as it has said those words on stderr: whoever
reads them in another process may be too late on a busy machine.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from weeyuga_core import cli, plugins
from weeyuga_core.hookspecs import hookimpl
from weeyuga_core.provided import Provided
from weeyuga_core.run import session
from weeyuga_core.testing import golden_adapter
from weeyuga_core.testing.golden_plugin import ADAPTER

CTRL_C = "GOLDEN_COMMAND_CTRL_C"

installed = plugins.load


class GoldenPlugin:
    """Offers the golden server's adapter."""

    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [ADAPTER]


def load_with_golden(**settings: object) -> plugins.Plugins:
    """What is installed, and the golden engine."""
    return installed([("golden-plugin", GoldenPlugin())])


def interrupting(write: Callable[[str], int], words: str) -> Callable[[str], int]:
    """`write`, which presses Ctrl-C behind the first text that holds the words."""
    left = [words]

    def writing(text: str) -> int:
        written = write(text)
        if left and left[0] in text:
            left.clear()
            os.kill(os.getpid(), signal.SIGINT)
        return written

    return writing


if __name__ == "__main__":
    if CTRL_C in os.environ:
        # An ignored signal is inherited: in a background job, SIGINT would interrupt nobody.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr.write = interrupting(sys.stderr.write, os.environ[CTRL_C])  # type: ignore[method-assign]
    # A golden server that a busy machine stops for a second is not down.
    session.PROBE_S = golden_adapter._HEALTH_S = 60.0
    plugins.load = load_with_golden  # type: ignore[assignment]  # the same for callers without arguments
    sys.exit(cli.main())
