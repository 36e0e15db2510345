"""Programs that serve HTTP beside a test: started, awaited, ended."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import Server, free_port, start

NGINX = shutil.which("nginx")

_NGINX_CONFIG = """
daemon off;
pid {home}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {directives}
  }}
}}
"""


@contextmanager
def serving(argv: Callable[[int], Sequence[str]], log: Path, *, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Base URL of the program whose command line is `argv` of a free port, from its first answer until the block ends.

    Usable outside of an event loop. What the program says is in `log`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def health() -> Health:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                await http.head(url, timeout=5)
            except httpx.HTTPError as error:
                return Health("down", str(error))
        return Health("ready")

    async def started() -> Server:
        spec = LaunchSpec(argv=tuple(argv(port)), env=dict(env or {}))
        return await start(spec, port=port, log_path=log, health=health, ready_s=60)

    server = asyncio.run(started())
    try:
        yield url
    finally:
        asyncio.run(server.stop())


@contextmanager
def nginx(home: Path, directives: str) -> Iterator[str]:
    """Base URL of an nginx with those directives in its one server; all of its files are in `home`."""
    home.mkdir(exist_ok=True)
    config = home / "nginx.conf"

    def argv(port: int) -> Sequence[str]:
        config.write_text(_NGINX_CONFIG.format(home=home, port=port, directives=directives))
        return (str(NGINX), "-p", str(home), "-c", str(config))

    with serving(argv, home / "log") as url:
        yield url
