"""The reference brain in a process of its own, for tests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import Server, free_port, start

PROGRAM = Path(__file__).parents[2] / "examples" / "reference_brain" / "weeyuga_reference_brain.py"


@contextmanager
def reference_brain(
    upstream: str, folder: Path, *options: str, name: str = "golden", env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Base URL of a brain in front of `upstream`; its output is in `folder`. Usable outside of an event loop."""
    port = free_port()
    argv = brain_argv(port, f"{name}={upstream}", *options)
    url = f"http://127.0.0.1:{port}"

    async def health() -> Health:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                answer = await http.get(url, timeout=1)
            except httpx.HTTPError as error:
                return Health("down", str(error))
        return Health("ready" if answer.status_code == 200 else "loading")

    async def started() -> Server:
        return await start(
            LaunchSpec(argv=tuple(argv), env=dict(env or {})),
            port=port,
            log_path=folder / f"brain-{port}.log",
            health=health,
            ready_s=60,
        )

    server = asyncio.run(started())
    try:
        yield url
    finally:
        asyncio.run(server.stop())


def brain_argv(port: int, upstream: str, *options: str) -> Sequence[str]:
    """The command line of a reference brain."""
    return (sys.executable, "-P", str(PROGRAM), "--port", str(port), "--upstream", upstream, *options)
