"""A proxy between SuperNodes and a SuperLink that writes down, in clear, what the nodes send."""

import asyncio
import contextlib
import ssl
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from end_to_end.loopback_server import CHUNK, LoopbackServer


class RecordingProxy(LoopbackServer):
    """Ends the nodes' TLS with the SuperLink's own certificate and opens its own to the link."""

    def __init__(self, folder: Path, host: str, port: int, record_to: Path) -> None:
        self._host, self._target_port, self._record_to = host, port, record_to
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._outside = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._record: BinaryIO | None = None
        super().__init__(inside)

    def __enter__(self) -> Self:
        self._record = self._record_to.open("wb", buffering=0)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self._record is not None:
            self._record.close()

    async def serve(self, node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Pass a connection on, and write down what the node sends."""
        link, forth = await asyncio.open_connection(
            self._host, self._target_port, ssl=self._outside
        )
        try:
            await asyncio.gather(_copy(node, forth, self._record), _copy(link, back, None))
        finally:
            back.transport.abort()
            forth.transport.abort()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, record: BinaryIO | None
) -> None:
    while chunk := await source.read(CHUNK):
        if record is not None:
            record.write(chunk)
        sink.write(chunk)
        await sink.drain()
    # The other side has said all; TLS streams know no half-open state, so close the pair.
    sink.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(sink.wait_closed(), 5)
