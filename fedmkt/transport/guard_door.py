"""The guard's listening sockets: who gets in is counted at the door, before a byte of TLS.

Guarantee: no more connections are open at a time than `Shares` allows, in all and of one client,
whatever state they are in; one more is closed as soon as it is accepted. Out of descriptors, a
door pauses. `make_room` refuses limits that the system's limit on open files cannot hold.
Not guaranteed: that nobody is kept out. Clients enough to take all places by their shares do so.
"""

import errno
import resource
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport.admission import Shares, client_key

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.5
_REFUSED_AT_ONCE = 64
_OWN_FILES = 64


class Door(socket.socket):
    """A listening socket that lets in only whom `places` has room for."""

    def __init__(self, family: int, kind: int, number: int, places: Shares) -> None:
        super().__init__(family, kind, number)
        self._places = places
        self._paused_until_s = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection that there is room for, and its address.

        Raises: BlockingIOError (nobody is there, or it is others' turn), OSError.
        """
        # An event loop that is told of too few descriptors looks away for a second, but goes on
        # with this turn: without an end to it, it would fail and say so thousands of times.
        if time.monotonic() < self._paused_until_s:
            raise BlockingIOError
        for _ in range(_REFUSED_AT_ONCE):
            try:
                connection, address = super().accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._paused_until_s = time.monotonic() + _PAUSE_S
                raise
            client = client_key(address[0])
            if self._places.take(client, 1):
                return _Admitted(connection, partial(self._places.leave, client, 1)), address
            connection.close()
        raise BlockingIOError


class _Admitted(socket.socket):
    """A connection that has a place until it is closed."""

    def __init__(self, accepted: socket.socket, leave: Callable[[], None]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        # Also if nobody closes it, and once alone.
        self._leave = weakref.finalize(self, leave)

    def close(self) -> None:
        super().close()
        self._leave()


def open_doors(host: str, port: int, places: Shares) -> list[socket.socket]:
    """Return bound sockets, one for each address of the host. Raises: SettingInvalid."""
    doors: list[socket.socket] = []
    with ExitStack() as on_failure:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, number, _, address in dict.fromkeys(found):
                door = on_failure.enter_context(Door(family, kind, number, places))
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                door.bind(address)
                doors.append(door)
        except OSError as error:
            raise SettingInvalid(
                setting="host or port", problem=f"nobody can listen there ({error.strerror})"
            ) from None
        on_failure.pop_all()
    return doors


def make_room(most_connections: int) -> None:
    """Have this process allowed the open files that so many connections want.

    Each may have one to the SuperLink. Raises: SettingInvalid (the system allows fewer).
    """
    wanted = 2 * most_connections + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SettingInvalid(
            setting="most_connections", problem=f"wants {wanted} open files; {hard} are allowed"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
