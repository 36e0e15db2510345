"""Facts of the machine that drives the calls."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from pathlib import Path

from attrs import frozen

_CPUINFO = Path("/proc/cpuinfo")
_SYSCTL_TIMEOUT_S = 2.0


@frozen(kw_only=True)
class HostFacts:
    """The harness host. `cpu_count` is what this process may use; `memory_bytes` is what the machine has."""

    host: str
    python: str
    platform: str
    cpu: str | None
    cpu_count: int | None
    memory_bytes: int | None


def host_facts() -> HostFacts:
    """Detect the facts; null where the system does not tell."""
    return HostFacts(
        host=socket.gethostname(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        cpu=_cpu_model(),
        cpu_count=_usable_cpus(),
        memory_bytes=_memory_bytes(),
    )


def load_avg() -> tuple[float, float, float]:
    """Load averages over 1, 5 and 15 minutes, to two decimals."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def _usable_cpus() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_model() -> str | None:
    if _CPUINFO.exists():
        return cpu_model_of(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    return _sysctl("machdep.cpu.brand_string")


def cpu_model_of(cpuinfo: str) -> str | None:
    """The model's name in the text of /proc/cpuinfo, or None: some architectures name only the board, or nothing."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    named: dict[str, str] = {}
    for key, _, value in pairs:
        if value.strip():
            named.setdefault(key.strip(), value.strip())
    return named.get("model name") or named.get("Model") or named.get("Hardware")


def _memory_bytes() -> int | None:
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total if total > 0 else None
    told = _sysctl("hw.memsize")
    return int(told) if told and told.isdigit() else None


def _sysctl(name: str) -> str | None:
    """The value of a kernel setting where the `sysctl` program knows it, else None."""
    try:
        done = subprocess.run(
            ("sysctl", "-n", name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SYSCTL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None if done.returncode == 0 else None
