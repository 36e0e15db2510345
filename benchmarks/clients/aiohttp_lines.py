"""Stock aiohttp: iterating over the content by lines, the stamp where the line is consumed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
from common import PATH, Seen, Task, delta_text, main


async def call(client: aiohttp.ClientSession, task: Task) -> Seen:
    """One answer."""
    deltas: list[int] = []
    end_ns = 0
    start_ns = time.monotonic_ns()
    async with client.post(PATH, json=task.body) as response:
        async for raw in response.content:
            at_ns = time.monotonic_ns()
            if raw.startswith(b"data: "):
                end_ns = at_ns
                line = raw[6:].strip().decode()
                if line != "[DONE]" and delta_text(line):
                    deltas.append(at_ns)
        return Seen(response.headers["x-golden-id"], start_ns, deltas, end_ns)


async def load(task: Task) -> list[Seen]:
    """All streams."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(task.url, connector=connector) as client:

        async def stream() -> list[Seen]:
            return [await call(client, task) for _ in range(task.calls)]

        return [seen for calls in await asyncio.gather(*(stream() for _ in range(task.streams))) for seen in calls]


if __name__ == "__main__":
    main(lambda task: asyncio.run(load(task)))
