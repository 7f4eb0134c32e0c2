"""What a door does when the process has no descriptor left, and how much is said about it."""

import asyncio
import contextlib
import errno
import logging
import socket
from typing import Any

import pytest

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport.admission import Shares
from fedmkt.transport.guard import SparseLines
from fedmkt.transport.guard_door import Door, open_doors

HOST = "127.0.0.1"


def test_out_of_descriptors_a_door_pauses_and_then_lets_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.6)
    complaints: list[Any] = []
    tries = 0
    exhausted = True
    accept = socket.socket.accept

    def fails(self: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal tries
        tries += 1
        if exhausted:
            raise OSError(errno.EMFILE, "none left")
        return accept(self)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"in")
        writer.close()
        await writer.wait_closed()

    async def serve() -> bytes:
        nonlocal exhausted
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        server = await asyncio.start_server(greet, sock=door)
        async with server:
            with socket.create_connection(door.getsockname(), 5) as plain:
                plain.setblocking(False)
                await asyncio.sleep(0.3)
                exhausted = False
                return await asyncio.wait_for(loop.sock_recv(plain, 2), 5)

    monkeypatch.setattr(socket.socket, "accept", fails)
    (door,) = open_doors(HOST, 0, Shares(most=9, most_each=9))
    assert asyncio.run(serve()) == b"in"
    assert len(complaints) == 1
    assert tries <= 3


def test_a_place_is_given_back_once_however_a_connection_ends() -> None:
    places = Shares(most=1, most_each=1)
    with contextlib.ExitStack() as stack:
        (door,) = map(stack.enter_context, open_doors(HOST, 0, places))
        door.listen()
        for ends_by_close in (True, False, True):
            with socket.create_connection(door.getsockname(), 5):
                accepted: socket.socket | None = door.accept()[0]
                assert places.held == 1
                if ends_by_close:
                    assert accepted is not None
                    accepted.close()
                    accepted.close()
                else:
                    with pytest.warns(ResourceWarning):
                        accepted = None
            assert places.held == 0


def test_who_finds_no_place_is_closed_at_once() -> None:
    with contextlib.ExitStack() as stack:
        (door,) = map(stack.enter_context, open_doors(HOST, 0, Shares(most=1, most_each=1)))
        door.listen()
        door.setblocking(False)
        asking = [
            stack.enter_context(socket.create_connection(door.getsockname(), 5)) for _ in range(3)
        ]
        stack.enter_context(door.accept()[0])
        with pytest.raises(BlockingIOError):
            door.accept()
        assert [one.recv(1) for one in asking[1:]] == [b"", b""]


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    (door,) = open_doors(HOST, 0, Shares(most=1, most_each=1))
    with door:
        door.listen()
        with pytest.raises(SettingInvalid, match="host or port"):
            open_doors(HOST, door.getsockname()[1], Shares(most=1, most_each=1))
    assert isinstance(door, Door)


def test_a_logger_that_says_much_is_cut_short_and_another_is_heard() -> None:
    lines = SparseLines()
    loud = logging.makeLogRecord({"name": "loud"})
    assert sum(lines.filter(loud) for _ in range(10_000)) <= 21
    assert lines.filter(logging.makeLogRecord({"name": "quiet"}))
