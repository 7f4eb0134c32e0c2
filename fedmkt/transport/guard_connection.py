"""Connections to the guard: how many there may be, and how long one may ask for nothing.

Guarantee: a connection over a limit is cut before a byte of it is read. One that has not sent a
whole request head within `idle_s` of its beginning, or of its last answer, is ended, however
slowly it goes on sending.
Not guaranteed: anything during a TLS handshake; that has a time limit of its own.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedmkt.transport.admission import client_key


def limited_connection(*, most: int, most_each: int, idle_s: float) -> type[H11Protocol]:
    """Return the protocol of a server with at most so many connections, in all and an address."""
    open_by_client: Counter[str] = Counter()

    class Limited(H11Protocol):
        _key = ""
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._key = client_key(self.client[0] if self.client else "")
            open_by_client[self._key] += 1
            if len(self.connections) > most or open_by_client[self._key] > most_each:
                transport.abort()
            else:
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            open_by_client[self._key] -= 1
            if open_by_client[self._key] <= 0:
                del open_by_client[self._key]
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
