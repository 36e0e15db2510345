"""What is to be measured: cells, prompts and the explicit tuple of steps. Values only, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

PromptCache = Literal["engine-default", "disabled"]
Phase = Literal["cold", "warm", "skipped"]

DEFAULT_WARM_N = 5
DEFAULT_PACE_S = 1.0
WARM_GAP_S = 60.0
"""A call is warm when at most this long has passed since the previous call to the same cell ended."""
RELOAD_NS = 100_000_000
"""An engine that says it spent this long or longer on loading has loaded its model: proof of a cold call, a flag on a
warm one. A model that is loaded is handed to a request in a few ms, also on a machine with twice the work it can do;
loading the smallest useful one (0.1 GB) starts a process or reads the weights, some 800 ms from the page cache."""


@frozen(kw_only=True)
class Prompt:
    """One prompt: its id, the exact text that is sent as one user message, and the token budget."""

    id: str
    text: str
    max_tokens: int
    intent: str = ""
    frozen: bool = False

    @property
    def sha256(self) -> str:
        """Hex digest of the UTF-8 bytes that are sent."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@frozen(kw_only=True)
class Timeouts:
    """Limits of one call, in seconds: connecting, no byte at all between reads, the whole call, readiness."""

    connect_s: float = 5.0
    idle_s: float = 60.0
    total_s: float = 900.0
    ready_s: float = 120.0


@frozen(kw_only=True)
class Sanity:
    """A reference for one prompt: a total duration further than `within` (a share) from `total_s` is flagged."""

    total_s: float
    within: float


@frozen(kw_only=True)
class Launch:
    """A server of our own: which program, which model file, and the flags that shape its speed."""

    server: str
    model: str
    ctx: int | None = None
    threads: int | None = None
    ngl: int | None = None
    parallel: int | None = None
    args: tuple[str, ...] = ()


@frozen(kw_only=True)
class Cell:
    """One measured thing: `(node, engine, label)` and how to reach it. `id` is `node:engine:label`."""

    id: str
    node: str
    engine: str
    label: str
    endpoint: str | None = None
    request_model: str | None = None
    options: Mapping[str, Any] = field(factory=dict)
    digest: str | None = None
    engine_version: str | None = None
    prompt_cache: PromptCache = "engine-default"
    launch: Launch | None = None
    routes: str | None = None
    route: str | None = None
    auth_env: str | None = None
    enabled: bool = True
    reason: str | None = None
    parallel: bool = False
    warm_n: int = DEFAULT_WARM_N
    timeouts: Timeouts = field(factory=Timeouts)
    sanity: Mapping[str, Sanity] = field(factory=dict)

    @property
    def model_name(self) -> str:
        """The model's name for the engine: `request_model`, else the label."""
        return self.request_model or self.label


@frozen(kw_only=True)
class Step:
    """One planned call. `run_idx` counts from 0 within (cell, prompt, phase); `attempt` from 1."""

    cell_id: str
    prompt_id: str
    phase: Literal["cold", "warm"]
    run_idx: int
    pair_id: int | None = None
    attempt: int = 1


@frozen(kw_only=True)
class RunPlan:
    """Everything a run will do, decided before the first byte is sent."""

    cells: tuple[Cell, ...]
    prompts: tuple[Prompt, ...]
    steps: tuple[Step, ...]
    brain_hosts: tuple[str, ...] = ()
    quiet_hours: Mapping[str, str] = field(factory=dict)
    pace_s: float = DEFAULT_PACE_S
    smoke: bool = False
    concurrency: int = 1
    """Streams at once per cell. More than 1 makes a parallel run, aggregated apart from single-stream ones."""
    routed_to: tuple[Cell, ...] = ()
    """The direct cells of routed ones, whether they are measured themselves or not."""

    def cell(self, cell_id: str) -> Cell:
        """The cell of that id. Raises KeyError."""
        return {c.id: c for c in self.cells}[cell_id]

    def prompt(self, prompt_id: str) -> Prompt:
        """The prompt of that id. Raises KeyError."""
        return {p.id: p for p in self.prompts}[prompt_id]
