"""A server on a free loopback port, in a thread of its own, while a context lasts."""

import asyncio
import contextlib
import ssl
import threading
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK = 65_536


class LoopbackServer:
    """Serves each connection with `serve`, which a subclass has. inside: TLS, if it ends that."""

    port: int

    def __init__(self, inside: ssl.SSLContext | None = None) -> None:
        self._inside = inside
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def serve(self, node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("nobody listens")
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

        async def serve(node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
            if (task := asyncio.current_task()) is not None:
                serving.add(task)
                task.add_done_callback(serving.discard)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self.serve(node, back)

        server = await asyncio.start_server(serve, HOST, 0, ssl=self._inside)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        left = tuple(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.05)  # aborted transports close in the loop's next steps
