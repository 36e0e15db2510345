"""No server outlives the harness, whatever ends the harness."""

import os
import signal

import pytest
from conditions import runs, wait_until


@pytest.mark.parametrize("manners", [["child"], ["child", "ignore-term"]], ids=["obedient", "ignores SIGTERM"])
def test_kill_9_of_the_harness_ends_the_server_and_its_grandchildren(start_toy, manners):
    toy = start_toy(*manners)
    assert toy.runs()
    toy.harness.send_signal(signal.SIGKILL)
    toy.wait_until_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_that_ends_the_harness_ends_the_server(start_toy, number):
    toy = start_toy("child")
    toy.harness.send_signal(number)
    toy.wait_until_gone()
    assert toy.harness.wait() == -number


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_the_end_of_the_supervisor_alone_ends_the_server_and_the_harness_knows(start_toy, number):
    toy = start_toy("child")
    os.kill(toy.supervisor, number)
    toy.wait_until_gone()
    assert toy.out.readline() == f"ended {-number}\n"
    assert toy.harness.wait() == 0


def test_kill_9_of_harness_and_supervisor_together_ends_the_server(start_toy):
    toy = start_toy("child", "ignore-term")
    supervisor = toy.supervisor
    # Stopped first, so that neither can act on the other's death.
    for pid in (supervisor, toy.harness.pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (supervisor, toy.harness.pid):
        os.kill(pid, signal.SIGKILL)
    toy.wait_until_gone()


def test_the_death_of_the_server_takes_its_grandchildren_along(start_toy):
    toy = start_toy("child")
    os.kill(toy.server, signal.SIGKILL)
    toy.wait_until_gone()
    assert toy.out.readline() == f"ended {-signal.SIGKILL}\n"


def test_ctrl_c_on_the_terminal_reaches_the_harness_and_not_the_server(start_toy):
    toy = start_toy("child")
    os.killpg(toy.harness.pid, signal.SIGINT)
    assert toy.out.readline() == "interrupted\n"
    assert toy.runs()
    assert toy.answers()


def test_the_server_gets_no_descriptor_but_null_and_its_log(start_toy):
    toy = start_toy()
    assert toy.said("descriptors") == ["0", "1", "2"]
    assert toy.said("stdin") == ["null"]


def test_nothing_of_the_supervisor_stays_behind(start_toy):
    toy = start_toy("child")
    supervisor = toy.supervisor
    guard = toy.children(supervisor) - {toy.server}
    assert len(guard) == 1
    toy.harness.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(runs(pid) for pid in {supervisor} | guard), "supervisor and guard to leave")
