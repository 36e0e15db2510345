"""What each key means and which values it takes: said once, for the errors, the JSON Schema and the editor."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from attrs import field, frozen

from weeyuga_core.config.problems import Fault, bare, shown
from weeyuga_core.model.plan import Cell, Launch, PromptCache, Sanity, Timeouts

NAME = r"[a-z0-9][a-z0-9._-]*"
PROMPT_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
DAY_S = 86_400


@frozen(kw_only=True)
class Rule:
    """What a key means, and the limits of its value."""

    doc: str
    pattern: str | None = None
    """Regular expression that a string matches as a whole; means the same in JavaScript."""
    expected: str = ""
    """The pattern in words."""
    check: Callable[[str], Fault | None] | None = None
    """Says more about a bad string than the pattern can, or forbids what a pattern cannot express."""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    multiline: bool = False
    at_least_one: bool = False
    secret: bool = False
    """A bad value may be a secret in the wrong place: it is not shown."""


# --- files -----------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Defaults:
    """What every cell takes over unless it says otherwise; `options` and `timeouts` are merged key by key."""

    warm_n: int | None = None
    timeouts: Timeouts | None = None
    prompt_cache: PromptCache | None = None
    options: Mapping[str, object] = field(factory=dict)


@frozen(kw_only=True)
class Node:
    """What holds for all cells of a node."""

    quiet_hours: str | None = None


@frozen(kw_only=True)
class Brain:
    """The router of routed cells."""

    hosts: tuple[str, ...] = ()


@frozen(kw_only=True)
class CellsFile:
    """The matrix of cells to be measured."""

    cells: tuple[Cell, ...]
    defaults: Defaults = field(factory=Defaults)
    nodes: Mapping[str, Node] = field(factory=dict)
    brain: Brain = field(factory=Brain)


@frozen(kw_only=True)
class PromptEntry:
    """One prompt of a prompts file."""

    prompt: str
    max_tokens: int
    intent: str = ""


# --- strings that need more than a pattern ---------------------------------------------------------------


def cell_id_fault(value: str) -> Fault | None:
    """Why a string is no cell id."""
    parts = value.split(":", 2)
    if len(parts) < 3:
        return f"expected node:engine:label, got {shown(value)}", "such as `mac:some-engine:some-model:0.8b`"
    for what, part in zip(("node", "engine"), parts, strict=False):
        if not re.fullmatch(NAME, part):
            near = re.sub("[^a-z0-9._-]+", "-", part.lower()).lstrip("._-")
            help_ = "lower-case letters, digits, `.`, `_` and `-`, the first a letter or digit"
            return f"{shown(part)} is no name for {'an' if what == 'engine' else 'a'} {what}", (
                f"did you mean {near!r}? {help_}" if near else help_
            )
    if not parts[2] or parts[2] != parts[2].strip():
        return f"the label of {shown(value)} is empty or has spaces around it", "the label follows the second colon"
    return None


def endpoint_fault(value: str) -> Fault | None:
    """Why a string is no base URL of a server."""
    try:
        url = urlsplit(value)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        return f"{shown(value)} is not a URL: {error}", "such as `http://127.0.0.1:8080`"
    if url.scheme not in ("http", "https") or not host:
        near = f"did you mean `http://{bare(value)}`?" if "//" not in value else "such as `http://127.0.0.1:8080`"
        return f"expected a http:// or https:// URL with a host, got {shown(value)}", near
    if "@" in url.netloc:
        return "a URL in this file must not carry credentials", "name the environment variable with `auth_env`"
    if url.query or url.fragment or re.search(r"\s", value):
        return f"expected the base URL of a server, got {shown(value)}", "leave out `?`, `#` and spaces"
    if port == 0 or not _is_host(host):
        return f"{shown(url.netloc)} is no host, or no host and port", None
    return None


def brain_host_fault(value: str) -> Fault | None:
    """Why a string is no bare host name."""
    if _is_host(value):
        return None
    named = re.sub(r"^[a-z]+://", "", value).split("/")[0].rpartition("@")[2].split(":")[0]
    help_ = f"did you mean `{bare(named)}`?" if named != value and _is_host(named) else None
    return f"expected a host name without scheme, port or path, got {shown(value)}", help_


def quiet_hours_fault(value: str) -> Fault | None:
    """Why a string is no daily window of time."""
    begin, _, end = value.removesuffix("Z").partition("-")
    return ("begins when it ends", "such as `02:00-05:00Z`") if begin == end else None


def digest_fault(value: str) -> Fault | None:
    """Why a string is no digest of a model."""
    if re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        return None
    bits = re.fullmatch(r"(?:sha256:)?([0-9a-fA-F]{64})", value)
    help_ = f"did you mean `sha256:{bits[1].lower()}`?" if bits else "the whole digest, not its beginning"
    return f"expected `sha256:` and 64 lower-case hex digits, got {shown(value)}", help_


def _is_host(value: str) -> bool:
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?", value):
        return True
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


# --- the rules -------------------------------------------------------------------------------------------


def _timeout(doc: str) -> Rule:
    return Rule(doc=doc, above=0, maximum=DAY_S)


RULES: Mapping[tuple[type, str], Rule] = {
    (CellsFile, "cells"): Rule(doc="What is measured, in the order of measuring.", at_least_one=True),
    (CellsFile, "defaults"): Rule(doc="What every cell takes over unless it says otherwise."),
    (CellsFile, "nodes"): Rule(doc="What holds for all cells of a node.", pattern=NAME, expected="the name of a node"),
    (CellsFile, "brain"): Rule(doc="The router of routed cells."),
    (Defaults, "warm_n"): Rule(doc="Warm calls per prompt.", minimum=0, maximum=100_000),
    (Defaults, "timeouts"): Rule(doc="Limits of one call."),
    (Defaults, "prompt_cache"): Rule(doc="Whether the engine may reuse the prompt of the call before."),
    (Defaults, "options"): Rule(doc="Sampling and engine options, one value each; merged with those of the cell."),
    (Node, "quiet_hours"): Rule(
        doc="Daily window in UTC, as HH:MM-HH:MMZ; quoted.",
        pattern=r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]Z",
        expected="a daily window in UTC such as 02:00-05:00Z",
        check=quiet_hours_fault,
    ),
    (Brain, "hosts"): Rule(
        doc="The only hosts that ever get X-Weeyuga headers.",
        pattern=r"[A-Za-z0-9:][A-Za-z0-9.:_%-]*",
        check=brain_host_fault,
    ),
    (PromptEntry, "prompt"): Rule(doc="The exact text that is sent as one user message.", multiline=True),
    (PromptEntry, "max_tokens"): Rule(doc="The token budget of the answer.", minimum=1),
    (PromptEntry, "intent"): Rule(doc="What the prompt is for.", multiline=True),
    (Cell, "id"): Rule(
        doc="node:engine:label, split on the first two colons; unique.",
        pattern=rf"{NAME}:{NAME}:\S(.*\S)?",
        check=cell_id_fault,
    ),
    (Cell, "endpoint"): Rule(
        doc="Base URL of a server that is already running.",
        pattern=r"https?://[^\s/@?#]+(/[^\s?#]*)?",
        check=endpoint_fault,
    ),
    (Cell, "request_model"): Rule(doc="The model's name for the engine, where it is not the label."),
    (Cell, "options"): Rule(doc="Sampling and engine options, one value each; part of the fingerprint."),
    (Cell, "digest"): Rule(
        doc="The model's digest as the operator knows it, where the engine cannot tell.",
        pattern=r"sha256:[0-9a-f]{64}",
        check=digest_fault,
    ),
    (Cell, "engine_version"): Rule(doc="The engine's version, where the engine cannot tell; quoted."),
    (Cell, "prompt_cache"): Rule(doc="Whether the engine may reuse the prompt of the call before."),
    (Cell, "launch"): Rule(doc="A server of our own, started for this cell; instead of `endpoint`."),
    (Cell, "routes"): Rule(
        doc="Id of the direct cell that this routed cell is paired with; its model and options are taken over."
    ),
    (Cell, "route"): Rule(doc="Where the router is asked to send the call; else WEEYUGA_INFERENCE_ROUTE says."),
    (Cell, "auth_env"): Rule(
        doc="Name of the environment variable that holds the token.",
        pattern=r"[A-Za-z_][A-Za-z0-9_]*",
        expected="the name of an environment variable, never the token itself",
        secret=True,
    ),
    (Cell, "enabled"): Rule(doc="false leaves the cell out; `reason` says why."),
    (Cell, "reason"): Rule(doc="Why the cell is not enabled."),
    (Cell, "parallel"): Rule(doc="Whether this cell may be measured with more than one stream at a time."),
    (Cell, "warm_n"): Rule(doc="Warm calls per prompt.", minimum=0, maximum=100_000),
    (Cell, "timeouts"): Rule(doc="Limits of one call."),
    (Cell, "sanity"): Rule(
        doc="Prompt id -> a reference: a call far from it is flagged.", pattern=PROMPT_ID, expected="a prompt id"
    ),
    (Timeouts, "connect_s"): _timeout("Seconds to connect."),
    (Timeouts, "idle_s"): _timeout("Seconds without a single byte."),
    (Timeouts, "total_s"): _timeout("Seconds for the whole call."),
    (Timeouts, "ready_s"): _timeout("Seconds for a server of our own to become ready."),
    (Sanity, "total_s"): Rule(doc="The total duration that is expected, in seconds.", above=0),
    (Sanity, "within"): Rule(doc="The share of it that a call may differ by: 0.5 is half.", above=0),
    (Launch, "server"): Rule(doc="Name of a program that the engine's plugin knows or PATH finds; or its path."),
    (Launch, "model"): Rule(doc="The model file; a relative path begins at the folder of this file."),
    (Launch, "ctx"): Rule(doc="Context length in tokens.", minimum=1),
    (Launch, "threads"): Rule(doc="CPU threads.", minimum=1),
    (Launch, "ngl"): Rule(doc="Layers on the GPU.", minimum=0),
    (Launch, "parallel"): Rule(doc="Slots: requests that the server handles at a time.", minimum=1),
    (Launch, "args"): Rule(doc="Further arguments of the server, as they are."),
}
"""Every key of the files. A key without a rule works, but neither errors nor editors can say what it means."""

DERIVED = frozenset({(Cell, "node"), (Cell, "engine"), (Cell, "label")})
"""Fields that are no keys: they are parts of `id`."""
