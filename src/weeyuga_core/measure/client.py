"""The client that measures: a request in, an Exchange out."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

import httpx

from weeyuga_core.errors import CallError
from weeyuga_core.measure.exchange import Exchange
from weeyuga_core.measure.quiet import collector_off
from weeyuga_core.measure.transport import MeasuringTransport
from weeyuga_core.measure.turns import LagMonitor
from weeyuga_core.model.plan import Timeouts


class MeasuringClient:
    """Exchanges with servers, one event loop, any number at a time.

    The transport is called directly: an `httpx.AsyncClient` in between would look at redirects, cookies, auth and the
    environment's proxies, none of which a measured call may have, and take longer than the call's own send.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, kernel_stamps: bool = False) -> None:
        """`kernel_stamps` asks for the kernel's receive stamps; an exchange that has none says why."""
        self._transport = MeasuringTransport(ssl_context=ssl_context, kernel_stamps=kernel_stamps)
        self._lag = LagMonitor()

    async def exchange(self, request: httpx.Request, timeouts: Timeouts) -> Exchange:
        """Send the request, wait for the whole answer, and tell when each part of it came.

        Whatever a server or a network does becomes `reply.ending` and `reply.detail`. From the call to the last read no
        garbage is collected. Raises CallError of kind `request` where the request itself cannot be sent.
        """
        self._transport.prepare(request.url)
        with collector_off(), self._lag.watch() as largest_lag_ns:
            try:
                flight = await self._transport.launch(request, timeouts)
            except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
                raise CallError("request", f"the request cannot be sent: {error}") from error
            lag_ns = largest_lag_ns()
        return flight.exchange(lag_ns)

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as `cancelled`."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
