"""Flags of a call whose client was late, and streams for which it is not to blame."""

from __future__ import annotations

import pytest
from attrs import evolve

from weeyuga_core.measure.lateness import lateness_flags
from weeyuga_core.measure.timing import time_call
from weeyuga_core.model.calibration import UNCALIBRATED, Promises
from weeyuga_core.testing.fakes import MS, fake_exchange, fake_stream

PROMISES = Promises(lag_ns=2 * MS, coalesced_share=0.01)
TOKEN_NS = 20 * MS


def flags(stamps: list[int], lag_ns: int, promises: Promises = PROMISES) -> tuple[str, ...]:
    return lateness_flags(time_call(fake_exchange(lag_ns=lag_ns), fake_stream(stamps)), promises)


def steady(count: int = 30) -> list[int]:
    """Tokens that come one by one."""
    return [TOKEN_NS * (1 + number) for number in range(count)]


def joined(count: int = 30, late_from: int = 10, late: int = 3) -> list[int]:
    """The same, but some deltas came in one read with the one after them."""
    stamps = steady(count)
    stamps[late_from : late_from + late] = [stamps[late_from + late]] * late
    return stamps


@pytest.mark.parametrize(("lag_ns", "flagged"), [(0, False), (2 * MS, False), (2 * MS + 1, True)])
def test_more_lag_than_promised_is_a_flag(lag_ns: int, flagged: bool) -> None:
    assert bool(flags(steady(), lag_ns)) is flagged


def test_a_late_loop_spoils_no_stamp_of_the_kernel() -> None:
    def kernel_flags(stamps: list[int]) -> tuple[str, ...]:
        timing = time_call(fake_exchange(lag_ns=900 * MS, stamp_point="kernel"), fake_stream(stamps))
        return lateness_flags(timing, PROMISES)

    assert kernel_flags(steady()) == ()
    # Of deltas that are read together only the last has a stamp of its own.
    assert [flag.partition(":")[0] for flag in kernel_flags(joined())] == ["client_lag", "client_coalesced"]


def test_the_flag_names_both_numbers_and_who_promises() -> None:
    assert flags(steady(), 12_300_000) == ("client_lag: 12.3 ms, calibration promises 2.0 ms",)
    assert flags(steady(), 12_300_000, UNCALIBRATED) == (
        "client_lag: 12.3 ms, an uncalibrated host is held to 10.0 ms",
    )


def test_deltas_that_a_late_client_joined_are_a_flag_of_their_own() -> None:
    # 3 of 29 gaps are nothing; the gap before them is four tokens long, and the client was late for most of it.
    generous = Promises(lag_ns=1_000 * MS, coalesced_share=0.01)
    assert flags(joined(), 3 * TOKEN_NS, generous) == (
        "client_coalesced: 10.3% of the deltas shared a read, calibration promises 1.0%",
    )
    assert flags(joined(), 3 * TOKEN_NS, Promises(lag_ns=1_000 * MS, coalesced_share=0.11)) == ()


@pytest.mark.parametrize(
    ("stamps", "lag_ns", "why"),
    [
        (joined(), MS, "a client that was never late cannot have joined anything"),
        ([TOKEN_NS * (1 + number // 2) for number in range(30)], MS, "a server that writes tokens in pairs"),
        ([TOKEN_NS * (1 + number // 20) for number in range(60)], 2 * MS, "a proxy that holds twenty tokens back"),
        (joined(late=1), 3 * TOKEN_NS, "a single pair shows nothing"),
        (joined(count=6, late_from=1), 3 * TOKEN_NS, "so few deltas show nothing"),
        ([TOKEN_NS], 3 * TOKEN_NS, "there are no gaps"),
        ([], 3 * TOKEN_NS, "there are no deltas"),
    ],
)
def test_a_client_is_not_blamed_for_what_others_joined(stamps: list[int], lag_ns: int, why: str) -> None:
    assert flags(stamps, lag_ns, Promises(lag_ns=1_000 * MS, coalesced_share=0.0)) == (), why


def test_a_stream_that_a_proxy_held_back_is_the_proxys() -> None:
    generous = Promises(lag_ns=1_000 * MS, coalesced_share=0.01)
    timing = time_call(fake_exchange(lag_ns=3 * TOKEN_NS), fake_stream(joined()))
    assert lateness_flags(timing, generous)
    held_back = evolve(timing, call_flags=("buffered: 27 of 29 gaps between deltas under 1.0 ms",))
    assert lateness_flags(held_back, generous) == ()
