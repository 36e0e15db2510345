from __future__ import annotations

from collections.abc import Iterator

import pytest

from weeyuga_core.testing.golden_process import GoldenServer


@pytest.fixture(scope="session")
def golden() -> Iterator[GoldenServer]:
    """One golden server for all tests: replies are independent of each other."""
    with GoldenServer() as server:
        yield server
