"""What is installed, by kind and name; references become classes here, and only when they are chosen.

`load` never raises for a faulty plugin. The fault stays with the plugin, `plugins list` shows it, and whatever asks
for something that the plugin brings (or could have brought) raises it as a PluginError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

import pluggy

from weeyuga_core import hookspecs, shapes
from weeyuga_core.discovery import CORE_DIST, OFFERING, OfferKind, Plugin, Source, clashes, find_plugins, guard
from weeyuga_core.errors import PluginError
from weeyuga_core.hookspecs import PROJECT, Provided
from weeyuga_core.shapes import ability

if TYPE_CHECKING:
    from weeyuga_core.interfaces import EngineAdapter, ResultSink
    from weeyuga_core.model.plan import RunPlan

__all__ = ["PluginRow", "Plugins", "ability", "load"]

T = TypeVar("T")

RowKind: TypeAlias = OfferKind | Literal["metadata", "plugin"]
ROW_KINDS: tuple[RowKind, ...] = (*OFFERING.values(), "metadata", "plugin")


class PluginRow(NamedTuple):
    """One line of `plugins list`. A plugin whose offers are not known has one row, of the kind `plugin`."""

    name: str
    kind: RowKind
    dist: str
    version: str
    api: str | None
    """The range of weeyuga-bench versions that the distribution requires; None where it states none."""
    state: Literal["ok", "broken"]
    detail: str


def load(extra: Iterable[tuple[str, object]] = (), *, reserved_commands: Collection[str] = ()) -> Plugins:
    """Find and examine every plugin: the core's own, `extra`, then the entry points of installed distributions.

    `extra` holds (distribution name, plugin object) pairs that are not installed, for tests and for embedding.
    `reserved_commands` are names that no plugin's command may take.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins = tuple(find_plugins(manager, extra))
    return Plugins(plugins, refused=_refusals(plugins, reserved_commands))


def _refusals(plugins: Iterable[Plugin], reserved: Collection[str]) -> dict[tuple[OfferKind, str], str]:
    claims = [(kind, provided.name, plugin.source) for plugin in plugins for kind, provided in plugin.offers]
    refused: dict[tuple[OfferKind, str], str] = {}
    for kind in OFFERING.values():
        words = clashes(kind, ((name, source) for claimed, name, source in claims if claimed == kind))
        refused |= {(kind, name): why for name, why in words.items()}
    for kind, name, source in claims:
        if kind == "command" and name in reserved:
            refused[kind, name] = (
                f"command {name!r} of {source.who} is {CORE_DIST}'s own; remove it: pip uninstall {source.dist}"
            )
    return refused


