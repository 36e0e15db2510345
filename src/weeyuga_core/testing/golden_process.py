"""Starting and stopping a golden server, and reading its logs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from attrs import frozen

from weeyuga_core.errors import LaunchError

_STOP_S = 5.0
_READ_S = 30.0


@frozen(kw_only=True)
class GoldenLog:
    """When a golden server really wrote one reply. All stamps are readings of `time.monotonic_ns`."""

    received_ns: int
    """The whole request was there."""
    writes: tuple[tuple[int, tuple[str, ...]], ...]
    """Just before each send, and the data lines that the write completed (`role`, `reasoning`, `answer`, `finish`,
    `usage`, `done`, `error`; `head` and `end` for HTTP's own)."""
    ended: bool
    """The reply was written to its end."""

    @classmethod
    def from_json(cls, log: Mapping[str, Any]) -> GoldenLog:
        """The log as the server tells it."""
        writes = tuple((ns, tuple(marks)) for ns, marks in log["writes"])
        return cls(received_ns=log["received_ns"], writes=writes, ended=log["ended"])

    def stamps(self, *marks: str) -> tuple[int, ...]:
        """A stamp for each data line with one of those marks, in order."""
        return tuple(ns for ns, completed in self.writes for mark in completed if mark in marks)

    @property
    def delta_ns(self) -> tuple[int, ...]:
        """A stamp for each delta, in order."""
        return self.stamps("reasoning", "answer")


class GoldenServer:
    """A golden server in a process of its own, for a `with` or an `async with` block.

    The process ends with the block, and whenever this process ends, however that happens: it watches a pipe that only
    we hold. `cpu` binds it to one core, on systems that can.
    """

    def __init__(self, *, host: str = "127.0.0.1", cpu: int | None = None) -> None:
        self._host = host
        self._cpu = cpu
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash."""
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the server. Raises LaunchError when it has not been started."""
        return self._started().pid

    def start(self) -> None:
        """Start the server and wait until it can be connected to. Raises LaunchError when it ends instead."""
        # -P: no file of the working directory may stand in for a module.
        argv = [sys.executable, "-P", "-m", "weeyuga_core.testing.golden", "--host", self._host, "--until-eof"]
        argv += [] if self._cpu is None else ["--cpu", str(self._cpu)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            code = self._process.wait()
            self.stop()
            raise LaunchError(f"the golden server ended with exit code {code} before it was ready")
        self._port = json.loads(line)["port"]

    def stop(self) -> None:
        """End the server. Does nothing when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def log(self, ident: str) -> GoldenLog:
        """The log of the reply whose header `x-golden-id` said `ident`. Raises KeyError when there is none."""
        # No proxy, whatever the environment says: the server is on this machine.
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/golden/log/{ident}", timeout=_READ_S) as answer:
                return GoldenLog.from_json(json.load(answer))
        except HTTPError as wrong:
            with wrong:
                raise KeyError(f"the golden server has no log {ident!r}") from wrong

    async def alog(self, ident: str) -> GoldenLog:
        """`log`, without blocking the event loop."""
        return await asyncio.to_thread(self.log, ident)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise LaunchError(f"the golden server at {urlsplit(self.url).netloc} is not running")
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)
