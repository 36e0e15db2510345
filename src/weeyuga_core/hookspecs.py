"""The front page: every hook of weeyuga-bench.

A plugin is an installed distribution with an entry point in the group `weeyuga` that names a small module. That
module implements one or more of the hooks below, marked with `hookimpl`. Hooks only register: they return
references, and behaviour lives in plain classes that follow the Protocols of `weeyuga_core.interfaces`. Keep the
module light (no httpx at the top), since it is imported by `plugins list` and by every run.

    from weeyuga_core.hookspecs import Provided, hookimpl

    @hookimpl
    def weeyuga_engine_adapters():
        return [Provided("echo", "answers with the prompt", "my_plugin.adapter:EchoAdapter")]

and in its pyproject.toml:

    [project.entry-points.weeyuga]
    my-plugin = "my_plugin"

The version range that the distribution requires of `weeyuga-bench` is its API version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from weeyuga_core.provided import Provided

if TYPE_CHECKING:
    from weeyuga_core.model.plan import RunPlan

__all__ = [
    "PROJECT",
    "Provided",
    "hookimpl",
    "hookspec",
    "weeyuga_cli_commands",
    "weeyuga_engine_adapters",
    "weeyuga_result_sinks",
    "weeyuga_run_metadata",
]

PROJECT = "weeyuga"
"""Name of the pluggy project, the entry-point group, and the prefix of every hook."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def weeyuga_engine_adapters() -> Iterable[Provided]:  # type: ignore[empty-body]  # a spec has no body
    """Offer engine adapters.

    Each `name` is the engine part of a cell id; `target` names a class that follows `EngineAdapter`, and whichever
    optional abilities it has. Two distributions offering one name are refused, both named.
    """


@hookspec
def weeyuga_result_sinks() -> Iterable[Provided]:  # type: ignore[empty-body]  # a spec has no body
    """Offer result sinks.

    Each `name` is what stands before the `=` in `--sink NAME=TARGET`; `target` names a class that follows
    `ResultSink`. The sinks of the core come through this same hook.
    """


@hookspec
def weeyuga_cli_commands() -> Iterable[Provided]:  # type: ignore[empty-body]  # a spec has no body
    """Offer commands of `weeyuga-bench`.

    Each `target` names a `click.Command`. It is imported only when the command is typed; `--help` of the group
    shows `summary`.
    """


@hookspec
def weeyuga_run_metadata(plan: RunPlan) -> Mapping[str, Any]:  # type: ignore[empty-body]  # a spec has no body
    """Add facts to the run's meta record.

    Called once, before the meta record is written. The mapping holds plain JSON values and is stored under
    `meta.plugins.<distribution>`, so no plugin can overwrite a field of ours or of another plugin.
    """
