"""Connections to the guard: how long one may ask for nothing.

Guarantee: a connection that has not sent a whole request head within `idle_s` of its beginning, or
of its last answer, is ended, however slowly it goes on sending.
Not guaranteed: anything during a TLS handshake; that has a time limit of its own. How many there
are is counted at the door (`guard_door`).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def limited_connection(*, idle_s: float) -> type[H11Protocol]:
    """Return the protocol of a server that ends connections which ask for nothing for so long."""

    class Limited(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """Let the deadline run while no request does, from the time at which none did."""
            running: Any = self.cycle  # None before the first request
            if running is not None and not running.response_complete:
                self._forget_deadline()
            elif self._deadline is None and not self.transport.is_closing():
                self._deadline = self.loop.call_later(idle_s, self.transport.abort)

        def _forget_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Limited
