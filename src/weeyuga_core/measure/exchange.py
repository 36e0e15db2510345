"""What the measuring transport hands over when a call has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import frozen

from weeyuga_core.interfaces import Reply

StampPoint = Literal["socket", "tls", "kernel"]


@frozen(kw_only=True)
class Exchange:
    """One request and everything that came back, with the stamps of the core's clock.

    `_ns` are durations since t0, the stamp just before the first send, except `connect_ns` (a duration that ended
    before t0; None on a reused connection) and `t0_clock_ns` (a reading of the monotonic clock, to join with other
    readings in this process; never recorded).
    """

    reply: Reply
    t0_clock_ns: int
    started_at_utc: str
    connection: Literal["new", "reused"] | None
    """None when no connection was had."""
    retried: bool = False
    """A reused connection was dead before any byte was answered, and the request went out once more on a new one."""
    stamp_point: StampPoint = "socket"
    connect_ns: int | None = None
    write_ns: int | None = None
    """When the send returned."""
    headers_ns: int | None = None
    """The read that completed the response head."""
    end_ns: int = 0
    """The read that ended the body, or when the exchange was given up."""
    lag_ns: int = 0
    """Largest delay of the event loop seen while this exchange ran."""
    stamp_note: str | None = None
    """Why the kernel's stamps were not had, or not for every read, where they were asked for."""
    receive_lags_ns: Sequence[int] = ()
    """Per read that has the kernel's stamp, how much later this process had the bytes."""
