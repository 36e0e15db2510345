"""A harness that starts the toy server, says who is who, and stays until it is killed.

python toy_harness.py LOG [manners of the toy server ...]
"""

# ruff: noqa: T201  # a program of its own, which talks to its test by printing
import asyncio
import signal
import sys
from pathlib import Path

from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import free_port, start

TOY = Path(__file__).with_name("toy_server.py")


async def ask(port: int) -> Health:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError as error:
        return Health("down", str(error))
    said = (await reader.readline()).decode().strip()
    writer.close()
    return Health("ready") if said == "ready" else Health("loading", f"the toy said {said!r}")


def toy(port: int, *manners: str) -> LaunchSpec:
    return LaunchSpec(argv=(sys.executable, str(TOY), str(port), *manners))


async def main(log: Path, manners: list[str]) -> None:
    # An ignored signal is inherited: under nohup, or in a background job, SIGHUP would end nobody here.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    port = free_port()
    server = await start(toy(port, *manners), port=port, log_path=log, health=lambda: ask(port), ready_s=60)
    signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
    print(server.pid, port, flush=True)
    while server.exit_code() is None:
        await asyncio.sleep(0.01)
    print("ended", server.exit_code(), flush=True)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
