"""Who calls a guard byte by byte, and a stand-in for the SuperLink behind it.

A stand-in answers every request with 200 and keeps the bodies' lengths; to a path that ends in
`pull-messages` it gives no answer until the guard has gone. It listens on loopback.
"""

import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from end_to_end.superlink import HOST, START_S, free_ports

from fedmkt.deployment.certificates import write_certificates


class Trusted(Protocol):
    """Whose certificate in `folder`, ca.crt, a caller trusts."""

    @property
    def folder(self) -> Path: ...


def raw(link: Trusted, port: int | None, *, source: str = HOST) -> ssl.SSLSocket:
    """Return a connection to a guard. source: the caller's own address, on loopback."""
    context = ssl.create_default_context(cafile=str(link.folder / "ca.crt"))
    plain = socket.create_connection((HOST, port), 10, source_address=(source, 0))
    return context.wrap_socket(plain, server_hostname=HOST)


def answer_to(link: Trusted, port: int | None, request: bytes, *, source: str = HOST) -> bytes:
    """Return all that a guard answers to a request until it ends the connection."""
    with raw(link, port, source=source) as connection:
        connection.sendall(request)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends it, however it does."""
    received = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def head_of(path: str, *lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


class StandIn:
    """A server in the SuperLink's place, and the guards before it."""

    def __init__(self, folder: Path, latest: ssl.TLSVersion) -> None:
        self.folder = folder
        self.asked, self.let_go = threading.Event(), threading.Event()
        self._guards: list[subprocess.Popen[bytes]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        context.maximum_version = latest
        self._server = _Server((HOST, 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def start_guard(self, name: str, **changes: str | float) -> tuple[int, subprocess.Popen[bytes]]:
        """Start a guard and return its port and process; it may not come to listen."""
        (port,) = free_ports(1)
        settings = {
            "host": HOST, "port": port, "superlink": f"{HOST}:{self._server.server_port}",
            "certificate": f"{self.folder}/server.pem", "key": f"{self.folder}/server.key",
            "superlink_certificates": f"{self.folder}/ca.crt", **changes,
        }  # fmt: skip
        file = self.folder / f"{name}.toml"
        file.write_text("".join(f"{key} = {json.dumps(settings[key])}\n" for key in settings))
        command = [sys.executable, "-m", "fedmkt.transport.guard", "--config", str(file)]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        self._guards.append(process)
        wait_until(lambda: process.poll() is not None or _listens(port), START_S)
        return port, process

    def log(self, name: str) -> str:
        """Return what a guard wrote."""
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End the guards and the server."""
        for process in self._guards:
            process.terminate()
        for process in self._guards:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextlib.contextmanager
def standing_in(
    folder: Path, *, latest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[StandIn]:
    """Run a stand-in. latest: the newest TLS that it speaks."""
    folder.mkdir()
    write_certificates(folder, HOST)
    link = StandIn(folder, latest)
    try:
        yield link
    finally:
        link.close()


def wait_until(true: Callable[[], bool], within_s: float) -> None:
    """Wait until something is so. Raises: TimeoutError."""
    until = time.monotonic() + within_s
    while not true():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1.0):
        return True
    return False


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a guard cuts off what it refuses."""


def _handler(link: StandIn) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            while self._chunk():
                pass
            if self.path.endswith("pull-messages"):
                link.asked.set()
                self.rfile.read(1)
                link.let_go.set()
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def _chunk(self) -> bool:
            """Read a body of stated length whole, and of any other a chunk; is there more?"""
            if "content-length" in self.headers:
                self.rfile.read(int(self.headers["content-length"]))
                return False
            size = int(self.rfile.readline(), 16)
            self.rfile.read(size + 2)
            return size > 0

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
