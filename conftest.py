"""What every test gets: no setting of the operator's, and a lock of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and no test's.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.fixture(scope="session", autouse=True)
def _away_from_the_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither see the operator's WEEYUGA_ settings nor hold up, or wait for, a run on this host."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WEEYUGA_")]:
            if name != "WEEYUGA_REAL_REQUIRED":
                patch.delenv(name)
        patch.setenv("WEEYUGA_LOCK_DIR", str(tmp_path_factory.mktemp("lock")))
        # A calibration of the operator's would hold the runs of tests to what a quiet host can do.
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_probes() -> Iterator[None]:
    """A server that a busy machine stops for a second is not down: no test measures how soon one says that it is up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weeyuga_core.run.session.PROBE_S", 60.0)
        patch.setattr("weeyuga_core.testing.golden_adapter._HEALTH_S", 60.0)
        # Nor does a kernel give no stamps because this process was stopped while it waited for the first.
        patch.setattr("weeyuga_core.measure.kernel.WITNESS_S", 10.0)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this working copy."""
    return Path(__file__).parent


def _skipped_real(config: pytest.Config) -> list[str]:
    """Tests of real parts that were skipped although their parts are said to be installed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("WEEYUGA_REAL_REQUIRED") != "1":
        return []
    return [report.nodeid for report in reporter.stats.get("skipped", []) if "real" in report.keywords]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the suite for a skip that the installed parts should have prevented."""
    if _skipped_real(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name those skips."""
    for nodeid in _skipped_real(config):
        terminalreporter.line(f"skipped although its part is installed: {nodeid}", red=True)
