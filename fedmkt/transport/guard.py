"""The one door that partners see: a reverse proxy that passes on a SuperLink's fleet routes alone.

    partner's node --TLS 1.3--> guard (public) --TLS 1.3--> SuperLink (loopback) <-- operator

Guarantee: what reaches the SuperLink through the guard is a POST to one of FLEET_ROUTES, spelt
exactly so, without a query, with the headers of `_passes` alone; anything else gets 404 and an
empty body. No body is held: one whose stated length passes the limit is refused before a byte of it
is read, and one without a stated length is cut off at the limit. Headers, connections, requests a
second, bytes in flight and waiting times are bounded (`GuardSettings`). SIGTERM ends it.

Not guaranteed: who a partner is. The SuperLink checks that, by the nodes' keys; it does so after
it has read a body, so the bytes in flight are what an outsider can make it hold. Nor that nobody
else reaches the SuperLink: let it listen on loopback and start it by `fedmkt.transport.superlink`,
which asks for the operator's token (docs/decisions/0021).
"""

import argparse
import asyncio
import logging
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.core.logs import log_to_stderr
from fedmkt.transport.admission import Buckets, Flight, client_key
from fedmkt.transport.guard_connection import limited_connection
from fedmkt.transport.guard_settings import GuardSettings, read_settings

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
_CONNECT_S = 5.0


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
        self._flight = Flight(settings.most_bytes_in_flight)

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
        length = self._admit(scope)
        headers = [header for header in scope["headers"] if _passes(header[0])]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        body = _Body(receive, self._settings, self._flight)
        path = scope["raw_path"].decode("ascii")
        request = self._client.build_request("POST", path, headers=headers, content=body.chunks())
        try:
            upstream = await self._client.send(request, stream=True)
        finally:
            body.leave()
        try:
            await _relay(upstream, send)
        finally:
            await upstream.aclose()

    def _admit(self, scope: Scope) -> int | None:
        """Return the length a request states, None where it comes in chunks.

        Raises: _RefusedError.
        """
        client = client_key(scope["client"][0] if scope["client"] else "")
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
    """A request's body on its way through, counted while it passes."""

    def __init__(self, receive: Receive, settings: GuardSettings, flight: Flight) -> None:
        self._receive, self._settings, self._flight = receive, settings, flight
        self._size = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._settings.silence_s):
                    message = await self._receive()
            except TimeoutError:
                raise _RefusedError(408) from None
            if message["type"] == "http.disconnect":
                raise _RefusedError(400)
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if self._size + len(chunk) > self._settings.most_body_bytes:
                raise _RefusedError(413)
            if not self._flight.take(len(chunk)):
                raise _RefusedError(503)
            self._size += len(chunk)
            if chunk:
                yield chunk

    def leave(self) -> None:
        self._flight.leave(self._size)
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


# --- the process ------------------------------------------------------------------------------


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers do not wait long for a handshake."""

    handshake_s = 5.0

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = self.handshake_s
        return await super().create_server(*args, **options)


async def serve(settings: GuardSettings) -> None:
    """Listen until SIGTERM or SIGINT. Raises: SettingInvalid (a certificate cannot be read)."""
    timeout = httpx.Timeout(settings.silence_s, connect=_CONNECT_S, pool=_CONNECT_S)
    # A SuperLink closes idle connections after five seconds; none older than two is used again.
    limits = httpx.Limits(max_connections=settings.most_connections, keepalive_expiry=2.0)
    async with httpx.AsyncClient(
        base_url=f"https://{settings.superlink}",
        verify=_trusting(settings.superlink_certificates),
        timeout=timeout,
        limits=limits,
        trust_env=False,
    ) as client:
        client.headers = httpx.Headers({"accept-encoding": "identity"})
        await uvicorn.Server(_server_config(settings, Guard(settings, client))).serve()


def _server_config(settings: GuardSettings, guard: Guard) -> uvicorn.Config:
    config = uvicorn.Config(
        guard,
        host=settings.host,
        port=settings.port,
        http=limited_connection(
            most=settings.most_connections,
            most_each=settings.most_connections_each,
            idle_s=settings.idle_s,
        ),
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=settings.most_header_bytes,
        # Security: a client must not state an address of its own.
        proxy_headers=False,
        server_header=False,
        # A node whose clock is off is told so by this alone; the SuperLink calls it a stranger.
        date_header=True,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingInvalid(
            setting="certificate or key", problem=f"not to be read ({type(error).__name__})"
        ) from None
    assert config.ssl is not None
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return config


def _trusting(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(certificates)
    except (OSError, ssl.SSLError) as error:
        raise SettingInvalid(
            setting="superlink_certificates", problem=f"not to be read ({type(error).__name__})"
        ) from None
    return context


def main() -> None:
    """Run a guard until SIGTERM: `python -m fedmkt.transport.guard --config FILE`."""
    parser = argparse.ArgumentParser(description="Stands before a SuperLink.")
    parser.add_argument("--config", type=Path, required=True, help="settings, TOML")
    options = parser.parse_args()
    # uvicorn raises the signal once more when it has ended; that must not count as a crash.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    log_to_stderr(level=logging.WARNING)
    try:
        settings = read_settings(options.config)
        _Loop.handshake_s = settings.handshake_s
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(serve(settings))
    except FedmktError as error:
        sys.exit(f"{error.code}: {error}")


if __name__ == "__main__":
    main()
