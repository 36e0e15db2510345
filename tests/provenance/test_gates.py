from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.errors import ConfigError, ExitCode, GateRefused
from weeyuga_core.provenance.gates import (
    MAX_LOAD,
    Window,
    check_dirty,
    check_load,
    check_publication,
    check_quiet_hours,
    wait_for_load,
)
from weeyuga_core.provenance.git import GitFacts


def facts(*in_the_way: str) -> GitFacts:
    return GitFacts(sha="0" * 40, dirty=True, files=("?? runs/", *in_the_way), gate_files=in_the_way)


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 4, 29, hour, minute, tzinfo=UTC)


def test_uncommitted_changes_are_refused_with_their_number_names_and_flag() -> None:
    with pytest.raises(GateRefused) as refusal:
        check_dirty(facts(*(f"M file{n}" for n in range(7))), allow=False)
    message = str(refusal.value)
    assert "7 uncommitted changes" in message
    assert "M file0, M file1, M file2, M file3, M file4, and 2 more" in message
    assert "--allow-dirty" in message
    assert refusal.value.exit_code == ExitCode.REFUSED


def test_a_name_cannot_forge_a_line_of_the_message() -> None:
    with pytest.raises(GateRefused) as refusal:
        check_dirty(facts("?? a\nb\x1b[2J"), allow=False)
    assert "?? a\\nb\\x1b[2J" in refusal.value.message


def test_allowed_changes_a_clean_tree_and_no_repository_pass() -> None:
    check_dirty(facts("M a"), allow=True)
    check_dirty(facts(), allow=False)
    check_dirty(GitFacts(sha=None, dirty=None, note="not in a git repository"), allow=False)


def test_a_load_at_the_limit_passes_and_above_it_is_refused_with_the_figure_and_the_flags() -> None:
    assert check_load(MAX_LOAD, force=False) is None
    with pytest.raises(GateRefused) as refusal:
        check_load(4.01, force=False)
    assert all(word in str(refusal.value) for word in ("4.01", "4.0", "--force-load", "--wait-load"))


def test_a_forced_load_leaves_a_warning_with_the_figure() -> None:
    warning = check_load(9.5, force=True)
    assert warning is not None
    assert "9.50" in warning
    assert check_load(1.0, force=True) is None


class Host:
    """A host whose load changes at each look and whose clock advances only by sleeping."""

    def __init__(self, *loads: float) -> None:
        self.loads = list(loads)
        self.now = 100.0
        self.told: list[tuple[float, float]] = []

    def load(self) -> tuple[float, float, float]:
        return (self.loads.pop(0) if len(self.loads) > 1 else self.loads[0]), 0.0, 0.0

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def wait(self, limit_s: float) -> bool:
        return asyncio.run(
            wait_for_load(
                limit_s,
                load=self.load,
                sleep=self.sleep,
                clock=lambda: self.now,
                tell=lambda load1, left: self.told.append((load1, left)),
            )
        )


def test_waiting_ends_when_the_load_has_fallen_and_tells_meanwhile() -> None:
    host = Host(9.0, 5.0, 4.0)
    assert host.wait(60) is True
    assert [load1 for load1, _ in host.told] == [9.0, 5.0]
    assert host.told[0][1] == 60


def test_waiting_ends_at_the_limit_and_not_after_it() -> None:
    host = Host(9.0)
    assert host.wait(7) is False
    assert host.now == 107


def test_a_quiet_host_is_not_waited_for() -> None:
    host = Host(0.5)
    assert host.wait(60) is True
    assert host.now == 100
    assert host.told == []


@pytest.mark.parametrize(
    ("text", "moment", "inside"),
    [
        ("02:00-05:00Z", at(2), True),
        ("02:00-05:00Z", at(4, 59), True),
        ("02:00-05:00Z", at(5), False),
        ("02:00-05:00Z", at(1, 59), False),
        ("22:30-01:15Z", at(23), True),
        ("22:30-01:15Z", at(0), True),
        ("22:30-01:15Z", at(1, 15), False),
        ("22:30-01:15Z", at(22, 29), False),
        ("20:00-24:00Z", at(23, 59), True),
        ("20:00-24:00Z", at(0), False),
        # 06:30 in a zone four hours ahead is 02:30 in UTC.
        ("02:00-05:00Z", datetime(2026, 4, 29, 6, 30, tzinfo=timezone(timedelta(hours=4))), True),
    ],
)
def test_a_window_holds_its_start_and_not_its_end(text: str, moment: datetime, inside: bool) -> None:
    assert Window.parse(text).holds(moment) is inside


@given(start=st.integers(0, 1439), length=st.integers(1, 1439), minute=st.integers(0, 1439))
def test_a_window_holds_as_many_minutes_as_it_is_long(start: int, length: int, minute: int) -> None:
    window = Window(start=start, end=(start + length) % 1440)
    moment = at(0) + timedelta(minutes=minute)
    assert window.holds(moment) is ((minute - start) % 1440 < length)


@pytest.mark.parametrize(
    "text", ["02:00-05:00", "2:00-5:00Z", "25:00-05:00Z", "02:60-03:00Z", "24:00-03:00Z", "03:00-03:00Z"]
)
@pytest.mark.parametrize("allow", [True, False])
def test_a_malformed_window_is_named_with_its_key(text: str, allow: bool) -> None:
    with pytest.raises(ConfigError, match=r"nodes\.pavilion\.quiet_hours"):
        check_quiet_hours({"pavilion": text}, ["pavilion"], at(3), allow)


def test_outside_its_quiet_hours_a_node_is_refused_with_window_time_and_flag() -> None:
    windows = {"pavilion": "02:00-05:00Z", "attic": "00:00-24:00Z", "unused": "02:00-05:00Z"}
    with pytest.raises(GateRefused) as refusal:
        check_quiet_hours(windows, ["mac", "pavilion", "attic", "pavilion"], at(13, 7), allow=False)
    message = str(refusal.value)
    assert message.count("pavilion (02:00-05:00Z)") == 1
    assert "13:07Z" in message
    assert "--outside-quiet-hours" in message
    assert "attic" not in message
    assert "unused" not in message


def test_inside_the_window_without_a_window_or_with_consent_a_run_passes() -> None:
    windows = {"pavilion": "02:00-05:00Z"}
    check_quiet_hours(windows, ["pavilion"], at(3), allow=False)
    check_quiet_hours(windows, ["mac"], at(13), allow=False)
    check_quiet_hours(windows, ["pavilion"], at(13), allow=True)


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        check_quiet_hours({}, [], datetime(2026, 4, 29, 3), allow=False)  # noqa: DTZ001  # the mistake under test


def test_a_publication_with_a_sick_cell_is_refused_with_every_cell_and_reason() -> None:
    check_publication([])
    with pytest.raises(GateRefused) as refusal:
        check_publication([("mac:a:b", "connection refused"), ("mac:a:c", "still loading")])
    message = str(refusal.value)
    assert "2 cells" in message
    assert "mac:a:b: connection refused" in message
    assert "mac:a:c: still loading" in message
    assert "--for-publication" in message
