"""Starting a server of our own: readiness, its end, and one clear message for each way it can fail."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conditions import runs, wait_until

from weeyuga_core.errors import LaunchError
from weeyuga_core.interfaces import Health, LaunchSpec
from weeyuga_core.launch import free_port, start
from weeyuga_core.launch import server as server_module

TOY = Path(__file__).with_name("toy_server.py")
READY_S = 60.0


async def ask(port):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return Health("down", "connection refused")
    try:
        said = (await reader.readline()).decode().strip()
    finally:
        # Also when the start is cancelled in the middle of a question.
        writer.close()
        await writer.wait_closed()
    return Health("ready") if said == "ready" else Health("loading", f"the toy said {said!r}")


def launch(log, *manners, argv=None, env=None, port=None, ready_s=READY_S, health=None):
    """Start a toy and hand over the server."""
    port = free_port() if port is None else port
    spec = LaunchSpec(argv=argv or (sys.executable, str(TOY), str(port), *manners), env=env or {})
    return start(spec, port=port, log_path=log, health=health or (lambda: ask(port)), ready_s=ready_s)


def said(log, word):
    """What the toy said in its log after that word."""
    return next(line.removeprefix(word) for line in log.read_text().splitlines() if line.startswith(word))


@pytest.fixture
def log(tmp_path):
    return tmp_path / "run.d" / "toy.log"


def test_the_news_of_an_end_is_waited_for_and_no_longer_than_was_said(log):
    async def scenario():
        server = await launch(log)
        assert not await server.ended(0.05)
        os.kill(server.pid, signal.SIGKILL)
        assert await server.ended(READY_S)
        assert server.exit_code() == -signal.SIGKILL
        await server.stop()

    asyncio.run(scenario())


def test_a_server_that_is_ready_has_a_pid_a_time_and_no_exit_code(log):
    async def scenario():
        before = time.monotonic_ns()
        server = await launch(log)
        elapsed = time.monotonic_ns() - before
        assert server.exit_code() is None
        assert runs(server.pid)
        assert 0 < server.ready_ns < elapsed
        await server.stop()
        assert server.exit_code() == -signal.SIGTERM
        assert not runs(server.pid)

    asyncio.run(scenario())


def test_stop_ends_a_server_that_ignores_sigterm_and_may_be_called_twice(log):
    async def scenario():
        server = await launch(log, "ignore-term", "child")
        await server.stop()
        await server.stop()
        assert server.exit_code() == -signal.SIGKILL
        assert not runs(server.pid)

    asyncio.run(scenario())


def test_the_port_can_be_had_again_at_once(log):
    async def scenario():
        first = await launch(log)
        await first.stop()
        second = await launch(log, port=first.port)
        await second.stop()
        assert second.pid != first.pid

    asyncio.run(scenario())


def test_a_server_that_dies_later_is_known_to_be_dead(log):
    async def scenario():
        server = await launch(log)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.exit_code() is not None, "the news of its death")
        assert server.exit_code() == -signal.SIGKILL
        await server.stop()

    asyncio.run(scenario())


def test_the_environment_of_the_spec_is_added_to_ours(log):
    code = "import os, sys; sys.exit(int(os.environ['ADDED']) if os.environ['PATH'] else 1)"
    with pytest.raises(LaunchError, match="ended with exit code 42 before it was ready"):
        asyncio.run(launch(log, argv=(sys.executable, "-c", code), env={"ADDED": "42"}))


def test_death_before_readiness_is_told_with_the_exit_code_and_the_log_without_directories(log):
    with pytest.raises(LaunchError) as told:
        asyncio.run(launch(log, "die"))
    message = str(told.value)
    assert f"{Path(sys.executable).name} ended with exit code 7 before it was ready" in message
    assert "cannot load toy_server.py" in message
    assert str(TOY.parent) not in message
    assert str(log.parent) not in message


def test_only_the_log_of_this_start_is_quoted(log):
    log.parent.mkdir()
    log.write_text("an older quarrel\n")
    with pytest.raises(LaunchError) as told:
        asyncio.run(launch(log, "die"))
    assert "an older quarrel" not in str(told.value)
    assert log.read_text().startswith("an older quarrel\n")


def test_a_server_that_never_gets_ready_is_ended_and_its_last_answer_told(log, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now_s, monotonic_ns=time.monotonic_ns, now_s=0.0)
    monkeypatch.setattr(server_module, "time", clock)
    port = free_port()

    async def ask_once_the_toy_answers():
        answer = await ask(port)
        clock.now_s += READY_S / 2 if answer.state == "loading" else 0.0
        return answer

    starting = launch(log, "loading", "child", port=port, health=ask_once_the_toy_answers)
    with pytest.raises(LaunchError, match=r"was not ready within 60 s \(last answer: loading: the toy said 'load"):
        asyncio.run(starting)
    assert clock.now_s == READY_S
    assert not runs(int(said(log, "grandchild")))


def test_somebody_else_answering_on_the_port_is_not_taken_for_a_server_that_died(log):
    async def a_stranger_says_ready():
        wait_until(lambda: "cannot load" in log.read_text(), "the toy to complain")
        supervisor = int(said(log, "parent"))
        wait_until(lambda: not runs(supervisor), "the supervisor to tell of its death and leave")
        return Health("ready")

    with pytest.raises(LaunchError, match="exit code 7"):
        asyncio.run(launch(log, "die", health=a_stranger_says_ready))


def test_a_failing_health_check_leaves_no_server(log):
    async def broken():
        wait_until(lambda: "grandchild" in log.read_text(), "the toy to have a child")
        raise RuntimeError("a bug of the adapter")

    with pytest.raises(RuntimeError, match="a bug of the adapter"):
        asyncio.run(launch(log, "child", health=broken))
    assert not runs(int(said(log, "grandchild")))


def test_cancelling_a_start_leaves_no_server(log):
    async def scenario():
        starting = asyncio.create_task(launch(log, "loading", "child"))
        while "grandchild" not in (log.read_text() if log.exists() else ""):
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(scenario())
    assert not runs(int(said(log, "grandchild")))


def test_a_taken_port_is_told_before_anything_is_started(log):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port} of 127.0.0.1 cannot be had: Address already in use"):
            asyncio.run(launch(log, port=port))
    assert not log.exists()


def test_free_ports_can_be_listened_on():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()


@pytest.mark.parametrize(
    ("name", "content", "mode", "words"),
    [
        ("no-such", None, 0, "program no-such does not exist"),
        ("plain", "text", 0o644, "program plain is not executable"),
        ("garbage", "\x7fnot a program", 0o755, "garbage cannot be run: Exec format error"),
    ],
)
def test_a_program_that_cannot_be_run_is_named_without_its_directory(tmp_path, log, name, content, mode, words):
    program = tmp_path / name
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    with pytest.raises(LaunchError) as told:
        asyncio.run(launch(log, argv=(str(program),)))
    assert words in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_a_program_that_is_not_on_path_says_so(log):
    with pytest.raises(LaunchError, match="program no-such-server is not on PATH"):
        asyncio.run(launch(log, argv=("no-such-server",)))
