"""The command as installed, with the golden engine beside what is installed: `python golden_command.py ARGS`."""

from __future__ import annotations

import sys

from weeyuga_core import cli, plugins
from weeyuga_core.hookspecs import hookimpl
from weeyuga_core.provided import Provided
from weeyuga_core.testing.golden_plugin import ADAPTER

installed = plugins.load


class GoldenPlugin:
    """Offers the golden server's adapter."""

    @hookimpl
    def weeyuga_engine_adapters(self) -> list[Provided]:
        return [ADAPTER]


def load_with_golden(**settings: object) -> plugins.Plugins:
    """What is installed, and the golden engine."""
    return installed([("golden-plugin", GoldenPlugin())])


if __name__ == "__main__":
    plugins.load = load_with_golden  # type: ignore[assignment]  # the same for callers without arguments
    sys.exit(cli.main())
