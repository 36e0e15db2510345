"""Stamps can be joined across processes, and times of day are written in one way."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.measure.clock import now_ns, utc_now, utc_text

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
