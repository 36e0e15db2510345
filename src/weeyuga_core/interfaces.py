"""What an engine adapter and a result sink are: Protocols, and the values that pass through them.

The wire is the adapter's, the socket and the clock are the core's. `build`, `events` and `prove_cold` are pure:
no I/O, no clock, so an adapter is tested with recorded bytes. Each adapter instance serves one cell.

Times in this module are `ns`: integer nanoseconds since t0, the stamp just before the first send of the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen

from weeyuga_core.model.plan import Cell, Prompt, Timeouts
from weeyuga_core.model.records import EndRecord, MetaRecord
from weeyuga_core.provided import Provided as Provided

if TYPE_CHECKING:
    import httpx

# --- what the core hands to an adapter ---------------------------------------------------------------------


@frozen(kw_only=True)
class Target:
    """Everything an adapter may know: its cell, the resolved base URL (no trailing slash), limits, credentials."""

    cell: Cell
    base_url: str
    timeouts: Timeouts
    token: str | None = field(default=None, repr=False)
    """Value of the environment variable that the cell's `auth_env` names. Never logged, never recorded."""
    brain_hosts: tuple[str, ...] = ()


@frozen(kw_only=True)
class Call:
    """One call to be built."""

    run_id: str
    seq: int
    cell_id: str
    prompt: Prompt
    phase: Literal["cold", "warm"]
    run_idx: int
    attempt: int = 1


# --- what the core hands back: the bytes and when they came -------------------------------------------------

Ending: TypeAlias = Literal["eof", "reset", "idle", "total", "cancelled", "connect", "protocol"]
"""How an exchange ended: `eof` (the body ended as HTTP says it should), `reset` (closed or reset before that),
`idle` and `total` (our timeouts), `cancelled`, `connect` (never connected), `protocol` (not HTTP)."""


@frozen
class Read:
    """Body bytes that arrived in one read: when, and what (transfer coding removed)."""

    ns: int
    data: bytes


@frozen(kw_only=True)
class Reply:
    """A whole exchange. `status` is None when no response head arrived. Header names are lower case."""

    status: int | None
    headers: tuple[tuple[str, str], ...]
    reads: tuple[Read, ...]
    ending: Ending
    detail: str = ""
    """The words behind an ending other than `eof`."""

    def header(self, name: str) -> str | None:
        """The first value of that header, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)

    @property
    def body(self) -> bytes:
        """All body bytes."""
        return b"".join(read.data for read in self.reads)

    @property
    def last_ns(self) -> int:
        """The stamp of the last read; 0 where no body came."""
        return self.reads[-1].ns if self.reads else 0


# --- what an adapter makes of the bytes ----------------------------------------------------------------------
# `ns` is the stamp of the read that brought the newline of the event's data line.


@frozen
class Role:
    """A chunk that carries no text: the role announcement, or any other empty chunk."""

    ns: int


@frozen
class Reasoning:
    """A non-empty piece of reasoning."""

    ns: int
    text: str


@frozen
class Answer:
    """A non-empty piece of the answer."""

    ns: int
    text: str


@frozen
class ToolCall:
    """A non-empty piece of a tool call."""

    ns: int
    text: str


@frozen(kw_only=True)
class Usage:
    """Token counts as the engine states them; None where it does not."""

    ns: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    reasoning_tokens: int | None = None


@frozen(kw_only=True)
class EngineTimings:
    """The engine's own clock. Durations in ns, None where it does not say; `raw` is kept in the ledger as it came."""

    ns: int
    load_ns: int | None = None
    prompt_ns: int | None = None
    prompt_n: int | None = None
    """Tokens processed in `prompt_ns`: cached ones are not among them."""
    predicted_ns: int | None = None
    predicted_n: int | None = None
    predicted_intervals: int | None = None
    """How many token intervals `predicted_ns` spans: n for engines that start at the prompt's end, else n - 1."""
    total_ns: int | None = None
    tokens_per_sec: float | None = None
    raw: Mapping[str, Any] = field(factory=dict)


@frozen
class Finish:
    """The engine's own finish word (stop, length, tool_calls, ...)."""

    ns: int
    reason: str


@frozen
class StreamError:
    """The engine said the call failed. `kind` is a short stable word."""

    ns: int
    kind: str
    message: str


@frozen(kw_only=True)
class Identity:
    """Who answered: the id the engine gave the answer, and the backend a router named."""

    ns: int
    response_id: str | None = None
    backend: str | None = None


@frozen
class Done:
    """The stream's own last word (`[DONE]`, or the last NDJSON line). Without it the call is `stream_truncated`."""

    ns: int


StreamEvent: TypeAlias = (
    Role | Reasoning | Answer | ToolCall | Usage | EngineTimings | Finish | StreamError | Identity | Done
)

# --- other values ----------------------------------------------------------------------------------------------


@frozen
class Health:
    """Whether a server can be measured now. `detail` says why not, in words for the operator."""

    state: Literal["ready", "loading", "down"]
    detail: str = ""


