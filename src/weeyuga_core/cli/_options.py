"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def gate_flag(name: str, *, help: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """A flag that overrides a gate, such as `--allow-dirty`. It has no environment twin.

    A variable that somebody exported once must not open a gate for every later run.
    """
    settings: dict[str, Any] = {"is_flag": True, "default": False, "allow_from_autoenv": False, "help": help}
    return click.option(name, **settings)


def json_flag() -> Callable[[click.decorators.FC], click.decorators.FC]:
    """`--json`, passed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
