"""The one door that partners see: a reverse proxy that passes on a SuperLink's fleet routes alone.

    partner's node --TLS 1.3--> guard (public) --TLS 1.3--> SuperLink (loopback) <-- operator

Guarantee: what reaches the SuperLink through the guard is what `fedmkt.transport.guard_app` passes
on. Headers, connections, requests a second, bytes in flight, waiting times and lines of log are
bounded (`GuardSettings`). SIGTERM ends it.

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
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from fedmkt.core.errors import FedmktError, SettingInvalid
from fedmkt.core.logs import log_to_stderr
from fedmkt.transport.admission import Buckets, Shares
from fedmkt.transport.guard_app import Guard
from fedmkt.transport.guard_connection import limited_connection
from fedmkt.transport.guard_door import make_room, open_doors
from fedmkt.transport.guard_settings import GuardSettings, read_settings

_CONNECT_S = 5.0
_LINES_PER_S, _LINES_AT_ONCE = 0.1, 20


class SparseLines(logging.Filter):
    """Drops lines of a logger that says more than a few: whoever calls must not fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets = Buckets(rate=_LINES_PER_S, burst=_LINES_AT_ONCE)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        return self._buckets.take(record.name, time.monotonic())


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers do not wait long for a handshake."""

    handshake_s = 5.0

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = self.handshake_s
            # Saying goodbye holds a place as well.
            options["ssl_shutdown_timeout"] = self.handshake_s
        return await super().create_server(*args, **options)


async def serve(settings: GuardSettings) -> None:
    """Listen until SIGTERM or SIGINT.

    Raises: SettingInvalid (a certificate cannot be read, the address cannot be listened on, or so
    many connections cannot be held).
    """
    make_room(settings.most_connections)
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
        config = _server_config(settings, Guard(settings, client))
        places = Shares(settings.most_connections, settings.most_connections_each)
        await uvicorn.Server(config).serve(open_doors(settings.host, settings.port, places))


def _server_config(settings: GuardSettings, guard: Guard) -> uvicorn.Config:
    config = uvicorn.Config(
        guard,
        http=limited_connection(idle_s=settings.idle_s),
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=settings.most_header_bytes,
        # Security: a client must not state an address of its own.
        proxy_headers=False,
        server_header=False,
        # A node whose clock is off is told so by this alone; the SuperLink calls it a stranger.
        date_header=True,
        access_log=False,
        log_config=None,
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
    for handler in logging.getLogger().handlers:
        handler.addFilter(SparseLines())
    try:
        settings = read_settings(options.config)
        _Loop.handshake_s = settings.handshake_s
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(serve(settings))
    except FedmktError as error:
        sys.exit(f"{error.code}: {error}")


if __name__ == "__main__":
    main()
