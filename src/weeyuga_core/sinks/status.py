"""How far each sink's copy of a ledger got, from its side files alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from weeyuga_core.ledger.reader import iter_lines
from weeyuga_core.sinks.elasticsearch import checkpoint as checkpoints
from weeyuga_core.sinks.elasticsearch import deadletter
from weeyuga_core.sinks.elasticsearch.journal import paths


@frozen(kw_only=True)
class Status:
    """One copy of one ledger."""

    ledger: str
    sink: str
    target: str
    """Prefix of its indices and the short name of its store, as in the names of the side files."""
    acknowledged: int
    lag_lines: int
    lag_bytes: int
    dead: int
    doubt: str | None
    """Why the checkpoint is not believed: a replay will begin anew."""


def of_ledger(ledger: Path) -> Iterator[Status]:
    """The copies that have a checkpoint. Raises the errors of reading a ledger."""
    side_dir = ledger.with_suffix(".d")
    for path in sorted(side_dir.glob("acks-*.json")):
        found = checkpoints.read(path)
        key = path.stem.rpartition("-")[2]
        doubt = checkpoints.misfit(found, ledger, target=None) if found else "it cannot be read"
        offset = found.offset if found and doubt is None else 0
        behind = [len(line.raw) for line in iter_lines(ledger, offset)]
        yield Status(
            ledger=str(ledger),
            sink=found.sink if found else path.stem.split("-")[1],
            target=f"{found.index_prefix}@{key}" if found else key,
            acknowledged=found.lines if found and doubt is None else 0,
            lag_lines=len(behind),
            lag_bytes=sum(behind),
            dead=deadletter.count(paths(side_dir, key)[1]),
            doubt=doubt,
        )