@frozen
class ColdClaim:
    """What was done to make the next call cold. `kind` is an open word: `process_start`, `process_warm`, ...

    `detail` stands in the call's record, behind the words of the proof.
    """

    kind: str
    detail: str = ""


@frozen
class ColdProof:
    """Whether the answer of the cold call proves the claim: True, False, or None where it cannot tell."""

    proven: bool | None
    detail: str = ""


@frozen(kw_only=True)
class LaunchSpec:
    """How to start a server of our own. `argv[0]` is a path or a program on PATH; `env` is added to ours."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(factory=dict)
    files: tuple[str, ...] = ()
    """Files that must be there (program, model): `probe` checks them without launching."""


@frozen(kw_only=True)
class Found:
    """A server that answers on this host, and the models it offers."""

    engine: str
    url: str
    version: str | None
    models: tuple[str, ...]
    note: str = ""


# --- engine adapters ---------------------------------------------------------------------------------------------


@runtime_checkable
class EngineAdapter(Protocol):
    """One engine's wire. Built once per cell as `Adapter(target, http)`.

    `http` is an ordinary client for what is not measured; it has no base URL and may be used freely.
    """

    def __init__(self, target: Target, http: httpx.AsyncClient) -> None: ...

    async def health(self) -> Health:
        """Answer within 1 s; a server that is loading or down is a value, not an exception."""
        ...

    async def engine_version(self) -> str | None:
        """The engine's version, or None where it cannot tell."""
        ...

    async def model_digest(self) -> str | None:
        """`sha256:<hex>` of what is served, or None where the engine cannot tell."""
        ...

    async def make_cold(self) -> ColdClaim:
        """Unload the model from a server that is not ours, or admit `process_warm`."""
        ...

    def build(self, call: Call) -> httpx.Request:
        """The request of one call. Pure."""
        ...

    def events(self, reply: Reply) -> Iterator[StreamEvent]:
        """What the bytes say, in order of arrival. Pure; state lives inside the generator.

        Every data line yields at least one event besides `Identity` (`Role` where it carries nothing else). A body
        that is not what the engine speaks, and an error status, yield a `StreamError`; nothing is raised.
        """
        ...

    def prove_cold(self, claim: ColdClaim, events: Sequence[StreamEvent]) -> ColdProof:
        """Whether the cold call's own answer bears the claim out. Pure."""
        ...


@runtime_checkable
class Launches(Protocol):
    """Ability: the core may run a server of our own for this cell."""

    def launch(self, cell: Cell, port: int) -> LaunchSpec:
        """The command line. Pure: the core picks the port, runs it, keeps its log and stops it."""
        ...


@runtime_checkable
class DescribesModel(Protocol):
    """Ability: facts of the served model (quantisation, context, ...), for the cell record."""

    async def facts(self) -> Mapping[str, Any]:
        """Plain JSON values, no absolute paths.

        `context` (tokens one request may use) and `template_sha256` (of the chat template) enter the fingerprint.
        """
        ...


@runtime_checkable
class Discovers(Protocol):
    """Ability: find servers of this engine on a host, for `init`. A classmethod: there is no cell yet."""

    @classmethod
    async def discover(cls, http: httpx.AsyncClient, urls: Sequence[str]) -> Sequence[Found]:
        """Ask each URL (the engine's default ports where empty) within 1 s each."""
        ...


@runtime_checkable
class Wraps(Protocol):
    """Ability: this adapter stands in front of another cell's adapter (a router in between)."""

    def wrap(self, inner: EngineAdapter) -> None:
        """Called once, before any other method."""
        ...


# --- result sinks ---------------------------------------------------------------------------------------------------


@frozen
class Line:
    """One ledger line as it stands in the file: its seq, byte offset, bytes (newline included) and parsed record."""

    seq: int
    offset: int
    raw: bytes
    record: Mapping[str, Any]


@frozen(kw_only=True)
class SinkTarget:
    """What a sink may know: the TARGET of --sink NAME=TARGET, the ledger's path, its directory for side files."""

    target: str | None
    ledger_path: str
    side_dir: str
    resumed: bool = False
    """Whether an earlier process began this run: what the target holds of it already is no stranger's."""


@runtime_checkable
class ResultSink(Protocol):
    """A copy of the results somewhere else. Built once per run as `Sink(target)`.

    Called outside measured windows and under a deadline. An exception is reported, marks the sink as behind,
    and changes nothing about the run: the ledger is the queue.

    A run that is taken up again (`target.resumed`) builds its sinks anew and delivers the ledger from its first line,
    in pieces, before the first call: whatever an earlier process missed, the copy becomes whole. A sink that cannot be
    given a line twice keeps what it knows by `seq` or `offset`, which never change.
    """

    def __init__(self, target: SinkTarget) -> None: ...

    async def open(self, meta: MetaRecord) -> None:
        """Called once, when the first line is durable; in a resumed run, when that is taken up again."""
        ...

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Durable lines, in order, each exactly once per sink object unless an earlier deliver raised."""
        ...

    async def close(self, end: EndRecord | None) -> None:
        """Called once, last; `end` is None when the run died."""
        ...
