"""What every test gets: no setting of the operator's, and a lock of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _away_from_the_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither see the operator's WEEYUGA_ settings nor hold up, or wait for, a run on this host."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WEEYUGA_")]:
            if name != "WEEYUGA_REAL_REQUIRED":
                patch.delenv(name)
        patch.setenv("WEEYUGA_LOCK_DIR", str(tmp_path_factory.mktemp("lock")))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this working copy."""
    return Path(__file__).parents[1]
