"""Cells behind a router for weeyuga-bench: tagged calls, what the router costs, whether its telemetry is tagged."""

from collections.abc import Iterable

from weeyuga_core.hookspecs import Provided, hookimpl

__version__ = "0.1.0"


@hookimpl
def weeyuga_engine_adapters() -> Iterable[Provided]:
    """Offer the engine `brain-routed`."""
    return [
        Provided(
            "brain-routed",
            "a router in front of the cell that `routes:` names",
            "weeyuga_brain_routed.adapter:BrainRoutedAdapter",
        )
    ]


@hookimpl
def weeyuga_cli_commands() -> Iterable[Provided]:
    """Offer the command `brain`."""
    return [Provided("brain", "Check that a brain tags its telemetry.", "weeyuga_brain_routed.command:brain")]
