"""What the guard does with a request: passes it on to the SuperLink, or refuses it.

Guarantee: what is passed on is a POST to one of FLEET_ROUTES, spelt exactly so, without a query,
with the headers of `_passes` alone; anything else gets 404 and an empty body. No body is held: one
whose stated length passes the limit is refused before a byte of it is read, and one without a
stated length is cut off at the limit. Requests a second and bytes in flight are bounded, in all and
of one address, and a body must come at a least rate. Once a client is gone, the SuperLink is no
longer waited for.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.types import Message, Receive, Scope, Send

from fedmkt.transport.admission import Buckets, Pace, Shares, client_key
from fedmkt.transport.guard_settings import GuardSettings

_PREFIX = "/v1/fleet/"
FLEET_ROUTES = frozenset(
    _PREFIX + name
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What an admitted node calls. Its own `register-node` and `unregister-node` are the operator's."""

_log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """A request that is not passed on, and the status that says so."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Guard:
    """The ASGI application. client: connected to nothing but the SuperLink."""

    def __init__(self, settings: GuardSettings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._buckets = Buckets(settings.requests_per_s_each, settings.burst_each)
        self._flight = Shares(settings.most_bytes_in_flight, settings.most_bytes_in_flight_each)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._settings.request_s):
                await self._pass_on(scope, receive, answer)
            return
        except _RefusedError as refusal:
            status = refusal.status
        except (TimeoutError, httpx.TimeoutException):
            status = 504
        except httpx.HTTPError as error:
            _log.warning("the SuperLink did not answer (%s)", type(error).__name__)
            status = 502
        if not started:
            await _refuse(send, status)
        # An answer that has begun cannot be taken back; the server cuts the connection.

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = client_key(scope["client"][0] if scope["client"] else "")
        length = self._admit(client, scope)
        headers = [header for header in scope["headers"] if _passes(header[0])]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        body = _Body(receive, self._settings, self._flight, client)
        path = scope["raw_path"].decode("ascii")
        request = self._client.build_request("POST", path, headers=headers, content=body.chunks())
        try:
            async with body.sender_is_there():
                upstream = await self._client.send(request, stream=True)
        finally:
            body.leave()
        try:
            await _relay(upstream, send)
        finally:
            await upstream.aclose()

    def _admit(self, client: str, scope: Scope) -> int | None:
        """Return the length a request states, None where it comes in chunks.

        Raises: _RefusedError.
        """
        if not self._buckets.take(client, time.monotonic()):
            raise _RefusedError(429)
        # The server's own limit holds for a head that comes in pieces, not for a whole one.
        if _head_bytes(scope) > self._settings.most_header_bytes:
            raise _RefusedError(431)
        # Security: the path as it was sent. What is decoded or tidied here could be read in another
        # way by what comes after.
        path = scope["raw_path"].decode("ascii", "replace")
        if scope["method"] != "POST" or path not in FLEET_ROUTES or scope["query_string"]:
            raise _RefusedError(404)
        stated = [value for name, value in scope["headers"] if name == b"content-length"]
        if not stated:
            return None
        # Security: two ways of saying where a body ends are two bodies.
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            raise _RefusedError(400)
        length = int(stated[0])
        if length > self._settings.most_body_bytes:
            raise _RefusedError(413)
        return length


class _Body:
    """A request's body on its way through, counted while it passes.

    client: whose share of the bytes in flight it takes.
    """

    def __init__(
        self, receive: Receive, settings: GuardSettings, flight: Shares, client: str
    ) -> None:
        self._receive, self._settings, self._flight = receive, settings, flight
        self._client = client
        self._pace = Pace(settings.least_body_bytes_per_s, settings.silence_s)
        self._size = 0
        self._whole = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            chunk, more = await self._next()
            if self._size + len(chunk) > self._settings.most_body_bytes:
                raise _RefusedError(413)
            if not self._flight.take(self._client, len(chunk)):
                raise _RefusedError(503)
            self._size += len(chunk)
            if chunk:
                yield chunk
        self._whole.set()

    async def _next(self) -> tuple[bytes, bool]:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._pace.left_s):
                message = await self._receive()
        except TimeoutError:
            raise _RefusedError(408) from None
        if message["type"] == "http.disconnect":
            raise _RefusedError(400)
        chunk = message.get("body", b"")
        # The time that the SuperLink takes to read is not the sender's.
        self._pace.arrived(len(chunk), time.monotonic() - asked)
        return chunk, message.get("more_body", False)

    @asynccontextmanager
    async def sender_is_there(self) -> AsyncIterator[None]:
        """Let what is done inside go on until the sender is gone. Raises: TimeoutError."""
        async with asyncio.timeout(None) as until_gone:
            watching = asyncio.create_task(self._watch(until_gone))
            try:
                yield
            finally:
                watching.cancel()

    async def _watch(self, until_gone: asyncio.Timeout) -> None:
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        until_gone.reschedule(asyncio.get_running_loop().time())

    def leave(self) -> None:
        self._flight.leave(self._client, self._size)
        self._size = 0


async def _relay(upstream: httpx.Response, send: Send) -> None:
    headers = [header for header in upstream.headers.raw if _comes_back(header[0].lower())]
    start = {"type": "http.response.start", "status": upstream.status_code, "headers": headers}
    await send(start)
    async for chunk in upstream.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int) -> None:
    # Closing spares the guard a body that it will not read.
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _head_bytes(scope: Scope) -> int:
    lines = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return lines + len(scope["raw_path"]) + len(scope["query_string"])


def _passes(name: bytes) -> bool:
    """Return whether a request's header goes on: Flower's own for nodes, and the content's type."""
    # Security: no operator's token and no executor's signature comes in by this door.
    if name.startswith((b"flwr-superexec", b"flwr-task")):
        return False
    return name.startswith(b"flwr-") or name in (b"content-type", b"accept")


def _comes_back(name: bytes) -> bool:
    return name.startswith(b"flwr-") or name in (b"content-type", b"content-length")
