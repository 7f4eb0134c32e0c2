"""Flower's ClientApp, ServerApp and Grid behind this project's handler, main and channel.

Guarantee: nothing of an exception raised while a node handles a message leaves that node but a
stable code: no text, type name, traceback, arguments or cause. Exchanges poll with capped sleeps,
name every node, and end by their deadline.
Not guaranteed: authenticity or secrecy of payloads (they are signed, sealed and masked above);
that a process that was killed outright leaves nothing in its own machine's core dump.
"""

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedmkt.core.errors import FedmktError, NodesMissing
from fedmkt.transport.channel import Channel, Failure, Handler, Traffic
from fedmkt.transport.grid_waits import pulling_until, quicken_grid
from fedmkt.transport.payload import (
    INTERNAL_ERROR,
    NOT_DELIVERED,
    failure_record,
    payload_record,
    read_reply,
    read_request,
)

Config = Mapping[str, str | int | float | bool]
OpenHandler = Callable[[Config], Handler]
Main = Callable[[Channel, Config], None]

ACTION = "fedmkt"
_MESSAGE_TYPE = f"train.{ACTION}"
_SHORTEST_SLEEP_S = 0.001
_LONGEST_SLEEP_S = 0.05
_SLEEP_SHARE = 0.05
_SHORTEST_GRACE_S = 0.1
_GRACE_SHARE = 0.5
_TTL_MARGIN_S = 1.0

_log = logging.getLogger(__name__)


def make_client_app(open_handler: OpenHandler) -> ClientApp:
    """Return a ClientApp that answers each message with `open_handler(node_config)(request)`.

    The handler is opened anew for every message, because a deployment starts a process for each.
    Guarantee: what `open_handler` and the handler raise leaves as `Failure(code)`: the class's
    code for a FedmktError, `internal_error` for anything else.
    """
    app = ClientApp()

    @app.train(ACTION)
    def answer(message: Message, context: Context) -> Message:
        # Security: Flower sends str(exception) to the server, so none may pass this frame.
        try:
            reply = open_handler(dict(context.node_config))(read_request(message))
            content = payload_record(reply)
        except Exception as error:  # noqa: BLE001
            _log_locally(error, message)
            content = failure_record(_failure_of(error))
        return Message(content, reply_to=message)

    return app


def make_server_app(main: Main) -> ServerApp:
    """Return a ServerApp that runs `main(channel, run_config)` once."""
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        quicken_grid()
        main(FlowerChannel(grid), dict(context.run_config))

    return app


class FlowerChannel:
    """A `Channel` over a Flower Grid, whichever grid that is."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """Return what went through so far."""
        return self._traffic

    def node_ids(self, *, at_least: int, deadline_s: float) -> tuple[int, ...]:
        """Wait until `at_least` nodes are connected and return all that are, in rising order.

        Raises: NodesMissing when fewer are connected at the deadline.
        """
        started = time.monotonic()
        while True:
            present = tuple(sorted(self._grid.get_node_ids()))
            waited_s = time.monotonic() - started
            if len(present) >= at_least:
                return present
            if waited_s >= deadline_s:
                raise NodesMissing(present=len(present), needed=at_least, deadline_s=deadline_s)
            _sleep(waited_s, until_s=deadline_s)

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        """Send each node its own request and gather what comes back, as `Channel` states."""
        started = time.monotonic()
        replies: dict[int, bytes | Failure] = {}
        pending = self._push(requests, replies, deadline_s)
        end_s, quorum_met = deadline_s, False
        while pending:
            looked, before = time.monotonic(), len(pending)
            with pulling_until(started + deadline_s):
                self._pull(pending, replies)
            waited_s = time.monotonic() - started
            looked_s = time.monotonic() - looked
            if not quorum_met and quorum is not None and _answered(replies) >= quorum:
                quorum_met = True
                end_s = min(end_s, waited_s + max(_SHORTEST_GRACE_S, _GRACE_SHARE * waited_s))
            if not pending or waited_s >= end_s:
                break
            # At least as long as looking in vain took, so that it does not crowd out the nodes.
            least_s = looked_s if len(pending) == before else 0.0
            _sleep(waited_s, until_s=end_s, least_s=max(_SHORTEST_SLEEP_S, least_s))
        self._count(requests, replies)
        return replies

    def _push(
        self, requests: Mapping[int, bytes], replies: dict[int, bytes | Failure], deadline_s: float
    ) -> dict[str, int]:
        """Push all requests; return the node behind each message id, note what was rejected."""
        # A request lives as long as somebody waits for its reply, so that no node spends budget
        # on an exchange that its coordinator has given up; a little longer, so that its expiry
        # is not taken for the node's answer at the deadline.
        messages = [
            Message(payload_record(request), node_id, _MESSAGE_TYPE, ttl=deadline_s + _TTL_MARGIN_S)
            for node_id, request in requests.items()
        ]
        message_ids = list(self._grid.push_messages(messages))
        message_ids += [""] * (len(messages) - len(message_ids))
        pending: dict[str, int] = {}
        for node_id, message_id in zip(requests, message_ids, strict=True):
            if message_id:
                pending[message_id] = node_id
            else:
                replies[node_id] = NOT_DELIVERED
        return pending

    def _pull(self, pending: dict[str, int], replies: dict[int, bytes | Failure]) -> None:
        for message in self._grid.pull_messages(list(pending)):
            message_id = message.metadata.reply_to_message_id
            node_id = pending.pop(message_id, None)
            if node_id is None:
                continue
            replies[node_id] = reply = read_reply(message)
            if isinstance(reply, Failure):
                _log.warning("node %d: %s (message %s)", node_id, reply.code, message_id[:16])

    def _count(self, requests: Mapping[int, bytes], replies: Mapping[int, bytes | Failure]) -> None:
        self._traffic = Traffic(
            exchanges=self._traffic.exchanges + 1,
            bytes_up=self._traffic.bytes_up
            + sum(len(reply) for reply in replies.values() if isinstance(reply, bytes)),
            bytes_down=self._traffic.bytes_down + sum(map(len, requests.values())),
        )


def _answered(replies: Mapping[int, bytes | Failure]) -> int:
    return sum(isinstance(reply, bytes) for reply in replies.values())


def _sleep(waited_s: float, *, until_s: float, least_s: float = _SHORTEST_SLEEP_S) -> None:
    """Sleep a twentieth of the time already waited, within bounds: late by 5% at the most."""
    pause_s = min(_LONGEST_SLEEP_S, max(least_s, _SLEEP_SHARE * waited_s))
    time.sleep(max(0.0, min(pause_s, until_s - waited_s)))


def _failure_of(error: Exception) -> Failure:
    # Security: the class's own code; one set on the instance could hold anything.
    return Failure(type(error).code) if isinstance(error, FedmktError) else INTERNAL_ERROR


def _log_locally(error: Exception, message: Message) -> None:
    """Write the error's type and place, with the message's id, to this machine's log."""
    # Privacy: type, file and line only. Texts may hold a row, and logs get shipped.
    _log.error(
        "%s at %s (run %d, message %s)",
        type(error).__qualname__,
        _place(error.__traceback__),
        message.metadata.run_id,
        message.metadata.message_id[:16],
    )


def _place(traceback: TracebackType | None) -> str:
    place = "unknown place"
    while traceback is not None:
        place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
