"""Install the templates, where that is ours to do: what others own is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from attrs import frozen

from weeyuga_core.errors import UsageError
from weeyuga_core.sinks.elasticsearch import templates
from weeyuga_core.sinks.elasticsearch.bulk import Stop
from weeyuga_core.sinks.elasticsearch.server import (
    StoreUnavailable,
    ask,
    governing,
    identify,
    no_answer,
    today,
)
from weeyuga_core.sinks.elasticsearch.server import templates as installed_templates
from weeyuga_core.sinks.elasticsearch.settings import Settings


@frozen(kw_only=True)
class Step:
    """One thing that setup does or leaves."""

    path: str
    action: str
    """`create`, `update` (it is ours and differs), `keep` (it is ours and the same) or `leave` (it is not ours)."""
    why: str
    body: Mapping[str, Any]


@frozen(kw_only=True)
class Setup:
    """What is to be done at a store, and what was found there."""

    store: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


async def plan(http: httpx.AsyncClient, settings: Settings) -> Setup:
    """Look at the store; nothing is changed. Raises StoreUnavailable, UsageError for a store that hides what it is."""
    server = await identify(http)
    if server.opensearch is None:
        raise UsageError(
            "the store does not say whether it is Elasticsearch or OpenSearch, and their mappings differ",
            hint="use an account that may see the cluster (privilege monitor)",
        )
    store = f"{'OpenSearch' if server.opensearch else 'Elasticsearch'} {server.version}"
    component = await _component_step(http, opensearch=server.opensearch)
    index, notes = await _index_step(http, settings.prefix)
    return Setup(store=store, steps=(component, *index), notes=notes)


async def install(http: httpx.AsyncClient, found: Setup) -> None:
    """Carry out the steps. Raises StoreUnavailable when the store refuses one."""
    for step in found.steps:
        if step.action not in ("create", "update"):
            continue
        try:
            response = await http.put(step.path, json=step.body)
        except httpx.HTTPError as error:
            raise StoreUnavailable(no_answer(error)) from error
        if response.status_code != 200:
            raise StoreUnavailable(Stop(f"PUT {step.path}: HTTP {response.status_code}: {response.text[:500]}"))


async def _component_step(http: httpx.AsyncClient, *, opensearch: bool) -> Step:
    path = f"/_component_template/{templates.MAPPINGS}"
    told = (await ask(http, "GET", path)).get("component_templates") or [{}]
    return _step(path, templates.component_template(opensearch=opensearch), told[0].get("component_template"))


async def _index_step(http: httpx.AsyncClient, prefix: str) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """The index template, or a note for the owner of the one that governs these indices."""
    name = templates.index_template_name(prefix)
    among = await installed_templates(http)
    ours = next((one.get("index_template") for one in among if one.get("name") == name), None)
    governs = governing(today(prefix), (one for one in among if one.get("name") != name))
    path, body = f"/_index_template/{name}", templates.index_template(prefix)
    if governs is None:
        return (_step(path, body, ours),), ()
    theirs = governs.get("index_template") or {}
    if templates.MAPPINGS in (theirs.get("composed_of") or ()):
        return (), (f"the index template {governs['name']} uses {templates.MAPPINGS} already",)
    why = f"the index template {governs['name']} governs {prefix}-*"
    note = f'{why}: ask its owner to add "{templates.MAPPINGS}" to its composed_of'
    return (Step(path=path, action="leave", why=why, body=body),), (note,)


def _step(path: str, wanted: Mapping[str, Any], there: Mapping[str, Any] | None) -> Step:
    """Compare what is wanted with what is there."""
    if there is None:
        return Step(path=path, action="create", why="not there yet", body=wanted)
    if not templates.is_ours(there):
        return Step(path=path, action="leave", why="somebody else made a template of this name", body=wanted)
    same = all(_plain(there.get(key)) == _plain(value) for key, value in wanted.items())
    action, why = ("keep", "it is as it should be") if same else ("update", "an older one of ours is there")
    return Step(path=path, action=action, why=why, body=wanted)


def _plain(value: Any) -> Any:
    """A value as the store gives it back: it turns some numbers and flags into texts."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value).lower()
