"""A Flower Grid without a network: the same ServerApp and ClientApp, in one process.

Guarantee: sender and receiver never share a record; a node handles one message at a time; a
ClientApp that raises gives the error message Flower would give; a node keeps no Flower state
between messages, as in a deployment that starts a process for each.
Not guaranteed: separation. Nodes share this process's memory, so this grid is for demonstrations,
simulations and tests; it may not hold data of partners who do not trust each other. A handler
that hangs cannot be killed, and closing the grid waits for it.
"""

import copy
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedmkt.transport.flower import Config

Lose = Callable[[int, Message], bool]
"""Whether a message to or from a node is lost; a reply has a `reply_to_message_id`."""

_RUN_ID = 1
_TASK_ID = 1
_SPARE_WORKERS = 4


class InProcessGrid(Grid):
    """A grid whose nodes are calls of `client_app` on threads of this process.

    node_configs: each node's own configuration by node id. lose: drops messages, for drop-out
    tests. restart: called with the node's id before each message, to drop whatever the node's
    code caches in this process, as a restarted node would have.
    """

    def __init__(
        self,
        client_app: ClientApp,
        node_configs: Mapping[int, Config],
        *,
        run_config: Config | None = None,
        lose: Lose | None = None,
        restart: Callable[[int], None] | None = None,
    ) -> None:
        self._app = client_app
        self._node_configs = {node_id: dict(config) for node_id, config in node_configs.items()}
        self._run_config = dict(run_config or {})
        self._lose = lose
        self._restart = restart
        self._run = Run.create_empty(_RUN_ID)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[Message]] = {node_id: deque() for node_id in node_configs}
        self._busy: set[int] = set()
        self._replies: dict[str, Message] = {}
        workers = min(max(1, len(node_configs)), (os.cpu_count() or 1) + _SPARE_WORKERS)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="node")
        _take_identity()

    def close(self) -> None:
        """Drop what waits and wait for the messages that are being handled."""
        with self._lock:
            for queue in self._waiting.values():
                queue.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Return the run."""
        return self._run

    def create_message(  # noqa: PLR0913, RUF100
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message to `dst_node_id`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._node_configs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand copies of `messages` to their nodes; an unknown node's message has the id ''."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return and forget the replies that are there, in no order."""
        with self._lock:
            found = [self._replies.pop(message_id, None) for message_id in message_ids]
        return [message for message in found if message is not None]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Refuse: an exchange names its deadline and its nodes, see `FlowerChannel.exchange`."""
        raise NotImplementedError("use FlowerChannel.exchange")

    def _push(self, message: Message) -> str:
        node_id = message.metadata.dst_node_id
        if node_id not in self._node_configs:
            return ""
        message_id = f"{next(self._numbers):016x}"
        sent = _copied(message)
        sent.metadata.__dict__["_message_id"] = message_id
        if not self._is_lost(node_id, sent):
            with self._lock:
                self._waiting[node_id].append(sent)
                self._start_next(node_id)
        return message_id

    def _start_next(self, node_id: int) -> None:
        """Start the node's next message unless it handles one already; needs the lock."""
        if node_id not in self._busy and self._waiting[node_id]:
            self._busy.add(node_id)
            self._pool.submit(self._handle, node_id, self._waiting[node_id].popleft())

    def _handle(self, node_id: int, message: Message) -> None:
        reply = _copied(self._call(node_id, message))
        reply.metadata.__dict__["_message_id"] = f"{next(self._numbers):016x}"
        lost = self._is_lost(node_id, reply)
        with self._lock:
            if not lost:
                self._replies[message.metadata.message_id] = reply
            self._busy.discard(node_id)
            self._start_next(node_id)

    def _call(self, node_id: int, message: Message) -> Message:
        context = Context(
            run_id=_RUN_ID,
            node_id=node_id,
            node_config=dict(self._node_configs[node_id]),
            state=RecordDict(),
            run_config=dict(self._run_config),
        )
        try:
            if self._restart is not None:
                self._restart(node_id)
            return self._app(message, context)
        except Exception as error:  # noqa: BLE001
            # The same words flwr.supernode.runtime.run_clientapp sends, so that a test which
            # looks for leaks here finds what a deployment would leak.
            reason = f"{type(error)}:<'{error}'>"
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code=code, reason=reason), reply_to=message)
        except BaseException:  # noqa: BLE001
            # What would end the node's process ends this message only; Flower reports a crash.
            return Message(Error(ErrorCode.CLIENT_APP_CRASHED), reply_to=message)

    def _is_lost(self, node_id: int, message: Message) -> bool:
        return self._lose is not None and self._lose(node_id, message)


def run_in_process(
    server_app: ServerApp,
    client_app: ClientApp,
    *,
    node_configs: Mapping[int, Config],
    run_config: Config,
    lose: Lose | None = None,
    restart: Callable[[int], None] | None = None,
) -> None:
    """Run `server_app` to its end with one in-process node for each of `node_configs`.

    Raises: whatever the ServerApp raises, unchanged.
    """
    grid = InProcessGrid(
        client_app, node_configs, run_config=run_config, lose=lose, restart=restart
    )
    context = Context(
        run_id=_RUN_ID,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(run_config),
    )
    try:
        server_app(grid, context)
    finally:
        grid.close()


def _copied(message: Message) -> Message:
    """Return a message that shares nothing with `message` that can be changed."""
    copied, own = copy.copy(message), vars(message)
    # Metadata hold numbers and words alone, so a copy of them need not look inside.
    vars(copied).update(
        _metadata=copy.copy(own["_metadata"]),
        _content=copy.deepcopy(own["_content"]),
        _error=copy.copy(own["_error"]),
    )
    return copied


def _take_identity() -> None:
    """Say who sends, which Flower's `Message` asks of the process that builds one."""
    TaskIdentity.run_id = _RUN_ID
    TaskIdentity.task_id = _TASK_ID
    TaskIdentity.node_id = SUPERLINK_NODE_ID
