"""Stamps can be joined across processes, and times of day are written in one way."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.measure.clock import now_ns, together, utc_now, utc_text, wall_ns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_stamps_of_another_process_fall_between_ours():
    code = "from weeyuga_core.measure.clock import now_ns; print(now_ns())"
    before = now_ns()
    between = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert before < between < now_ns()


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_text_names_the_millisecond(ns):
    text = utc_text(ns)
    assert text.endswith("Z")
    assert len(text) == len("1970-01-01T00:00:00.000Z")
    assert datetime.fromisoformat(text) == EPOCH + timedelta(milliseconds=ns // 1_000_000)


def test_now_is_now():
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= datetime.fromisoformat(utc_now()) <= datetime.now(UTC)


def read(mono, wall):
    """Both clocks together, when they show these readings one after the other."""
    mono, wall = iter(mono), iter(wall)
    return together(lambda: next(mono), lambda: next(wall))


def test_both_clocks_are_read_again_where_something_came_between():
    # The first pair of readings is a millisecond apart, the second one 100 ns.
    assert read([0, 1_000_000, 2_000_000, 2_000_100], [900_000, 1_002_000_000]) == (2_000_000, 1_002_000_000)


def test_of_readings_that_are_all_far_apart_the_nearest_are_taken():
    assert read([0, 900_000, 1_000_000, 1_100_000, 2_000_000, 2_800_000], [7, 8, 9]) == (1_000_000, 8)


def test_the_real_clocks_are_read_by_default():
    before = now_ns(), wall_ns()
    mono, wall = together()
    assert before[0] <= mono <= now_ns()
    assert before[1] <= wall <= wall_ns()
