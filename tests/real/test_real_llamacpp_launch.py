"""Starting and ending the real llama.cpp engine, and every way in which that can fail."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import conditions
import pytest
from conditions import runs, wait_until

from weeyuga_core.errors import LaunchError
from weeyuga_core.launch import leash
from weeyuga_core.launch import server as launch_server

pytestmark = pytest.mark.real

HARNESS = """
import asyncio, sys
from pathlib import Path
log, *sys.path[:0] = sys.argv[1:]
from conftest import Engine
one = Engine(Path(log))
print(one.start().pid, flush=True)
asyncio.run(asyncio.Event().wait())
"""


def test_a_server_is_down_then_loading_then_ready(engine):
    seen = []
    for _ in range(5):
        one = engine()
        one.start()
        one.stop()
        assert re.fullmatch("(down )*(loading )*ready", " ".join(one.states))
        seen += one.states
        if "loading" in seen:
            return
    pytest.fail(f"a model that loads was never seen loading: {seen}")


def test_stop_ends_an_idle_server_in_good_order(engine, monkeypatch):
    # Good order takes the time it takes: on a busy machine longer than the grace that a run gives.
    monkeypatch.setattr(leash, "GRACE_S", 60.0)
    monkeypatch.setattr(launch_server, "STOP_S", 62.0)
    one = engine()
    server = one.start()
    assert server.ready_ns > 0
    one.stop()
    assert server.exit_code() == 0
    assert not runs(server.pid)


def test_stop_ends_a_server_whose_stream_is_open(engine):
    one = engine(options={"ignore_eos": True})
    server = one.start()

    async def stop(_adapter):
        await server.stop()

    exchange, _ = one.call(max_tokens=900, beside=stop)
    assert server.exit_code() is not None
    assert not runs(server.pid)
    assert exchange.reply.ending != "eof"


def test_a_program_by_path_is_launched_with_the_same_flags(engine):
    program = Path(sys.executable).with_name("weeyuga-llama-server")
    one = engine(server=str(program), args=("--metrics",))
    one.start()
    (version,) = one.ask("engine_version")
    assert version == "b0-unknown"
    _, events = one.call()
    assert events


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"this is no model", 2, "model broken.gguf is not a GGUF file: it begins with b'this'"),
        (None, 2, "model broken.gguf cannot be read: No such file or directory"),
        ("cut", 1, "the engine does not start"),
    ],
    ids=["garbage", "missing", "cut off"],
)
def test_a_model_that_is_none_is_told_with_the_servers_own_words(engine, tmp_path, model, content, code, words):
    broken = tmp_path / "broken.gguf"
    if content == "cut":
        with model.open("rb") as whole:
            broken.write_bytes(whole.read(4_000_000))
    elif content is not None:
        broken.write_bytes(content)
    with pytest.raises(LaunchError) as told:
        engine(model=broken).start()
    message = str(told.value)
    assert f"ended with exit code {code} before it was ready" in message
    assert words in message
    assert str(tmp_path) not in message


def test_a_flag_that_the_engine_does_not_know_is_told(engine):
    with pytest.raises(LaunchError, match=r"exit code 2 (.|\n)*unrecognized arguments: --no-such-flag"):
        engine(args=("--no-such-flag",)).start()


def test_a_taken_port_is_told(engine):
    one = engine()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", one.port))
        taken.listen()
        with pytest.raises(LaunchError, match=f"port {one.port} of 127.0.0.1 cannot be had"):
            one.start()


def test_kill_9_of_the_harness_leaves_no_engine(embedded, tmp_path):
    folders = [str(Path(__file__).parent), str(Path(conditions.__file__).parent)]
    command = [sys.executable, "-c", HARNESS, str(tmp_path / "server.log"), *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as harness:
        pid = int(harness.stdout.readline())
        assert runs(pid)
        os.kill(harness.pid, signal.SIGKILL)
        wait_until(lambda: not runs(pid), "the engine to go")
