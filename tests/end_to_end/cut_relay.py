"""A way between a node and its coordinator that can be cut: bytes go through, or are lost."""

import asyncio
import contextlib
import threading
import time
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 65_536


class CutRelay:
    """Listens on a free loopback port. target: HOST:PORT that it passes on to, set before use."""

    port: int
    target: str = ""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop, self._whole = asyncio.Event(), asyncio.Event()
        self._open: set[asyncio.Transport] = set()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def cut(self, seconds: float) -> None:
        """Lose what is sent for a while, as when a cable is out; connections of before are dead."""
        self._loop.call_soon_threadsafe(self._whole.clear)
        time.sleep(seconds)
        self._loop.call_soon_threadsafe(self._restore)

    def _restore(self) -> None:
        for transport in self._open:
            transport.abort()
        self._whole.set()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the relay does not listen")
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
        self._whole.set()

        async def serve(node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
            if (task := asyncio.current_task()) is not None:
                serving.add(task)
                task.add_done_callback(serving.discard)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(node, back)

        server = await asyncio.start_server(serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        left = tuple(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.05)  # aborted transports close in the loop's next steps

    async def _serve(self, node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._open.add(back.transport)
        try:
            await self._whole.wait()
            if back.transport.is_closing():
                return
            host, _, port = self.target.rpartition(":")
            link, forth = await asyncio.open_connection(host, int(port))
            self._open.add(forth.transport)
            try:
                await asyncio.gather(self._copy(node, forth), self._copy(link, back))
            finally:
                self._open.discard(forth.transport)
                forth.transport.abort()
        finally:
            self._open.discard(back.transport)
            back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK):
            if self._whole.is_set():
                sink.write(chunk)
                await sink.drain()
        sink.close()
