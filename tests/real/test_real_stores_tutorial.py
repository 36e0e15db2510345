"""The commands of the telemetry tutorial that need a store, run on one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from store_parts import DEFAULT, GOLDEN, ROOT, running

pytestmark = pytest.mark.real

BLOCK = re.compile(r"<!-- not run: it needs a store; [^\n]* -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
BLOCKS = BLOCK.findall((ROOT / "docs" / "telemetry.md").read_text())


@pytest.mark.parametrize("name", DEFAULT)
def test_the_tutorial_does_what_it_says(name: str, tmp_path: Path) -> None:
    assert len(BLOCKS) == 3
    shutil.copytree(GOLDEN.parent, tmp_path / "tests" / "golden")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    with running(name, tmp_path) as node:
        environment = os.environ | {"WEEYUGA_ES_URL": node.url, "PATH": path}
        for command, expected in [pair for block in BLOCKS for pair in COMMAND.findall(block)]:
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*?")
            said = (done.stdout + done.stderr).strip()
            assert re.fullmatch(pattern, said, re.DOTALL) or not expected, f"$ {command}\n{said}"
