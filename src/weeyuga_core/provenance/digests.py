"""Digests of model files, remembered between runs: hashing ten gigabytes takes longer than measuring them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from weeyuga_core.errors import ConfigError

CACHE_NAME = "digests.json"
MAX_ENTRIES = 256
_SETTLED_NS = 2_000_000_000
"""Younger files are not remembered: a second change within one tick of the file system's clock would go unseen."""


def default_cache_dir() -> Path:
    """The user's cache directory for this program, as the platform has it."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    if Path(told).is_absolute():
        base = Path(told)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "weeyuga-bench"


def file_sha256(path: Path, *, cache_dir: Path | None = None) -> str:
    """`sha256:<hex>` of the file's bytes, from the cache when the file has not changed since.

    `cache_dir` defaults to the user's. Unchanged means: same resolved path, size, inode, and times of change.
    Raises ConfigError when the file cannot be read or changes while it is read.
    """
    cache = (cache_dir if cache_dir is not None else default_cache_dir()) / CACHE_NAME
    try:
        resolved = path.resolve(strict=True)
        state = _state(resolved)
        known = _load(cache).get(str(resolved))
        if isinstance(known, dict) and known.get("state") == state and _is_digest(known.get("digest")):
            return str(known["digest"])
        with resolved.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        unchanged = _state(resolved) == state
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    if not unchanged:
        raise ConfigError(
            f"{path} changed while it was read", hint="wait until it is completely written, then run again"
        )
    if time.time_ns() - state[1] > _SETTLED_NS:
        _remember(cache, str(resolved), {"state": state, "digest": digest})
    return digest


def _state(path: Path) -> list[int]:
    """What changes when the file does: size, time of last write, inode, time of last change of the inode."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and value.startswith("sha256:") and len(value) == len("sha256:") + 64


def _load(cache: Path) -> dict[str, Any]:
    """The cache's entries, oldest first; none when it is absent or broken, since it can always be made again."""
    try:
        entries = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _remember(cache: Path, path: str, entry: dict[str, Any]) -> None:
    """Add one entry, dropping the oldest. The file is replaced as a whole, so that no reader sees half of it."""
    entries = _load(cache)
    entries.pop(path, None)
    kept = dict([*entries.items(), (path, entry)][-MAX_ENTRIES:])
    temporary: str | None = None
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache.parent, prefix=CACHE_NAME, delete=False) as file:
            temporary = file.name
            json.dump(kept, file)
        Path(temporary).replace(cache)
    except OSError:
        # A cache that cannot be written costs time, never a number: the digest was computed from the file itself.
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
