"""A proxy between SuperNodes and a SuperLink that writes down, in clear, what the nodes send."""

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

_CHUNK = 65_536


class RecordingProxy:
    """Ends the nodes' TLS with the SuperLink's own certificate and opens its own to the link."""

    port: int

    def __init__(self, folder: Path, host: str, port: int, record_to: Path) -> None:
        self._host, self._target_port, self._record_to = host, port, record_to
        self._inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inside.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._outside = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the recording proxy does not listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        serving: set[asyncio.Task[None]] = set()
        with self._record_to.open("wb", buffering=0) as record:

            async def serve(node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
                if (task := asyncio.current_task()) is not None:
                    serving.add(task)
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await self._serve(node, back, record)

            server = await asyncio.start_server(serve, self._host, 0, ssl=self._inside)
            self.port = server.sockets[0].getsockname()[1]
            self._listening.set()
            await self._stop.wait()
            server.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving)
            await asyncio.sleep(0.05)  # aborted transports close in the loop's next steps

    async def _serve(
        self, node: asyncio.StreamReader, back: asyncio.StreamWriter, record: BinaryIO
    ) -> None:
        link, forth = await asyncio.open_connection(
            self._host, self._target_port, ssl=self._outside
        )
        try:
            await asyncio.gather(_copy(node, forth, record), _copy(link, back, None))
        finally:
            back.transport.abort()
            forth.transport.abort()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, record: BinaryIO | None
) -> None:
    while chunk := await source.read(_CHUNK):
        if record is not None:
            record.write(chunk)
        sink.write(chunk)
        await sink.drain()
    # The other side has said all; TLS streams know no half-open state, so close the pair.
    sink.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(sink.wait_closed(), 5)
