"""What is known about one ledger in one store: the acknowledged prefix and the dead, under a lock of their own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from weeyuga_core.errors import GateRefused, LedgerError
from weeyuga_core.ledger.osio import os_words
from weeyuga_core.sinks.elasticsearch import checkpoint as checkpoints
from weeyuga_core.sinks.elasticsearch.bulk import Fate, Item, Outcome
from weeyuga_core.sinks.elasticsearch.checkpoint import Checkpoint
from weeyuga_core.sinks.elasticsearch.deadletter import DeadLetters
from weeyuga_core.sinks.elasticsearch.settings import Settings

SINK = "es"


def paths(side_dir: Path, key: str) -> tuple[Path, Path]:
    """The checkpoint and the dead-letter file of a target."""
    return side_dir / f"acks-{SINK}-{key}.json", side_dir / f"dead-{SINK}-{key}.jsonl"


class Journal:
    """The only writer of a target's side files. A context manager; one at a time, on this host."""

    def __init__(self, ledger: Path, side_dir: Path, settings: Settings, *, cluster_uuid: str | None) -> None:
        """Lock and read the side files. Raises GateRefused while another holds them, LedgerError on a bad disk."""
        self._ledger = ledger
        self._settings = settings
        self._target = sha256(f"{settings.url}|{settings.prefix}|{cluster_uuid}".encode()).hexdigest()
        self._path, dead_path = paths(side_dir, settings.key)
        try:
            side_dir.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _lock(side_dir / f"acks-{SINK}-{settings.key}.lock")
            try:
                self.dead = DeadLetters(dead_path)
                self.doubt = self._begin()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise LedgerError(f"{side_dir}: the side files cannot be used: {os_words(error)}") from error

    def _begin(self) -> str | None:
        """Start from the checkpoint where it fits; why it does not."""
        found = checkpoints.read(self._path)
        doubt = None
        if found is not None:
            doubt = checkpoints.misfit(found, self._ledger, target=self._target)
        elif self._path.exists():
            doubt = "it cannot be read"
        believed = found if found is not None and doubt is None else None
        self.offset = believed.offset if believed else 0
        self.lines = believed.lines if believed else 0
        self._last_seq = believed.last_seq if believed else None
        self._digest = checkpoints.digest_of(self._ledger, self.offset)
        return doubt

    def rewind(self) -> None:
        """Begin again at byte 0, whatever was acknowledged. The dead stay until a line of theirs is taken."""
        self.offset, self.lines, self._last_seq, self._digest = 0, 0, None, sha256()

    def settle(self, items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> None:
        """Move on over the items that are settled, up to the first that is not. Raises LedgerError.

        The items begin where the acknowledged prefix ends. The dead are durable before the checkpoint moves.
        """
        assert not items or items[0].offset == self.offset, "items must follow what is acknowledged"
        done: list[Item] = []
        for item in items:
            if item.id not in outcomes:
                break
            done.append(item)
        if not done:
            return
        for item in done:
            self._digest.update(item.raw)
        self.offset = done[-1].offset + len(done[-1].raw)
        self.lines += len(done)
        self._last_seq = int(done[-1].id.rpartition(":")[2])
        self.record(done, outcomes)
        self._write()

    def record(self, items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> None:
        """Keep the dead among the items, and strike out those that are in the store after all. Raises LedgerError."""
        known = [(item, outcomes[item.id]) for item in items if item.id in outcomes]
        try:
            self.dead.add((item, outcome) for item, outcome in known if outcome.fate is Fate.DEAD)
            self.dead.drop({item.id for item, outcome in known if outcome.fate is not Fate.DEAD})
        except OSError as error:
            raise LedgerError(f"{self._path.parent}: dead letters cannot be kept: {os_words(error)}") from error

    def _write(self) -> None:
        at = Checkpoint(
            sink=SINK,
            index_prefix=self._settings.prefix,
            target=self._target,
            offset=self.offset,
            lines=self.lines,
            last_seq=self._last_seq,
            sha256=self._digest.hexdigest(),
        )
        try:
            checkpoints.write(self._path, at)
        except OSError as error:
            raise LedgerError(f"{self._path}: the checkpoint cannot be written: {os_words(error)}") from error

    def close(self) -> None:
        """Let others at the side files. Closing twice is fine."""
        fd, self._lock_fd = self._lock_fd, -1
        if fd != -1:
            os.close(fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _lock(path: Path) -> int:
    """Hold the file; the kernel lets go of it whatever ends this process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise GateRefused(
            f"{path}: another run or replay is sending this ledger to the same store", hint="wait until it is done"
        ) from None
    return fd
