from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from weeyuga_core import config

Write = Callable[[str | bytes], Path]


@pytest.fixture
def cells_file(tmp_path: Path) -> Write:
    """Write cells.yaml."""
    return _writer(tmp_path / "cells.yaml")


@pytest.fixture
def prompts_file(tmp_path: Path) -> Write:
    """Write prompts.yaml."""
    return _writer(tmp_path / "prompts.yaml")


@pytest.fixture
def problems(cells_file: Write) -> Callable[[str | bytes], list[config.Problem]]:
    """The problems of a text as cells.yaml; none when it loads."""

    def check(text: str | bytes) -> list[config.Problem]:
        try:
            config.load(cells_file(text))
        except config.ConfigErrors as errors:
            return list(errors.problems)
        return []

    return check


def _writer(path: Path) -> Write:
    def write(text: str | bytes) -> Path:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
