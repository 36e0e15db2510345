from __future__ import annotations

import os
import platform
import socket
import subprocess

import pytest

from weeyuga_core.provenance import host
from weeyuga_core.provenance.host import cpu_model_of, host_facts, load_avg


def test_the_facts_are_those_of_this_machine() -> None:
    facts = host_facts()
    assert facts.host == socket.gethostname()
    assert facts.python.endswith(platform.python_version())
    assert platform.machine() in facts.platform
    assert facts.memory_bytes is not None
    assert facts.memory_bytes % os.sysconf("SC_PAGE_SIZE") == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes")
def test_the_cpu_count_is_what_this_process_may_use() -> None:
    whole = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(whole)})
        assert host_facts().cpu_count == 1
    finally:
        os.sched_setaffinity(0, whole)


def test_load_averages_have_two_decimals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.23456, 0.005, 17.0))
    assert load_avg() == (round(1.23456, 2), round(0.005, 2), 17.0)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nprocessor\t: 1\nmodel name\t: Other\n",
            "Some CPU @ 2.00GHz",
        ),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Some Board Rev 1.4\n", "Some Board Rev 1.4"),
        ("processor\t: 0\nmodel name\t:\n", None),
        ("", None),
    ],
)
def test_the_cpu_is_named_as_the_system_names_it(cpuinfo: str, name: str | None) -> None:
    assert cpu_model_of(cpuinfo) == name


def test_a_system_without_proc_is_asked_by_program(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(argv)
        return subprocess.CompletedProcess(argv, 0, b"Some M1\n", b"")

    monkeypatch.setattr(host, "_CPUINFO", host._CPUINFO / "absent")
    monkeypatch.setattr(subprocess, "run", run)
    assert host_facts().cpu == "Some M1"
    assert asked == [("sysctl", "-n", "machdep.cpu.brand_string")]


@pytest.mark.parametrize("failure", [FileNotFoundError(), subprocess.TimeoutExpired("sysctl", 2)])
def test_a_system_that_does_not_tell_is_null(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def run(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(host, "_CPUINFO", host._CPUINFO / "absent")
    monkeypatch.setattr(subprocess, "run", run)
    assert host_facts().cpu is None
