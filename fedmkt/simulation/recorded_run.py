"""A run over the in-process grid, with what each exchange asked of each node: for the link clock.

Guarantee: bytes are those of the payloads, counted where they leave the coordinator and come back.
Not guaranteed: what Flower and TLS add to them; that seconds are another machine's. Every node of
an exchange counts with the processor time of all of them together, so seconds are upper bounds.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedmkt.contract.job import AnyJob
from fedmkt.coordinator.app import run_job
from fedmkt.coordinator.home import open_coordinator
from fedmkt.models.kept import AnyModel
from fedmkt.node.app import app as client_app
from fedmkt.simulation.partitions.link import ExchangeLoad, Link, exchange_time, run_time
from fedmkt.simulation.world import World
from fedmkt.transport.channel import Channel, Failure, Traffic
from fedmkt.transport.flower import make_server_app
from fedmkt.transport.in_process import run_in_process


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a run asked of nodes and links. rest_s: the coordinator's own processor seconds."""

    exchanges: tuple[ExchangeLoad, ...] = field(repr=False)
    rest_s: float

    @property
    def sent_mb(self) -> float:
        """Return the payload megabytes of all exchanges, up and down, of all nodes."""
        return sum(float((one.down_bytes + one.up_bytes).sum()) for one in self.exchanges) / 1e6

    @property
    def busiest_mb(self) -> float:
        """Return the payload megabytes over the busiest line of each exchange, summed."""
        return sum(float((one.down_bytes + one.up_bytes).max()) for one in self.exchanges) / 1e6

    @property
    def compute_s(self) -> float:
        """Return the processor seconds of the run."""
        return self.rest_s + sum(float(one.compute_s.max()) for one in self.exchanges)

    def seconds(self, link: Link) -> float:
        """Return how long the run would take over such links."""
        clock = run_time(exchange_time(one, link) for one in self.exchanges)
        return clock.total_s + self.rest_s


def record_run(world: World, job: AnyJob, run: str) -> RecordedRun:
    """Carry out a run as a deployment would and return what it asked. Raises: as `run_job`."""
    order = world.order(job, run)
    recorded: list[RecordedRun] = []

    def main(channel: Channel, _config: object) -> None:
        listening = _Listening(channel)
        started = time.process_time()
        run_job(open_coordinator(world.coordinator), listening, order=order, watcher=_Unwatched())
        whole = time.process_time() - started
        spent = sum(float(one.compute_s.max()) for one in listening.loads)
        recorded.append(RecordedRun(tuple(listening.loads), max(0.0, whole - spent)))

    run_in_process(
        make_server_app(main),
        client_app,
        node_configs={
            number: {"home": str(world.node(member))}
            for number, member in enumerate(world.members, start=1)
        },
        run_config={},
    )
    return recorded[0]


class _Listening:
    """A channel that writes down what goes through."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.loads: list[ExchangeLoad] = []

    @property
    def traffic(self) -> Traffic:
        """Return what went through so far."""
        return self._channel.traffic

    def node_ids(self, *, at_least: int, deadline_s: float) -> tuple[int, ...]:
        """Return the nodes."""
        return self._channel.node_ids(at_least=at_least, deadline_s=deadline_s)

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        """Pass an exchange on."""
        started = time.process_time()
        replies = self._channel.exchange(requests, deadline_s=deadline_s, quorum=quorum)
        spent = time.process_time() - started
        answers = [replies.get(node) for node in requests]
        sizes = [len(one) if isinstance(one, bytes) else 0 for one in answers]
        self.loads.append(_load([len(one) for one in requests.values()], sizes, spent))
        return replies


class _Unwatched:
    """Shows nothing."""

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Show nothing."""

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Show nothing."""


def _load(down: Sequence[int], up: Sequence[int], spent: float) -> ExchangeLoad:
    nodes = len(down)
    return ExchangeLoad(
        down_bytes=np.array(down, dtype=np.float64),
        up_bytes=np.array(up, dtype=np.float64),
        compute_s=np.full(nodes, spent),
        slowdown=np.ones(nodes),
    )
