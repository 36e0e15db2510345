"""What every result sink owes the harness, as a test class that a plugin subclasses.

    class TestMySink(ResultSinkContract):
        def sink(self, target):
            return MySink(target)

        def held(self, target):
            return [the seq of every line in my copy, in any order]

The lines are those of real ledgers: one of a whole run, one of a run that was interrupted and taken up again. They lie
in a folder that is gone after each test, and nothing is sent anywhere but by the sink.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve

from weeyuga_core.interfaces import Line, ResultSink, SinkTarget
from weeyuga_core.ledger.reader import iter_lines, read
from weeyuga_core.ledger.writer import LedgerWriter
from weeyuga_core.model.records import (
    HARNESS_VERSION,
    CallRecord,
    CellRecord,
    EndRecord,
    MetaRecord,
    Record,
    ResumeRecord,
)

RUN_ID = "6f1c2d3e-4b5a-4978-8a6b-0c1d2e3f4a5b"
CELL_ID = "here:golden:žluťoučký kůň"
_LOAD = (0.1, 0.2, 0.3)


class ResultSinkContract:
    """Subclass it in a test module, with a name that your test runner collects, and say what follows."""

    __test__ = False

    def __init_subclass__(cls) -> None:
        """Collected are the subclasses, not the contract that they import."""
        super().__init_subclass__()
        cls.__test__ = True

    def sink(self, target: SinkTarget) -> ResultSink:
        """A fresh sink for that target."""
        raise LookupError(f"{type(self).__name__} has to say what its sink is")

    def target(self, folder: Path) -> str | None:
        """The TARGET of `--sink NAME=TARGET`; `folder` is empty and may be written to."""
        return None

    def held(self, target: SinkTarget) -> Sequence[int] | None:
        """The seq of every line in the copy, as often as it is there; None for a sink that makes something else."""
        raise LookupError(f"{type(self).__name__} has to say what its copy holds")

    # --- a run ------------------------------------------------------------------------------------------------------

    def test_the_copy_of_a_run_holds_every_line_once(self) -> None:
        """Lines come one by one, and several at a time."""
        for size in (1, 3, 100):
            with _ledger() as path:
                target = self._target(path)
                self._play(target, path, size)
                self._holds(target, range(len(list(iter_lines(path)))))

    def test_the_copy_of_a_run_that_died_holds_what_was_delivered(self) -> None:
        """`close` is then given None."""
        with _ledger() as path:
            target = self._target(path)
            self._play(target, path, 1, upto=4)
            self._holds(target, range(4))

    def test_the_copy_of_a_run_that_is_taken_up_again_becomes_whole(self) -> None:
        """Whatever the first process delivered, a fresh sink of a second one gets the ledger from its first line."""
        for delivered in (1, 4, 5):
            with _ledger() as path:
                target = self._target(path)
                whole = path.read_bytes()
                path.write_bytes(b"".join(whole.splitlines(keepends=True)[:delivered]))
                self._play(target, path, 1)
                path.write_bytes(whole)
                _go_on(path)
                self._play(evolve(target, resumed=True), path, 2)
                self._holds(target, range(len(list(iter_lines(path)))))

    def test_a_sink_that_joins_a_run_late_has_all_of_it(self) -> None:
        """It may have been asked for only when the run was taken up again."""
        with _ledger() as path:
            _go_on(path)
            target = evolve(self._target(path), resumed=True)
            self._play(target, path, 3)
            self._holds(target, range(len(list(iter_lines(path)))))

    # --- manners ----------------------------------------------------------------------------------------------------

    def test_the_ledger_and_its_lines_are_left_as_they_are(self) -> None:
        """Other sinks are given the same lines."""
        with _ledger() as path:
            lines = list(iter_lines(path))
            before = path.read_bytes(), json.dumps([line.record for line in lines])
            self._play(self._target(path), path, 3, lines=lines)
            assert (path.read_bytes(), json.dumps([line.record for line in lines])) == before

    def test_no_lines_are_nothing(self) -> None:
        """An empty delivery changes nothing."""
        with _ledger() as path:
            target = self._target(path)
            lines = list(iter_lines(path))

            async def played() -> None:
                sink = self.sink(target)
                await sink.open(read(path).meta)
                await sink.deliver([])
                await sink.deliver(lines)
                await sink.deliver([])
                await sink.close(read(path).end)

            asyncio.run(played())
            self._holds(target, range(len(lines)))

    def test_a_line_of_a_later_version_is_a_line_like_any_other(self) -> None:
        """Types and fields are appended to the ledger; whoever copies it need not know them."""
        with _ledger() as path:
            *lines, last = path.read_bytes().splitlines(keepends=True)[:-1]
            grown = json.loads(last) | {"field_of_a_later_version": {"a": [1, None]}}
            stranger = {"type": "stranger", "seq": grown["seq"] + 1, "words": "\N{SNOWMAN}"}
            path.write_bytes(b"".join([*lines, *(json.dumps(one).encode() + b"\n" for one in (grown, stranger))]))
            target = self._target(path)
            self._play(target, path, 3)
            self._holds(target, range(len(lines) + 2))

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _target(self, path: Path) -> SinkTarget:
        """What a run would tell the sink; `path` is the ledger's."""
        folder = path.parent / "copy"
        folder.mkdir()
        return SinkTarget(
            target=self.target(folder), ledger_path=str(path), side_dir=str(path.with_suffix(".d")), resumed=False
        )

    def _play(
        self, target: SinkTarget, path: Path, size: int, *, upto: int | None = None, lines: list[Line] | None = None
    ) -> None:
        """Do to a fresh sink what a run does, `size` lines at a time; stop early as a run that dies would."""
        given = (lines or list(iter_lines(path)))[:upto]
        ledger = read(path)

        async def played() -> None:
            sink = self.sink(target)
            await sink.open(ledger.meta)
            for start in range(0, len(given), size):
                await sink.deliver(given[start : start + size])
            await sink.close(ledger.end if upto is None else None)

        asyncio.run(played())

    def _holds(self, target: SinkTarget, seqs: range) -> None:
        held = self.held(target)
        if held is not None:
            assert Counter(held) == Counter(seqs), f"the copy holds {sorted(held)}, the ledger {list(seqs)}"


