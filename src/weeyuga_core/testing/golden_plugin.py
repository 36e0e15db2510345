"""What is installed when a golden server is the only engine: for calibration, which needs no other plugin."""

from __future__ import annotations

from weeyuga_core.discovery import CORE_DIST, Plugin, Source, core_version
from weeyuga_core.plugins import Plugins
from weeyuga_core.provided import Provided

ENGINE = "golden"
ADAPTER = Provided(ENGINE, "the golden server", "weeyuga_core.testing.golden_adapter:GoldenAdapter")


def golden_plugins() -> Plugins:
    """The golden engine alone; installed plugins are not even looked at."""
    source = Source(dist=CORE_DIST, version=core_version(), api=None, entry=ENGINE, get=lambda: None)
    return Plugins((Plugin(source=source, offers=(("engine", ADAPTER),)),), refused={})
