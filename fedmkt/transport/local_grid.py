"""What all grids of one machine have in common: messages queue here, and threads hand them on.

Guarantee: sender and receiver never share a record; a lane, and so each node in it, handles one
message at a time; a ClientApp that raises gives the error message Flower would give; a node keeps
no Flower state between messages, as in a deployment that starts a process for each.
"""

import copy
import importlib
import itertools
import os
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport.flower import Config

Lose = Callable[[int, Message], bool]
"""Whether a message to or from a node is lost; a reply has a `reply_to_message_id`."""

RUN_ID = 1
_TASK_ID = 1
_SPARE_THREADS = 4


class LocalGrid(Grid):
    """A grid whose nodes are reached from this process's threads.

    lanes: the nodes, each with the lane its messages go through, one after the other. lose: drops
    messages, for drop-out tests.
    """

    def __init__(self, lanes: Mapping[int, int], *, lose: Lose | None = None) -> None:
        self._lanes = dict(lanes)
        self._lose = lose
        self._run = Run.create_empty(RUN_ID)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[Message]] = {lane: deque() for lane in lanes.values()}
        self._busy: set[int] = set()
        self._replies: dict[str, Message] = {}
        threads = min(max(1, len(self._waiting)), (os.cpu_count() or 1) + _SPARE_THREADS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="node")
        take_identity(SUPERLINK_NODE_ID)

    @abstractmethod
    def answer(self, node_id: int, message: Message) -> Message:
        """Return the node's answer; called on a thread, for one message of a lane at a time."""

    def close(self) -> None:
        """Drop what waits and wait for the messages that are being handled."""
        self.drop_waiting()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def drop_waiting(self) -> None:
        """Drop the messages that nobody handles yet."""
        with self._lock:
            for queue in self._waiting.values():
                queue.clear()

    def is_busy(self, lane: int) -> bool:
        """Tell whether a message of this lane is being handled."""
        with self._lock:
            return lane in self._busy

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
        return list(self._lanes)

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
        if node_id not in self._lanes:
            return ""
        message_id = f"{next(self._numbers):016x}"
        sent = _copied(message)
        sent.metadata.__dict__["_message_id"] = message_id
        if not self._is_lost(node_id, sent):
            lane = self._lanes[node_id]
            with self._lock:
                self._waiting[lane].append(sent)
                self._start_next(lane)
        return message_id

    def _start_next(self, lane: int) -> None:
        """Start the lane's next message unless it handles one already; needs the lock."""
        if lane not in self._busy and self._waiting[lane]:
            self._busy.add(lane)
            self._pool.submit(self._handle, lane, self._waiting[lane].popleft())

    def _handle(self, lane: int, message: Message) -> None:
        node_id = message.metadata.dst_node_id
        reply = _copied(self.answer(node_id, message))
        reply.metadata.__dict__["_message_id"] = f"{next(self._numbers):016x}"
        lost = self._is_lost(node_id, reply)
        with self._lock:
            if not lost:
                self._replies[message.metadata.message_id] = reply
            self._busy.discard(lane)
            self._start_next(lane)

    def _is_lost(self, node_id: int, message: Message) -> bool:
        return self._lose is not None and self._lose(node_id, message)


def run_server(server_app: ServerApp, grid: LocalGrid, run_config: Config) -> None:
    """Run `server_app` to its end over `grid` and close that.

    Raises: whatever the ServerApp raises, unchanged.
    """
    try:
        server_app(grid, context_of(SUPERLINK_NODE_ID, {}, run_config))
    finally:
        grid.close()


def app_named(reference: str) -> ClientApp:
    """Return the ClientApp that `module:name` refers to. Raises: SettingInvalid."""
    module, _, name = reference.partition(":")
    try:
        app = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        problem = f"there is no such app ({type(error).__name__})"
        raise SettingInvalid(setting=f"client app {reference}", problem=problem) from error
    assert isinstance(app, ClientApp)
    return app


def answer_of(
    app: Callable[[Message, Context], Message], message: Message, context: Context
) -> Message:
    """Return what a node's app answers, or the error message that Flower gives in its place."""
    try:
        return app(message, context)
    except Exception as error:  # noqa: BLE001
        # The same words flwr.supernode.runtime.run_clientapp sends, so that a test which
        # looks for leaks here finds what a deployment would leak.
        reason = f"{type(error)}:<'{error}'>"
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        return Message(Error(code=code, reason=reason), reply_to=message)
    except BaseException:  # noqa: BLE001
        # What would end the node's process ends this message only.
        return crashed(message)


def crashed(message: Message) -> Message:
    """Return what Flower answers in the place of an app whose process ended."""
    return Message(Error(ErrorCode.CLIENT_APP_CRASHED), reply_to=message)


def context_of(node_id: int, node_config: Config, run_config: Config) -> Context:
    """Return a context without state."""
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config=dict(node_config),
        state=RecordDict(),
        run_config=dict(run_config),
    )


def take_identity(node_id: int) -> None:
    """Say who sends, which Flower's `Message` asks of the process that builds one."""
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.task_id = _TASK_ID
    TaskIdentity.node_id = node_id


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
