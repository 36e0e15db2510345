"""Stock httpx: `stream`, `aiter_lines`, the stamp where the line is consumed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from common import PATH, Seen, Task, delta_text, main


async def call(client: httpx.AsyncClient, task: Task) -> Seen:
    """One answer."""
    deltas: list[int] = []
    end_ns = 0
    start_ns = time.monotonic_ns()
    async with client.stream("POST", PATH, json=task.body) as response:
        async for line in response.aiter_lines():
            at_ns = time.monotonic_ns()
            if line.startswith("data: "):
                end_ns = at_ns
                if line != "data: [DONE]" and delta_text(line[6:]):
                    deltas.append(at_ns)
    return Seen(response.headers["x-golden-id"], start_ns, deltas, end_ns)


async def load(task: Task) -> list[Seen]:
    """All streams."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=task.url, limits=limits, timeout=60.0, trust_env=False) as client:

        async def stream() -> list[Seen]:
            return [await call(client, task) for _ in range(task.calls)]

        return [seen for calls in await asyncio.gather(*(stream() for _ in range(task.streams))) for seen in calls]


if __name__ == "__main__":
    main(lambda task: asyncio.run(load(task)))
