"""A server for the tests of the supervisor: answers one line per connection, and misbehaves on demand.

python toy_server.py PORT [loading] [die] [ignore-term] [child]
"""

# ruff: noqa: T201  # a program of its own, which talks to its test by printing
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def open_descriptors() -> list[int]:
    found = []
    for number in range(256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def say(*words: object) -> None:
    print(*words, flush=True)


def main(port: int, manners: set[str]) -> int:
    say("descriptors", *open_descriptors())
    say("parent", os.getppid())
    say("stdin", "null" if os.path.samestat(os.fstat(0), Path(os.devnull).stat()) else "other")
    if "ignore-term" in manners:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "die" in manners:
        print(f"cannot load {Path(__file__).resolve()}", file=sys.stderr)
        return 7
    if "child" in manners:
        # Ignored signals stay ignored across exec: the grandchild ignores SIGTERM with its parent.
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        say("grandchild", child.pid)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"loading\n" if "loading" in manners else b"ready\n")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), set(sys.argv[2:])))
