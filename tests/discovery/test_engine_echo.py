"""The example plugin as a stranger meets it: built as a wheel, installed into a fresh environment, run, removed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from attrs import frozen

from weeyuga_core.interfaces import EngineAdapter
from weeyuga_core.provenance.lock import LOCK_DIR_ENV
from weeyuga_core.testing.contract import EngineAdapterContract
from weeyuga_core.testing.fakes import fake_target

EXAMPLE = Path(__file__).parents[2] / "examples" / "engine_echo"
REPLY = b'{"word": "good "}\n{"word": "morning"}\n{"end": "length", "prompt_tokens": 3, "completion_tokens": 2}\n'


class TestEchoAdapter(EngineAdapterContract):
    """The adapter owes what every adapter owes."""

    def adapter(self) -> EngineAdapter:
        spec = importlib.util.spec_from_file_location("weeyuga_engine_echo", EXAMPLE / "weeyuga_engine_echo.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.EchoAdapter(fake_target(), httpx.AsyncClient())

    def replies(self) -> Sequence[bytes]:
        return [REPLY]


@frozen
class Environment:
    """A virtual environment of its own that sees this one's packages, and the folder its commands run in."""

    python: Path
    folder: Path

    def pip(self, *words: str) -> None:
        """Install into, or remove from, the environment; no network."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        subprocess.run([*pip, *words], check=True, capture_output=True, timeout=120)

    def bench(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        argv = [str(self.python), "-m", "weeyuga_core", *words]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("WEEYUGA", "PYTHON"))}
        environ[LOCK_DIR_ENV] = str(self.folder)  # what else is measured on this host does not matter to these tests
        return subprocess.run(argv, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built from a copy, so that nothing is left in the checkout."""
    pytest.importorskip("pip", reason="building and installing a wheel needs pip")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(EXAMPLE, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run([*build, str(folder / "source")], check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A fresh environment. The packages of this one, editable ones included, are reached through a .pth line."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    ours = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(ours)))
    shutil.copytree(EXAMPLE, tmp_path / "work")
    return Environment(python, tmp_path / "work")


def echo_rows(environment: Environment) -> list[dict[str, str]]:
    answer = environment.bench("plugins", "list", "--json")
    assert answer.returncode == 0, answer.stderr
    return [row for row in json.loads(answer.stdout)["data"] if row["dist"] == "weeyuga-bench-echo"]


def test_echo_is_listed_while_it_is_installed(wheel, environment):
    assert echo_rows(environment) == []
    environment.pip("install", "--no-index", "--no-deps", str(wheel))
    (row,) = echo_rows(environment)
    assert (row["name"], row["kind"], row["state"], row["version"]) == ("echo", "engine", "ok", "1.0")
    assert sorted(row["api"].split(",")) == ["<0.2", ">=0.1"]
    environment.pip("uninstall", "-y", "weeyuga-bench-echo")
    assert echo_rows(environment) == []


def test_echo_runs_end_to_end_and_is_missed_when_it_is_gone(wheel, environment):
    environment.pip("install", "--no-index", "--no-deps", str(wheel))
    run = ("run", "--cells-yaml", "cells.yaml", "--smoke", "--allow-dirty", "--force-load")
    measured = environment.bench(*run)
    assert measured.returncode == 0, measured.stdout + measured.stderr
    (ledger,) = (environment.folder / "runs").glob("*.jsonl")
    (call,) = [record for record in map(json.loads, ledger.read_text().splitlines()) if record["type"] == "call"]
    assert (call["cell_id"], call["error"], call["finish_reason"]) == ("local:echo:five-ms", None, "stop")
    assert call["completion_tokens"] == call["prompt_tokens"] == call["delta_count"]

    environment.pip("uninstall", "-y", "weeyuga-bench-echo")
    missed = environment.bench(*run)
    assert missed.returncode == 2, missed.stdout + missed.stderr
    assert "no engine 'echo' is installed" in missed.stderr
    assert "pip install weeyuga-bench-echo" in missed.stderr
    assert "Traceback" not in missed.stderr
