"""The end of a server's log, made fit for an error message that is kept and published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

TAIL_BYTES = 8192
TAIL_LINES = 8

_DIRECTORIES = re.compile(r"(?<![\w:/.~-])~?/(?:[^\s/'\"`<>|:]+/)+")


def tail(path: Path, *, since: int = 0, private: Iterable[str] = ()) -> str:
    """The last non-blank lines written after byte `since`, without directories; empty when there are none."""
    with path.open("rb") as log:
        end = log.seek(0, 2)
        log.seek(max(since, end - TAIL_BYTES))
        text = log.read().decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return without_directories("\n".join(lines[-TAIL_LINES:]), private=private)


def without_directories(text: str, *, private: Iterable[str] = ()) -> str:
    """The text with absolute paths reduced to their last part: directories tell who somebody is.

    `private` are paths known to occur; they are replaced first, since they may hold blanks.
    """
    known = {path for path in private if path.startswith("/")}
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, Path(path).name)
    text = text.replace("file://", "").replace(str(Path.home()), "~")
    return _DIRECTORIES.sub("", text)
