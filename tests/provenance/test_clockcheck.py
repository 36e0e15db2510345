from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weeyuga_core.provenance.clockcheck import RESOLUTION_S, ClockCheck, classify

S = 1_000_000_000


class Clocks:
    """Two clocks that are moved by hand."""

    def __init__(self) -> None:
        self.mono_ns, self.wall_ns = 5 * S, 1_700_000_000 * S

    def start(self) -> ClockCheck:
        return ClockCheck.start(lambda: (self.mono_ns, self.wall_ns))

    def move(self, mono_s: float, wall_s: float) -> None:
        self.mono_ns += round(mono_s * S)
        self.wall_ns += round(wall_s * S)


def test_clocks_that_agree_do_not_drift() -> None:
    clocks = Clocks()
    check = clocks.start()
    clocks.move(600, 600)
    assert check.drift() == 0
    assert check.elapsed_s() == 600


def test_drift_is_a_share_of_the_monotonic_time_with_the_sign_of_the_wall_clock() -> None:
    clocks = Clocks()
    check = clocks.start()
    clocks.move(1000, 1020)
    assert check.drift() == pytest.approx(0.02)
    clocks.move(1000, 960)
    assert check.drift() == pytest.approx(-0.01)


def test_before_any_time_has_passed_there_is_no_drift() -> None:
    assert Clocks().start().drift() == 0


@pytest.mark.parametrize(
    ("drift", "verdict"),
    [(0.0, None), (0.001, None), (0.0011, "warn"), (0.01, "warn"), (0.011, "invalid"), (0.5, "invalid")],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_long_run_is_judged_by_its_share(drift: float, verdict: str | None, sign: int) -> None:
    assert classify(sign * drift, 3600) == verdict


def test_a_difference_below_the_resolution_is_no_evidence() -> None:
    # 1 % of 4.9 s is 49 ms, of 5.1 s 51 ms.
    assert classify(0.0101, 4.9) is None
    assert classify(0.0101, 5.1) == "invalid"


@given(st.floats(-1, 1), st.floats(0, 1e6))
def test_what_is_called_drift_is_always_longer_than_the_resolution(drift: float, elapsed_s: float) -> None:
    if classify(drift, elapsed_s) is not None:
        assert abs(drift) * elapsed_s >= RESOLUTION_S
