"""A proxy between SuperNodes and a SuperLink that writes down, in clear, what the nodes send."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class RecordingProxy:
    """Ends the nodes' TLS with the SuperLink's own certificate and opens its own to the link."""

    def __init__(self, folder: Path, host: str, port: int, record_to: Path) -> None:
        self._target = (host, port)
        self._inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inside.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._outside = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._record = record_to.open("wb")
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._record.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            node = self._inside.wrap_socket(connection, server_side=True)
            link = self._outside.wrap_socket(
                socket.create_connection(self._target), server_hostname=self._target[0]
            )
            with self._lock:
                self._open |= {node, link}
            threading.Thread(target=self._copy, args=(link, node, False), daemon=True).start()
            self._copy(node, link, True)

    def _copy(self, source: socket.socket, sink: socket.socket, record: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := source.recv(_CHUNK):
                if record:
                    with self._lock:
                        self._record.write(chunk)
                        self._record.flush()
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
