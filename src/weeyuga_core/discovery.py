"""Plugins one by one: where each comes from, and what it offers or why it cannot be used.

Every step that runs a plugin's code is guarded alone, so that one faulty plugin never costs another its place.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import pluggy

from weeyuga_core.errors import PluginError
from weeyuga_core.hookspecs import PROJECT, Provided

if TYPE_CHECKING:
    from weeyuga_core.model.plan import RunPlan

CORE_DIST = "weeyuga-bench"
BUILT_IN = {"sinks": "weeyuga_core.sinks"}
"""Modules of the core that register through the hooks, as strangers do."""

OfferKind: TypeAlias = Literal["engine", "sink", "command"]
OFFERING: Mapping[str, OfferKind] = {
    "weeyuga_engine_adapters": "engine",
    "weeyuga_result_sinks": "sink",
    "weeyuga_cli_commands": "command",
}
"""Hooks that return references -> what they refer to."""
METADATA_HOOK = "weeyuga_run_metadata"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Source(NamedTuple):
    """Where a plugin comes from: its distribution, its entry point's name, and how to get the plugin object."""

    dist: str
    version: str
    api: str | None
    """The range of weeyuga-bench versions that the distribution requires; None where it states none."""
    entry: str
    get: Callable[[], object]

    @property
    def who(self) -> str:
        """Distribution and version."""
        return f"{self.dist} {self.version}"


class Plugin(NamedTuple):
    """One examined plugin: what it offers, or its fault."""

    source: Source
    offers: tuple[tuple[OfferKind, Provided], ...] = ()
    metadata: pluggy.HookImpl | None = None
    fault: str | None = None

    def run_metadata(self, plan: RunPlan) -> Mapping[str, Any]:
        """What its metadata hook says; empty where it has none. Raises PluginError for an unusable answer."""
        if self.metadata is None:
            return {}
        with guard(f"{METADATA_HOOK} of {self.source.who} failed"):
            facts = _call(self.metadata, plan=plan)
            if not isinstance(facts, Mapping):
                raise TypeError(f"it returned a {type(facts).__name__}, not a mapping")
            json.dumps(facts, allow_nan=False)
            return facts


def find_plugins(manager: pluggy.PluginManager, extra: Iterable[tuple[str, object]]) -> list[Plugin]:
    """Examine the core's own plugins, then `extra`, then the entry points of what is installed."""
    installed = list(_installed())
    rivals = clashes("entry point", ((source.entry, source) for source in installed))
    plugins = [_examine(manager, source) for source in [*_built_in(), *map(_extra, extra)]]
    for source in installed:
        fault = rivals.get(source.entry)
        plugins.append(_examine(manager, source) if fault is None else Plugin(source=source, fault=fault))
    return plugins


def clashes(what: str, claims: Iterable[tuple[str, Source]]) -> dict[str, str]:
    """Names claimed more than once -> words that name the distributions and say what to type."""
    claimants: dict[str, list[Source]] = {}
    for name, source in claims:
        claimants.setdefault(name, []).append(source)
    return {name: _clash(what, name, sources) for name, sources in claimants.items() if len(sources) > 1}


def _clash(what: str, name: str, sources: list[Source]) -> str:
    dists = list(dict.fromkeys(source.who for source in sources))
    if len(dists) == 1:
        return f"{what} {name!r} is offered twice by {dists[0]}"
    cures = [f"pip uninstall {dist}" for dist in dict.fromkeys(s.dist for s in sources) if dist != CORE_DIST]
    return f"{what} {name!r} is offered by {' and by '.join(dists)}; remove one: {' or '.join(cures)}"


@contextmanager
def guard(doing: str) -> Iterator[None]:
    """Turn whatever a plugin's code raises into a PluginError that says what was being done."""
    try:
        yield
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{doing}: {type(error).__name__}: {error}") from error


# --- where plugins come from -------------------------------------------------------------------------------------


def core_version() -> str:
    """The version of the installed core."""
    return metadata.version(CORE_DIST)


def _built_in() -> Iterator[Source]:
    version = core_version()
    for entry, module in BUILT_IN.items():
        yield Source(dist=CORE_DIST, version=version, api=None, entry=entry, get=_importer(module))


def _importer(module: str) -> Callable[[], object]:
    return lambda: import_module(module)


def _extra(pair: tuple[str, object]) -> Source:
    dist, plugin = pair
    return Source(dist=dist, version="0", api=None, entry=dist, get=lambda: plugin)


def _installed() -> Iterator[Source]:
    for point in metadata.entry_points(group=PROJECT):
        dist = point.dist
        assert dist is not None  # entry_points() always says; only hand-made points lack it
        api = required_range(dist.requires or ())
        yield Source(dist=dist.name, version=dist.version, api=api, entry=point.name, get=point.load)


# --- the API version ---------------------------------------------------------------------------------------------

_REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*([^;]*)")
_CLAUSE = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*(\d+(?:\.\d+)*)(\.\*)?")


def required_range(requirements: Iterable[str]) -> str | None:
    """The range of weeyuga-bench among a distribution's requirements, `any` for no bounds; None where it has none."""
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found and re.sub(r"[-_.]+", "-", found[1]).lower() == CORE_DIST:
            return found[2].strip(" ()") or "any"
    return None


