"""Keep the garbage collector out of measured time.

A full collection stops every stream for longer than the gap between two tokens.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _Holders:
    """How many measured windows are open, and whether the collector ran before the first of them."""

    count = 0
    was_enabled = False


def settle() -> None:
    """Collect what is garbage now and set aside what survives. Call between measured windows, never inside one.

    Thawing and collecting come first: freezing alone would keep for good whatever became garbage since the last time.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def collector_off() -> Iterator[None]:
    """Hold the collector off; windows may overlap, and the last to close puts it back as the first found it."""
    if _Holders.count == 0:
        _Holders.was_enabled = gc.isenabled()
        gc.disable()
    _Holders.count += 1
    try:
        yield
    finally:
        _Holders.count -= 1
        if _Holders.count == 0 and _Holders.was_enabled:
            gc.enable()
