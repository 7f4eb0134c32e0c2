"""A way between a node and its coordinator that can be cut: bytes go through, or are lost."""

import asyncio
import time

from end_to_end.loopback_server import CHUNK, LoopbackServer


class CutRelay(LoopbackServer):
    """Listens on a free loopback port. target: HOST:PORT that it passes on to, set before use."""

    target: str = ""

    def __init__(self) -> None:
        super().__init__()
        self._whole = asyncio.Event()
        self._whole.set()
        self._open: set[asyncio.Transport] = set()

    def cut(self, seconds: float) -> None:
        """Lose what is sent for a while, as when a cable is out; connections of before are dead."""
        self._loop.call_soon_threadsafe(self._whole.clear)
        time.sleep(seconds)
        self._loop.call_soon_threadsafe(self._restore)

    def _restore(self) -> None:
        for transport in self._open:
            transport.abort()
        self._whole.set()

    async def serve(self, node: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Pass a connection on while the way is whole."""
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
        while chunk := await source.read(CHUNK):
            if self._whole.is_set():
                sink.write(chunk)
                await sink.drain()
        sink.close()
