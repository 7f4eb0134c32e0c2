"""A Flower Grid over worker processes of this machine: the same apps, on all its cores.

Guarantee: as `local_grid`; messages cross as Flower's own bytes; a node is always handled by the
same worker, one message at a time. A worker that dies gives, for the message it had, what Flower
gives for a ClientApp that died, and a new one answers the next message. No worker is left over,
also when this process is killed.
Not guaranteed: separation. Nodes of a worker share its memory, and all run as the same user. A
worker that handles a message when the grid is closed has `GRACE_S` to end it.
"""

import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.serverapp import ServerApp

from fedmkt.transport.flower import Config
from fedmkt.transport.leash import begin_on, one_thread_each
from fedmkt.transport.local_grid import (
    LocalGrid,
    Lose,
    answer_of,
    app_named,
    context_of,
    crashed,
    run_server,
    take_identity,
)

GRACE_S = 5.0
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Duty:
    """What a worker answers for. client: the app as `module:name`."""

    client: str
    node_configs: Mapping[int, Config]
    run_config: Config


class WorkerGrid(LocalGrid):
    """A grid whose nodes are dealt to worker processes in turn."""

    def __init__(self, duty: Duty, *, workers: int, lose: Lose | None = None) -> None:
        """Start the workers. Raises: SettingInvalid, where there is no such client app."""
        app_named(duty.client)
        count = max(1, min(workers, len(duty.node_configs)))
        super().__init__(
            {node_id: place % count for place, node_id in enumerate(duty.node_configs)}, lose=lose
        )
        self._duty = duty
        self._leash, self._held = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._workers: dict[int, _Worker] = {}
        for lane in range(count):
            self._workers[lane] = _Worker(duty, self._leash)

    def answer(self, node_id: int, message: Message) -> Message:
        """Return the node's answer."""
        lane = self._lanes[node_id]
        worker = self._workers[lane]
        if worker.is_lost():
            worker = self._workers[lane] = _Worker(self._duty, self._leash)
        return worker.ask(node_id, message)

    def close(self) -> None:
        """Drop what waits and end the workers, by force where they do not end in time."""
        self.drop_waiting()
        until = time.monotonic() + GRACE_S
        while time.monotonic() < until and any(map(self.is_busy, self._workers)):
            time.sleep(_LOOK_S)
        for lane, worker in self._workers.items():
            if not self.is_busy(lane):
                worker.dismiss()
        for worker in self._workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
        self._held.close()
        for worker in self._workers.values():
            worker.process.join()
        super().close()
        self._leash.close()


class _Worker:
    """One process, and this end of the connection to it."""

    def __init__(self, duty: Duty, leash: Connection) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(duty, other, leash), daemon=True
        )
        self.process.start()
        other.close()  # so that its death is seen here

    def is_lost(self) -> bool:
        """Tell whether the process or the connection to it is gone."""
        return self._connection.closed or not self.process.is_alive()

    def ask(self, node_id: int, message: Message) -> Message:
        """Return the answer, or what Flower gives for an app that died."""
        try:
            self._connection.send((node_id, _packed(message)))
            return _unpacked(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._connection.close()
            return crashed(message)

    def dismiss(self) -> None:
        """Have the process end after what it is at."""
        self._connection.close()


def run_on_workers(
    server_app: ServerApp,
    client: str,
    *,
    node_configs: Mapping[int, Config],
    run_config: Config,
    workers: int,
    lose: Lose | None = None,
) -> None:
    """Run `server_app` to its end over worker processes, each with one thread for arithmetic.

    Raises: SettingInvalid (the client app); whatever the ServerApp raises, unchanged.
    """
    with one_thread_each():
        grid = WorkerGrid(Duty(client, node_configs, run_config), workers=workers, lose=lose)
        run_server(server_app, grid, run_config)


def _serve(duty: Duty, connection: Connection, leash: Connection) -> None:
    """Answer messages until the connection closes."""
    begin_on(leash)
    app = app_named(duty.client)
    while True:
        try:
            node_id, data = connection.recv()
        except EOFError:
            return
        take_identity(node_id)
        context = context_of(node_id, duty.node_configs[node_id], duty.run_config)
        connection.send_bytes(_packed(answer_of(app, _unpacked(data), context)))


def _packed(message: Message) -> bytes:
    return bytes(message_to_proto(message).SerializeToString())


def _unpacked(data: bytes) -> Message:
    return message_from_proto(MessageProto.FromString(data))
