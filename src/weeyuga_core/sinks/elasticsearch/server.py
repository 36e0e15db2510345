"""What must be known of a store before anything is sent to it. It need not answer `GET /`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import httpx
from attrs import frozen

from weeyuga_core.errors import BenchError, ExitCode
from weeyuga_core.sinks.elasticsearch.bulk import Stop
from weeyuga_core.sinks.elasticsearch.sender import Tell, fault_words

T = TypeVar("T")

PAUSE_S = 1.0
"""Between two questions to a store that does not answer yet."""

_HINT_CREDENTIALS = "set WEEYUGA_ES_API_KEY, or WEEYUGA_ES_USER and WEEYUGA_ES_PASSWORD"
_HINT_STREAM = "set WEEYUGA_ES_INDEX to a prefix of its own: a line sent again after a rollover would be there twice"


class StoreUnavailable(BenchError):
    """The store cannot be used now, or not at all without an operator: `stop` says which."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.why, hint=stop.hint or None)
        self.stop = stop


@frozen(kw_only=True)
class Server:
    """A store that answers. What its account may not see is None."""

    version: str | None
    opensearch: bool | None
    cluster_uuid: str | None


async def identify(http: httpx.AsyncClient) -> Server:
    """Ask a store who it is. Raises StoreUnavailable."""
    front = await ask(http, "GET", "/")
    version = _dict(front.get("version"))
    if version.get("number"):
        opensearch = version.get("distribution") == "opensearch"
        return Server(
            version=str(version["number"]), opensearch=opensearch, cluster_uuid=_text(front.get("cluster_uuid"))
        )
    nodes = _dict((await ask(http, "GET", "/_nodes/_local?filter_path=nodes.*.version")).get("nodes"))
    state = await ask(http, "GET", "/_cluster/state/version?filter_path=cluster_uuid")
    told = next((str(_dict(node)["version"]) for node in nodes.values() if "version" in _dict(node)), None)
    # OpenSearch always answers at the front, to whoever may ask for the nodes.
    return Server(version=told, opensearch=False if told else None, cluster_uuid=_text(state.get("cluster_uuid")))


async def refuse_streams(http: httpx.AsyncClient, index: str) -> None:
    """Raise StoreUnavailable where that name is, or would become, something other than a plain index.

    An account that may not look is let pass: the store's answers name the index that was written to.
    """
    resolved = await ask(http, "GET", f"/_resolve/index/{index}")
    for kind, words in (("data_streams", "a data stream"), ("aliases", "an alias")):
        if any(_dict(one).get("name") == index for one in _list(resolved.get(kind))):
            raise StoreUnavailable(Stop(f"{index} is {words} there", _HINT_STREAM))
    template = governing(index, await templates(http))
    if template and "data_stream" in _dict(template.get("index_template")):
        raise StoreUnavailable(
            Stop(f"the index template {template.get('name')} would make {index} a data stream", _HINT_STREAM)
        )


async def templates(http: httpx.AsyncClient) -> list[Mapping[str, Any]]:
    """The composable index templates that the account may see."""
    return [_dict(one) for one in _list((await ask(http, "GET", "/_index_template")).get("index_templates"))]


def governing(index: str, among: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The template that an index of that name would be made by: of those that match, the one of highest priority."""

    def patterns(template: Mapping[str, Any]) -> list[Any]:
        return _list(_dict(template.get("index_template")).get("index_patterns"))

    def priority(template: Mapping[str, Any]) -> int:
        told = _dict(template.get("index_template")).get("priority")
        return told if isinstance(told, int) else 0

    matching = [one for one in among if any(_matches(index, pattern) for pattern in patterns(one))]
    return max(matching, key=priority, default=None)


async def ask(http: httpx.AsyncClient, method: str, path: str, *, json: Any = None) -> dict[str, Any]:
    """The JSON object of an answer; empty where the store, or the account, does not have that.

    Raises StoreUnavailable where there is no answer, and where nobody is let in.
    """
    try:
        response = await http.request(method, path, json=json)
    except httpx.HTTPError as error:
        raise StoreUnavailable(no_answer(error)) from error
    if response.status_code == 401:
        raise StoreUnavailable(Stop("the store answers HTTP 401: it does not know the account", _HINT_CREDENTIALS))
    if response.status_code == 429 or response.status_code >= 500:
        raise StoreUnavailable(Stop(f"the store answers HTTP {response.status_code}", halted=False))
    if response.status_code != 200:
        return {}
    try:
        return _dict(response.json())
    except ValueError:
        return {}


async def patiently(call: Callable[[], Awaitable[T]], *, deadline_s: float, tell: Tell) -> T:
    """Make the call again while the store is not to be had, for that long. Raises StoreUnavailable."""
    until = time.monotonic() + deadline_s
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if error.stop.halted or time.monotonic() + PAUSE_S > until:
                raise
            tell(f"{error.stop.why}; next try in {PAUSE_S:.0f} s")
        await asyncio.sleep(PAUSE_S)


def no_answer(error: httpx.HTTPError) -> Stop:
    """What to say where nothing came back. A certificate that is not trusted will not be trusted later either."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Stop(f"the store's certificate is not trusted: {error}", "set WEEYUGA_ES_CA to the CA's file")
    return Stop(f"the store does not answer: {fault_words(error)}", halted=False)


def today(prefix: str) -> str:
    """The index that a record of this moment goes to."""
    return f"{prefix}-{datetime.now(UTC):%Y.%m.%d}"


def _matches(index: str, pattern: object) -> bool:
    """Whether a template's pattern covers an index; only `*` has a meaning there."""
    return isinstance(pattern, str) and fnmatchcase(index, re.sub(r"([\[?])", r"[\1]", pattern))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """A text that says something; a cluster that is still forming says `_na_`."""
    return value if isinstance(value, str) and value not in ("", "_na_") else None
