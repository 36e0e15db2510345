"""cells.yaml: what no single key can say, and the cells that come out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, field, frozen

from weeyuga_core.config.document import compose
from weeyuga_core.config.problems import Log, Problem, Source, did_you_mean, shown
from weeyuga_core.config.rules import CellsFile
from weeyuga_core.config.shapes import record
from weeyuga_core.config.walk import BAD, Section, plain, walk
from weeyuga_core.model.plan import Cell, Launch, Timeouts

ROUTED_TAKES_OVER = ("request_model", "options", "digest", "engine_version", "prompt_cache")
"""Keys in which a routed cell is the cell it routes to: a pair that asks for two things would compare nothing."""


@frozen(kw_only=True)
class Matrix:
    """What cells.yaml gave. With problems, everything else is empty."""

    cells: tuple[Cell, ...] = ()
    brain_hosts: tuple[str, ...] = ()
    quiet_hours: Mapping[str, str] = field(factory=dict)
    problems: tuple[Problem, ...] = ()


def parse_cells(source: Source, folder: Path, prompt_ids: Collection[str] | None) -> Matrix:
    """Read cells.yaml; relative paths in it begin at `folder`.

    `prompt_ids` are the prompts that exist, None where that is not known.
    """
    log = Log(source)
    root = compose(log)
    if root is None:
        if not log.problems:
            log.whole(f"{source.name} is empty", "`weeyuga-bench init` writes one for the engines that answer here")
        return Matrix(problems=log.problems)
    section = walk(log, root, record(CellsFile), "")
    if section is not BAD:
        _check(log, section, prompt_ids)
    if log.problems:
        return Matrix(problems=log.problems)
    return _build(section, folder)


# --- checks across keys and cells ------------------------------------------------------------------------


def _check(log: Log, root: Section, prompt_ids: Collection[str] | None) -> None:
    cells = [cell for cell in root.values.get("cells", ()) if isinstance(cell, Section)]
    by_id = _check_ids(log, cells)
    for cell in cells:
        _check_reach(log, cell)
        _check_route(log, cell, by_id)
        _check_sanity(log, cell, prompt_ids)
    _check_nodes(log, root, sorted({name.partition(":")[0] for name in by_id}))


def _written_id(cell: Section) -> str | None:
    """The id as it stands there, valid or not: an error in it is reported once, not at everything that refers to it."""
    node = cell.nodes.get("id")
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _check_ids(log: Log, cells: list[Section]) -> dict[str, Section]:
    by_id: dict[str, Section] = {}
    for cell in cells:
        name = _written_id(cell)
        if name is None:
            continue
        if name in by_id:
            first = by_id[name].nodes["id"].start_mark.line + 1
            log.at(cell.nodes["id"], f"{cell.path}.id: duplicate cell {shown(name)}", f"first given on line {first}")
        by_id.setdefault(name, cell)
    return by_id


def _check_reach(log: Log, cell: Section) -> None:
    """One way to reach the cell, or a reason why there is none."""
    if "endpoint" in cell.keys and "launch" in cell.keys:
        message = f"{cell.path}: `launch` and `endpoint` exclude each other"
        log.at(
            cell.keys["launch"], message, "a server that is already running has an endpoint, one of our own a launch"
        )
    enabled = cell.values.get("enabled", cell.lacks("enabled"))
    if enabled and cell.lacks("endpoint", "launch"):
        log.at(cell.node, f"{cell.path}: `endpoint` or `launch` is missing", "or say `enabled: false` and the `reason`")
    if cell.values.get("enabled") is False and cell.lacks("reason"):
        log.at(
            cell.keys["enabled"], f"{cell.path}: `enabled: false` needs a `reason`", "it is shown for the skipped cell"
        )


def _check_route(log: Log, cell: Section, by_id: Mapping[str, Section]) -> None:
    target = cell.values.get("routes")
    if target is None:
        return
    node, path = cell.nodes["routes"], f"{cell.path}.routes"
    if target == _written_id(cell):
        log.at(node, f"{path}: a cell cannot route to itself", "name the direct cell it is paired with")
    elif target not in by_id:
        others = [name for name in by_id if name != _written_id(cell) and "routes" not in by_id[name].keys]
        log.at(node, f"{path}: no cell {shown(target)} in this file", did_you_mean(target, others))
    elif "routes" in by_id[target].keys:
        log.at(node, f"{path}: {shown(target)} is itself routed", "name the direct cell it is paired with")
    elif "endpoint" not in by_id[target].keys:
        message = f"{path}: {shown(target)} has no `endpoint`, and its engine is asked there"
        launched = "a server of our own has another port at every start, which no router can know: start it yourself"
        log.at(node, message, launched if "launch" in by_id[target].keys else "say where the engine itself answers")
    for name in ROUTED_TAKES_OVER:
        if name in cell.keys:
            message = f"{cell.path}.{name}: a routed cell makes the calls of {shown(target)}"
            log.at(cell.keys[name], message, "leave it out here, and say it in that cell")


def _check_sanity(log: Log, cell: Section, prompt_ids: Collection[str] | None) -> None:
    sanity = cell.values.get("sanity")
    if prompt_ids is None or sanity is None:
        return
    for name, key in sanity.keys.items():
        if name not in prompt_ids:
            help_ = f"{did_you_mean(name, [*prompt_ids])}; --prompts-yaml FILE adds prompts"
            log.at(key, f"{sanity.path}: no prompt {shown(name)}", help_)


def _check_nodes(log: Log, root: Section, known: list[str]) -> None:
    nodes = root.values.get("nodes")
    for name, key in nodes.keys.items() if nodes else ():
        if name not in known:
            log.at(key, f"nodes: no cell of this file is on a node {shown(name)}", did_you_mean(name, known))


# --- values ----------------------------------------------------------------------------------------------


def _build(root: Section, folder: Path) -> Matrix:
    defaults = root.values["defaults"].values if "defaults" in root.values else {}
    file: CellsFile = CellsFile(
        cells=_routed(_cell(cell, defaults, folder) for cell in root.values["cells"]),
        **{name: plain(root.values[name]) for name in ("nodes", "brain") if name in root.values},
    )
    hours = {name: node.quiet_hours for name, node in file.nodes.items() if node.quiet_hours is not None}
    return Matrix(cells=file.cells, brain_hosts=file.brain.hosts, quiet_hours=hours)


def _cell(section: Section, defaults: Mapping[str, Any], folder: Path) -> Cell:
    values: dict[str, Any] = {name: plain(value) for name, value in defaults.items()}
    values |= {name: plain(value) for name, value in section.values.items()}
    for name in ("options", "timeouts"):
        both = [given[name].values for given in (defaults, section.values) if name in given]
        merged = {key: plain(value) for given in both for key, value in given.items()}
        values[name] = Timeouts(**merged) if name == "timeouts" else merged
    values["node"], values["engine"], values["label"] = values["id"].split(":", 2)
    if "endpoint" in values:
        values["endpoint"] = values["endpoint"].rstrip("/")
    if "launch" in section.values:
        values["launch"] = _launch(section.values["launch"], folder)
    return Cell(**values)


def _routed(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The cells, routed ones with what they take over."""
    by_id = {cell.id: cell for cell in cells}
    for cell in by_id.values():
        if cell.routes is not None:
            direct = by_id[cell.routes]
            taken = {name: getattr(direct, name) for name in ROUTED_TAKES_OVER} | {"request_model": direct.model_name}
            by_id[cell.id] = evolve(cell, **taken)
    return tuple(by_id.values())


def _launch(section: Section, folder: Path) -> Launch:
    """The launch with its paths made absolute. Whether the files are there is for the probe to say."""
    values = dict(section.values)
    values["model"] = _absolute(values["model"], folder)
    if "/" in values["server"]:
        values["server"] = _absolute(values["server"], folder)
    return Launch(**values)


def _absolute(path: str, folder: Path) -> str:
    # Only the folder is resolved: a link to a model keeps the name that the operator gave it.
    home = os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser raises for a user that does not exist
    return os.path.normpath(folder.resolve() / home)
