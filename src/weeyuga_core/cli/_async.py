"""Runs a coroutine so that Ctrl-C and a polite kill both end it in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`; SIGINT and SIGTERM cancel it, and what it then returns is returned.

    Raises KeyboardInterrupt where `main` does not turn the cancellation into a value.
    """

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None  # we run inside one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            return await main
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    return asyncio.run(guarded())
