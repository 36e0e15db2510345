"""The reference that a plugin registers.

It stands alone, and it and what handles it are named tuples where the rest of the core uses attrs, so that `--help`
needs neither attrs nor the Protocols and records.
"""

from __future__ import annotations

from typing import NamedTuple


class Provided(NamedTuple):
    """A reference to something a plugin offers; nothing is imported until it is chosen.

    `name` is what the user types (the engine part of a cell id, the NAME of --sink, a command).
    `target` is `"package.module:attribute"`.
    """

    name: str
    summary: str
    target: str