class Plugins(NamedTuple):
    """Everything that is installed."""

    plugins: tuple[Plugin, ...]
    refused: Mapping[tuple[OfferKind, str], str]
    """Names that sound plugins offer and that still cannot be used -> why."""

    def engine(self, name: str) -> type[EngineAdapter]:
        """The adapter class of an engine. Raises PluginError for one that is unknown, broken or of the wrong shape."""
        from weeyuga_core.interfaces import EngineAdapter  # here, so that `--help` needs no Protocol

        return self._class("engine", name, EngineAdapter)

    def engine_dist(self, name: str) -> tuple[str, str]:
        """Distribution and version that offer an engine. Raises PluginError for one that is unknown or broken."""
        return self._dist("engine", name)

    def engines(self) -> dict[str, str]:
        """Usable engines: name -> summary."""
        return self._summaries("engine")

    def sink(self, name: str) -> type[ResultSink]:
        """The class of a sink. Raises PluginError for one that is unknown, broken or of the wrong shape."""
        from weeyuga_core.interfaces import ResultSink  # here, so that `--help` needs no Protocol

        return self._class("sink", name, ResultSink)

    def sink_dist(self, name: str) -> tuple[str, str]:
        """Distribution and version that offer a sink. Raises PluginError for one that is unknown or broken."""
        return self._dist("sink", name)

    def sinks(self) -> dict[str, str]:
        """Usable sinks: name -> summary."""
        return self._summaries("sink")

    def command(self, name: str) -> object:
        """What a command's reference names, imported. Raises PluginError for one that is unknown or broken."""
        return _resolve("command", *self._find("command", name))

    def commands(self) -> dict[str, str]:
        """Usable commands of plugins: name -> summary."""
        return self._summaries("command")

    def offers_command(self, name: str) -> bool:
        """Whether a plugin offers a command of that name, usable or not."""
        return any((kind, provided.name) == ("command", name) for _, kind, provided in self._offers())

    def run_metadata(self, plan: RunPlan) -> dict[str, Mapping[str, Any]]:
        """What plugins add to the meta record: distribution -> mapping.

        Raises PluginError, naming the distribution, for a hook that raises or gives what JSON does not have.
        """
        facts: dict[str, Mapping[str, Any]] = {}
        for plugin in self.plugins:
            if said := plugin.run_metadata(plan):
                facts[plugin.source.dist] = {**facts.get(plugin.source.dist, {}), **said}
        return facts

    def rows(self) -> tuple[PluginRow, ...]:
        """Every plugin with what it offers, the broken ones included, by kind and name."""
        rows = [row for plugin in self.plugins for row in self._rows(plugin)]
        return tuple(sorted(rows, key=lambda row: (ROW_KINDS.index(row.kind), row.name, row.dist)))

    def broken(self) -> list[str]:
        """One text for each plugin that cannot be used: distribution, version and fault."""
        return [f"{plugin.source.who} is broken: {plugin.fault}" for plugin in self.plugins if plugin.fault is not None]

    def _rows(self, plugin: Plugin) -> Iterator[PluginRow]:
        source = plugin.source
        row = PluginRow(
            name=source.entry,
            kind="plugin",
            dist=source.dist,
            version=source.version,
            api=source.api,
            state="ok",
            detail="offers nothing",
        )
        if plugin.fault is not None:
            yield row._replace(state="broken", detail=plugin.fault)
            return
        for kind, provided in plugin.offers:
            why = self.refused.get((kind, provided.name))
            state: Literal["ok", "broken"] = "ok" if why is None else "broken"
            yield row._replace(kind=kind, name=provided.name, state=state, detail=why or provided.summary)
        if plugin.metadata is not None:
            yield row._replace(kind="metadata", detail="adds facts to the meta record")
        elif not plugin.offers:
            yield row

    def _offers(self) -> Iterator[tuple[Source, OfferKind, Provided]]:
        return ((plugin.source, kind, provided) for plugin in self.plugins for kind, provided in plugin.offers)

    def _summaries(self, wanted: OfferKind) -> dict[str, str]:
        found = {provided.name: provided.summary for _, kind, provided in self._offers() if kind == wanted}
        return {name: found[name] for name in sorted(found) if (wanted, name) not in self.refused}

    def _dist(self, kind: OfferKind, name: str) -> tuple[str, str]:
        source, _ = self._find(kind, name)
        return source.dist, source.version

    def _class(self, kind: OfferKind, name: str, protocol: Callable[..., T]) -> type[T]:
        source, provided = self._find(kind, name)
        found = _resolve(kind, source, provided)
        if not isinstance(found, type):
            raise PluginError(f"{kind} {name!r} of {source.who}: {provided.target} is not a class")
        if wrong := shapes.faults(found, protocol):
            reasons = "; ".join(wrong)
            raise PluginError(
                f"{kind} {name!r} of {source.who}: {provided.target} is no {shapes.protocol_name(protocol)}: {reasons}",
                hint=f"pip install --upgrade {source.dist}, or tell its author",
            )
        return found

    def _find(self, kind: OfferKind, name: str) -> tuple[Source, Provided]:
        """The one offer of that name. Raises PluginError that says what to type."""
        if why := self.refused.get((kind, name)):
            raise PluginError(why)
        for source, offered, provided in self._offers():
            if (offered, provided.name) == (kind, name):
                return source, provided
        for plugin in self.plugins:
            if plugin.fault is not None and name in (plugin.source.entry, _short(plugin.source.dist)):
                raise PluginError(f"{kind} {name!r}: its plugin {plugin.source.who} is broken: {plugin.fault}")
        raise self._unknown(kind, name)

    def _unknown(self, kind: OfferKind, name: str) -> PluginError:
        known = self._summaries(kind)
        install = f"pip install {CORE_DIST}-{name}"
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? If not: {install}" if near else install
        hint += "".join(f"\n  = note: {words}" for words in self.broken())
        return PluginError(f"no {kind} {name!r} is installed; installed: {', '.join(known) or 'none'}", hint=hint)


def _short(dist: str) -> str:
    """What follows `weeyuga-bench-` in a distribution's name."""
    return dist.lower().replace("_", "-").removeprefix(f"{CORE_DIST}-")


def _resolve(kind: OfferKind, source: Source, provided: Provided) -> object:
    """Import what a reference names."""
    module, _, path = provided.target.partition(":")
    with guard(f"{kind} {provided.name!r} of {source.who}: {provided.target} cannot be loaded"):
        return reduce(getattr, path.split("."), import_module(module))
