"""The reference that a plugin registers. Alone in its module, so that `--help` loads neither Protocols nor records."""

from __future__ import annotations

from attrs import frozen


@frozen
class Provided:
    """A reference to something a plugin offers; nothing is imported until it is chosen.

    `name` is what the user types (the engine part of a cell id, the NAME of --sink, a command).
    `target` is `"package.module:attribute"`.
    """

    name: str
    summary: str
    target: str
