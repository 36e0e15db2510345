"""How far a ledger is acknowledged by a store: a small file that is believed only where it fits.

A checkpoint that does not fit means that everything is sent again, which is safe; it never means anything about the
ledger.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from weeyuga_core.ledger.osio import OS_IO

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK_BYTES = 1 << 20


@frozen(kw_only=True)
class Checkpoint:
    """Every line before `offset` is in the store or in the dead-letter file."""

    sink: str
    index_prefix: str
    target: str
    """Digest of URL, prefix and the cluster's own id: another store has another."""
    offset: int
    lines: int
    last_seq: int | None
    sha256: str
    """Of the ledger's bytes before `offset`."""


def read(path: Path) -> Checkpoint | None:
    """What the file says; None where it is absent, broken or not of this shape."""
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    names = [field.name for field in attrs.fields(Checkpoint)]
    if not isinstance(data, dict) or not set(names) <= data.keys():
        return None
    if not all(type(data[name]) is int and data[name] >= 0 for name in ("offset", "lines")):
        return None
    return Checkpoint(**{name: data[name] for name in names})


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file so that after any crash the old one or the new one is there. Raises OSError."""
    replace(path, json.dumps(attrs.asdict(checkpoint), indent=2).encode() + b"\n")


def replace(path: Path, data: bytes) -> None:
    """Give a file new content, durably and at once. Raises OSError."""
    scratch = path.with_name(f"{path.name}.new")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    OS_IO.fsync_dir(path.parent)


def misfit(checkpoint: Checkpoint, ledger: Path, *, target: str | None) -> str | None:
    """Why a checkpoint cannot be believed, in words; None where it can.

    Without a `target` it is only held against the ledger. Raises OSError when that cannot be read.
    """
    if target is not None and checkpoint.target != target:
        return "it was written for another store, or the store was made anew"
    digest, last = _digest(ledger, checkpoint.offset)
    if last != b"\n" and checkpoint.offset:
        return "no line of the ledger ends there"
    if digest.hexdigest() != checkpoint.sha256:
        return "the ledger's bytes before it are not those that were sent"
    return None


def _digest(ledger: Path, size: int) -> tuple[_Hash, bytes]:
    """Digest of the first bytes of a file, and the last of them; b"" where the file is shorter."""
    digest, last = sha256(), b""
    with ledger.open("rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK_BYTES))
            if not chunk:
                return digest, b""
            digest.update(chunk)
            size, last = size - len(chunk), chunk[-1:]
    return digest, last


def digest_of(ledger: Path, size: int) -> _Hash:
    """A running digest of the ledger's first bytes. Raises OSError."""
    return _digest(ledger, size)[0]
