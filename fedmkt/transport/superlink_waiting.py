"""Who waits for what in a SuperLink: nodes for messages, apps for replies, both for their parts.

Guarantee: whoever asked before something came is told when it comes; nobody waits longer than it
said. Nothing is kept of what nobody waits for. For one event loop, not for several threads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
)

HELD_S = 1.0
"""How long a question is held, in seconds; Flower's clients wait several times as long."""

Thing = tuple[str, str | int]
Come = Callable[[float, Coroutine[Any, Any, None]], Awaitable[bool]]


class Waiting:
    """The events of those who wait, by what they wait for."""

    def __init__(self) -> None:
        self._events: dict[Thing, set[asyncio.Event]] = {}

    @contextmanager
    def for_any(self, things: Iterable[Thing]) -> Iterator[Come]:
        """Give a function that waits until one of the things has come.

        Its arguments: for how many seconds at most, and what ends the waiting before. It returns
        whether one has come and nothing ended it. What comes from here on counts, also before it is
        called.
        """
        event, wanted = asyncio.Event(), tuple(things)
        for thing in wanted:
            self._events.setdefault(thing, set()).add(event)

        async def come(seconds: float, end: Coroutine[Any, Any, None]) -> bool:
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(end)]
            try:
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                return event.is_set() and not waits[1].done()
            finally:
                for one in waits:
                    one.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

        try:
            yield come
        finally:
            for thing in wanted:
                self._events[thing].discard(event)
                if not self._events[thing]:
                    del self._events[thing]

    def tell(self, things: Iterable[Thing]) -> None:
        """Wake whoever waits for one of the things."""
        for thing in things:
            for event in self._events.get(thing, ()):
                event.set()

    def __len__(self) -> int:
        """Return the number of things that somebody waits for."""
        return len(self._events)


def asked_for(request: Any) -> tuple[Thing, ...]:
    """Return what a request asks for that may come later; empty for others."""
    if isinstance(request, PullMessagesRequest):
        return (("node", request.node.node_id),)
    if isinstance(request, PullAppMessagesRequest):
        return tuple(("reply", message_id) for message_id in request.message_ids)
    if isinstance(request, PullObjectRequest):
        return (("object", request.object_id),)
    return ()


def what_came(request: Any) -> tuple[Thing, ...]:
    """Return what came with a request that was answered well; empty for others."""
    if isinstance(request, PushAppMessagesRequest):
        return tuple(("node", one.metadata.dst_node_id) for one in request.messages_list)
    if isinstance(request, PushMessagesRequest):
        return tuple(("reply", one.metadata.reply_to_message_id) for one in request.messages_list)
    if isinstance(request, PushObjectRequest):
        return (("object", request.object_id),)
    return ()


def is_nothing(response: Any) -> bool:
    """Tell whether a response says that what was asked for is not there yet."""
    if isinstance(response, PullMessagesResponse | PullAppMessagesResponse):
        return not response.messages_list
    # An object that nobody announced will not come.
    return isinstance(response, PullObjectResponse) and (
        response.object_found and not response.object_available
    )
