from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("contract", "pytest"),
        ("sink_contract", "pytest"),
        ("fakes", "pytest"),
        ("golden_adapter", "pytest"),
        ("golden_process", "pytest"),
        # It starts once for every calibration.
        ("golden", "httpx"),
    ],
)
def test_the_kit_can_be_used_without(module: str, unwanted: str) -> None:
    code = f"import sys, weeyuga_core.testing.{module}; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