def in_range(version: str, api: str) -> bool:
    """Whether a version lies in a range such as `>=0.1,<0.2`. Only release numbers count: 0.2rc1 is taken as 0.2.

    Raises PluginError for a range that is more than plain bounds.
    """
    release = re.match(r"\d+(\.\d+)*", version)
    return all(_satisfies(_numbers(release[0] if release else "0"), clause.strip(), api) for clause in api.split(","))


def _satisfies(ours: tuple[int, ...], clause: str, api: str) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        raise PluginError(f"cannot read the range {api!r} of {CORE_DIST} that it requires")
    sign, bound, star = found[1], _numbers(found[2]), found[3]
    size = max(len(ours), len(bound))
    mine, theirs = _padded(ours, size), _padded(bound, size)
    same = mine[: len(bound)] == bound if star else mine == theirs
    family = mine[: len(bound) - 1] == bound[:-1]
    return {
        "==": same,
        "!=": not same,
        "<": mine < theirs,
        "<=": mine <= theirs,
        ">": mine > theirs,
        ">=": mine >= theirs,
        "~=": mine >= theirs and family,
    }[sign]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _padded(numbers: tuple[int, ...], size: int) -> tuple[int, ...]:
    return numbers + (0,) * (size - len(numbers))


# --- examining one plugin ----------------------------------------------------------------------------------------


def _examine(manager: pluggy.PluginManager, source: Source) -> Plugin:
    name = f"{source.dist}:{source.entry}"
    try:
        _check_api(source)
        with guard("cannot be imported"):
            plugin = source.get()
        with guard("cannot be registered"):
            _check_hooks(manager, plugin)
            _register(manager, plugin, name)
        impls = _impls(manager, plugin)
        offers = tuple(offer for hook in OFFERING if hook in impls for offer in _offers(hook, impls[hook]))
        return Plugin(source=source, offers=offers, metadata=impls.get(METADATA_HOOK))
    except PluginError as error:
        if manager.has_plugin(name):
            manager.unregister(name=name)
        return Plugin(source=source, fault=_one_line(error))


def _one_line(error: PluginError) -> str:
    """The message and its hint; faults stand in lists, beside other things."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _check_api(source: Source) -> None:
    if source.api is not None and source.api != "any" and not in_range(core_version(), source.api):
        raise PluginError(
            f"it requires {CORE_DIST} {source.api}, and {core_version()} is installed",
            hint=f"pip install --upgrade {CORE_DIST} {source.dist}",
        )


def _check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse what pluggy would pass over in silence: misspelt, unmarked, wrapping, doubled and missing hooks."""
    known = set(vars(manager.hook))
    implemented = set()
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if attribute in known and inspect.isroutine(getattr(plugin, attribute)):
                raise PluginError(f"{attribute} is not marked with @hookimpl")
            continue
        hook = options.get("specname") or attribute
        if hook not in known:
            raise PluginError(f"there is no hook {hook}", hint=_nearest_hook(hook, known))
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(
                f"{hook} is a hook wrapper; implementations are called alone, so there is nothing to wrap"
            )
        if hook in implemented:
            raise PluginError(f"it implements {hook} twice")
        implemented.add(hook)
    if not implemented:
        raise PluginError("it implements no hook", hint=f"the hooks are {', '.join(sorted(known))}")


def _nearest_hook(hook: str, known: Iterable[str]) -> str:
    near = get_close_matches(hook, known, 1)
    return f"did you mean {near[0]}?" if near else f"the hooks are {', '.join(sorted(known))}"


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        words = " ".join(str(error).split("\n", 1)[-1].split())
        raise PluginError(f"a hook has the wrong signature: {words}") from error
    except ValueError as error:
        raise PluginError("the same module is already registered under another name") from error


def _impls(manager: pluggy.PluginManager, plugin: object) -> dict[str, pluggy.HookImpl]:
    """Hook -> this plugin's implementation."""
    callers = manager.get_hookcallers(plugin) or []
    return {caller.name: impl for caller in callers for impl in caller.get_hookimpls() if impl.plugin is plugin}


def _call(impl: pluggy.HookImpl, **known: object) -> object:
    """Call one implementation with as many of the hook's arguments as it takes."""
    answer = impl.function(*(known[name] for name in impl.argnames))
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("hooks are plain functions, and this one is async")
    return answer


def _offers(hook: str, impl: pluggy.HookImpl) -> Iterator[tuple[OfferKind, Provided]]:
    kind = OFFERING[hook]
    with guard(f"{hook} failed"):
        answer: Any = _call(impl)
        for provided in answer:
            _check_provided(hook, provided)
            yield kind, provided


def _check_provided(hook: str, provided: object) -> None:
    if not isinstance(provided, Provided):
        raise PluginError(f"{hook} gave {provided!r}, which is not a Provided(name, summary, target)")
    if not _NAME.fullmatch(provided.name):
        raise PluginError(f"{hook} gave the name {provided.name!r}; names match {_NAME.pattern}")
    module, _, attribute = provided.target.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise PluginError(
            f"{hook} gave {provided.name!r} the target {provided.target!r}",
            hint='a target is "package.module:attribute"',
        )