@contextmanager
def _ledger() -> Iterator[Path]:
    """The ledger of a run that was interrupted, in a folder that goes with the context."""
    with tempfile.TemporaryDirectory(prefix="weeyuga-sink-") as folder:
        path = Path(folder) / "runs" / f"{RUN_ID}.jsonl"
        with LedgerWriter.create(path) as writer:
            for record in (_META, _CELL, *_CALLS):
                writer.append(record)
            writer.finish(_end(interrupted=True))
        yield path


def _go_on(path: Path) -> None:
    """Take the run up again and bring it to its end."""
    again: tuple[Record, ...] = (_RESUME, _CELL, *(evolve(call, attempt=2) for call in _CALLS))
    with LedgerWriter.reopen(path) as writer:
        for record in again:
            writer.append(record)
        writer.finish(_end(interrupted=False))


_META = MetaRecord(
    benchmark_run_id=RUN_ID,
    git_sha=None,
    git_dirty=None,
    harness_version=HARNESS_VERSION,
    started_at_utc="2026-01-02T03:04:05.000Z",
    host="bench",
    load_avg_start=_LOAD,
    env_route=None,
    env_llamacpp_url=None,
    cells_planned=(CELL_ID,),
    prompts={"P-TEST": "0" * 64},
    steps_planned=2,
    warm_n={CELL_ID: 1},
)
_CELL = CellRecord(
    cell_id=CELL_ID,
    node="here",
    engine="golden",
    label="žluťoučký kůň",
    request_model="žluťoučký kůň",
    endpoint=None,
    launched=False,
    engine_version="1",
    engine_version_source="engine",
    model_digest=None,
    model_digest_source=None,
    flags=(),
    options={"temperature": 0},
    prompt_cache="engine-default",
    facts={},
    fingerprint="f" * 64,
    fingerprint_parts={"engine": "golden"},
)


def _call(phase: str, **fields: object) -> CallRecord:
    filled: dict[str, object] = {
        "cell_id": CELL_ID,
        "prompt_id": "P-TEST",
        "phase": phase,
        "run_idx": 0,
        "first_delta_ms": 12,
        "total_duration_ms": 34,
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "tokens_per_sec": 227.273,
        "finish_reason": "stop",
        "backend": "golden",
        "error": None,
        "started_at_utc": "2026-01-02T03:04:06.000Z",
    }
    return CallRecord(**filled | fields)  # type: ignore[arg-type]  # every field has its own type


_CALLS = (
    _call("cold", cold_kind="process_warm"),
    _call("warm", error="ač \N{SNOWMAN}\u2028 " + "x" * 3_000, error_kind="reset", finish_reason="error"),
)
_RESUME = ResumeRecord(
    benchmark_run_id=RUN_ID,
    resumed_at_utc="2026-01-02T04:00:00.000Z",
    load_avg=_LOAD,
    gap_s=3_300.0,
    flags=(),
    warnings=(),
    git_dirty=None,
    git_dirty_files=(),
    steps_left=2,
    torn=None,
    calibration=None,
)


def _end(*, interrupted: bool) -> EndRecord:
    return EndRecord(
        benchmark_run_id=RUN_ID,
        finished_at_utc=f"2026-01-02T0{3 if interrupted else 4}:04:10.000Z",
        load_avg_end=_LOAD,
        verdict="unreliable",
        reasons=("a test",),
        calls=2,
        errors=1,
        skipped=0,
        steps_planned=2,
        interrupted=interrupted,
    )
