"""What the coordinator does in every run over shared customers: open, its own steps, close.

Guarantee: it carries sealed, encrypted and masked bytes and reads none of them. What it learns are
the noised sizes that nodes state, message sizes, who takes part, and times.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from fedmkt.contract.order import Order
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.coordinator.closing import abandon_run, cannot_go_on, close_run
from fedmkt.coordinator.conversation import Conversation
from fedmkt.coordinator.summed_training import Watcher
from fedmkt.core.errors import NodeFailed, ProtocolError, Refusal, RunCancelled, RunRefused
from fedmkt.identity.hash_chain import JSON
from fedmkt.wire.run import Body, OpenRequest

ReplyT = TypeVar("ReplyT", bound=Body)


@dataclass(frozen=True, slots=True)
class SharedOutcome:
    """A finished run over shared customers.

    facts: what nodes stated openly. lost: members that an earlier start lost. seconds: how long
    each kind of step took.
    """

    run: str
    facts: Mapping[str, JSON]
    receipts: Mapping[str, bytes]
    exchanges: int
    bytes_up: int
    bytes_down: int
    wall_s: float
    lost: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass
class SharedRun(ABC):
    """One run of a job over shared customers, from the first message to the receipts."""

    order: Order
    job: SharedJob
    talk: Conversation
    watcher: Watcher
    lost: tuple[str, ...] = ()
    bundles: dict[str, bytes] = field(default_factory=dict)
    done: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    kind: ClassVar[str]

    @staticmethod
    @abstractmethod
    def exchanges(job: Any) -> int:
        """Return the number of exchanges of a run of `job`, opening and closing included."""

    @property
    def steps(self) -> int:
        """Return the number of exchanges of this run."""
        return self.exchanges(self.job)

    @abstractmethod
    def carry_out(self) -> dict[str, JSON]:
        """Do the run's own steps; return the facts that nodes stated openly."""

    def run(self) -> SharedOutcome:
        """Run the job to its end; a run that was begun before goes on where it stopped.

        Raises: RunRefused, RunCancelled, ProtocolError, NodeFailed while opening or where a node
            found the protocol broken (the run is over; nodes are told); NodesMissing, QuorumLost,
            NodeFailed otherwise (it may be resumed, or started again without who is lost).
        """
        started = time.monotonic()
        try:
            self._open()
            facts = self.carry_out()
        except (RunRefused, RunCancelled, Refusal, ProtocolError):
            abandon_run(self.talk)
            raise
        except NodeFailed as failure:
            if cannot_go_on(self.talk, failure, opened=bool(self.bundles)):
                abandon_run(self.talk)
            raise
        receipts = close_run(self.talk, "finished", quorum=len(self.job.members))
        self._tick("close", started=None)
        traffic = self.talk.channel.traffic
        return SharedOutcome(
            run=self.talk.run,
            facts=facts,
            receipts=receipts,
            exchanges=traffic.exchanges,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            wall_s=time.monotonic() - started,
            lost=self.lost,
            seconds=dict(self.seconds),
        )

    def ask(
        self, step: str, requests: Mapping[str, Body], reply: type[ReplyT]
    ) -> dict[str, ReplyT]:
        """Ask members for a step; all of them must answer. Raises: as `Conversation.ask`."""
        started = time.monotonic()
        answered = self.talk.ask(step, requests, reply, quorum=len(requests))
        self._tick(step, started=started)
        return answered

    def _open(self) -> None:
        started = time.monotonic()
        request = OpenRequest(
            job=self.order.job.signed_bytes(),
            order_signature=self.order.signature,
            lost=self.lost,
        )
        opened = self.talk.open(request, self.job.members)
        self.bundles = {member: reply.bundle for member, reply in opened.items()}
        self._tick("open", started=started)

    def _tick(self, step: str, *, started: float | None) -> None:
        self.done += 1
        name = step.partition("/")[0]
        if started is not None:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
        self.watcher.finished_step(self.done, self.steps, step)
