"""What the coordinator does in every horizontal run: open, then secure sums, then close.

Three exchanges for the run (open, shares, close) and three a sum (mask, vote, unmask); where a job
has updates seen, two for the run and one a sum.
Guarantee: it only ever learns sums over at least three members, and whatever their noise leaves.
Not guaranteed: that of a job whose `updates_seen` the contract allows. Then it learns each update.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from fedmkt.contract.job import HorizontalJob
from fedmkt.contract.order import Order
from fedmkt.contract.schema import TableSchema
from fedmkt.coordinator.closing import abandon_run, cannot_go_on, close_run
from fedmkt.coordinator.conversation import Conversation
from fedmkt.core.errors import (
    JobInvalid,
    MemberRevoked,
    MessageInvalid,
    NodeFailed,
    ProtocolError,
    RunCancelled,
    RunRefused,
    TrainingDiverged,
    UpdatesTooFew,
)
from fedmkt.core.stages import IntArray, RingArray
from fedmkt.models.kept import AnyModel, model_bytes
from fedmkt.security.secure_sum import collector
from fedmkt.security.secure_sum.messages import threshold_of
from fedmkt.wire.run import OpenRequest
from fedmkt.wire.training import (
    MaskReply,
    MaskRequest,
    SeenReply,
    SharesReply,
    SharesRequest,
    UnmaskReply,
    UnmaskRequest,
    UpdateRequest,
    VoteReply,
    VoteRequest,
)

# Whoever resumes such a run meets the same again: what was answered is kept with its journal.
_OVER = (
    RunRefused,
    RunCancelled,
    MemberRevoked,
    TrainingDiverged,
    UpdatesTooFew,
    ProtocolError,
)


class Watcher(Protocol):
    """Told of every finished round of a horizontal training and every step of other runs."""

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Round `number` of `rounds` is done."""
        ...

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Exchange `number` of `steps`, called `name`, is done."""
        ...


ModelT = TypeVar("ModelT", bound=AnyModel)
KeptT = TypeVar("KeptT", bound=AnyModel, covariant=True)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[KeptT]):
    """A finished run: the model, what it cost to talk, and the members' signed receipts."""

    run: str
    model: KeptT
    rounds: int
    receipts: Mapping[str, bytes]
    exchanges: int
    bytes_up: int
    bytes_down: int
    wall_s: float


@dataclass
class SummedTraining(ABC, Generic[ModelT]):
    """One run of a horizontal job, from the first message to the receipts."""

    order: Order
    talk: Conversation
    watcher: Watcher
    _bundles: dict[str, bytes] = field(default_factory=dict)
    _inboxes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _circle: tuple[str, ...] = ()
    _missing: bool = False
    _rounds: int = 0

    @property
    @abstractmethod
    def stated(self) -> HorizontalJob:
        """Return the job."""

    @abstractmethod
    def trained(self) -> ModelT:
        """Train from the agreed keys to the model. Raises: as `train`."""

    @property
    def roster(self) -> tuple[str, ...]:
        """Return the members, in the order the secure sum uses."""
        return tuple(sorted(self.stated.members))

    @property
    def table(self) -> TableSchema:
        """Return the schema of the job's dataset. Raises: JobInvalid."""
        job = self.stated
        dataset = self.talk.contract.dataset(job.dataset)
        if dataset is None:
            raise JobInvalid(job=job.name, problem=f"the contract has no dataset {job.dataset}")
        return dataset.table

    def train(self) -> Outcome[ModelT]:
        """Run the job to its end; a run that was begun before goes on where it stopped.

        Raises: RunRefused, RunCancelled, MemberRevoked, TrainingDiverged, UpdatesTooFew,
            ProtocolError, NodeFailed while opening or where a node found the protocol broken (the
            run is over; nodes are told); NodesMissing, QuorumLost, NodeFailed otherwise (it may be
            resumed).
        """
        started = time.monotonic()
        try:
            model = self._trained_or_over()
        except _OVER:
            abandon_run(self.talk)
            raise
        receipts = close_run(
            self.talk,
            "finished",
            quorum=threshold_of(len(self.roster)),
            model=model_bytes(model),
        )
        traffic = self.talk.channel.traffic
        return Outcome(
            run=self.talk.run,
            model=model,
            rounds=self._rounds,
            receipts=receipts,
            exchanges=traffic.exchanges,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            wall_s=time.monotonic() - started,
        )

    def _trained_or_over(self) -> ModelT:
        """Train; a failure of a node ends the run where it cannot go on."""
        try:
            return self.trained()
        except NodeFailed as failure:
            if failure.fields["error"] == TrainingDiverged.code:
                # A node would say so of the same round again and again.
                raise TrainingDiverged(round=self._rounds + 1) from failure
            if cannot_go_on(self.talk, failure, opened=bool(self._bundles)):
                abandon_run(self.talk)
            raise

    def finished_round(self, rounds: int, model: ModelT) -> None:
        """Tell of one more round of so many."""
        self._rounds += 1
        self.watcher.finished_round(self._rounds, rounds, model)

    def open_run(self) -> None:
        """Open the run at every member."""
        request = OpenRequest(job=self.stated.signed_bytes(), order_signature=self.order.signature)
        opened = self.talk.open(request, self.roster)
        self._bundles = {member: reply.bundle for member, reply in opened.items()}

    def agree_on_keys(self) -> None:
        """Open the run at every member and pass on their keys and shares."""
        self.open_run()
        shares_request = SharesRequest(bundles=self._bundles)
        shared = self.talk.ask(
            "shares",
            dict.fromkeys(self.roster, shares_request),
            SharesReply,
            quorum=threshold_of(len(self.roster)),
        )
        # Who dealt no shares is left out of all sums of the run.
        self._circle = tuple(sorted(shared))
        self._inboxes = {
            member: {
                sender: one.sealed[member] for sender, one in shared.items() if sender != member
            }
            for member in self._circle
        }

    def sum(self, asked: MaskRequest | UpdateRequest, *, length: int) -> tuple[IntArray, int]:
        """Return one sum over members, shape (length,), and over how many it is."""
        index, quorum = asked.sum_index, threshold_of(len(self.roster))
        requests = {
            member: asked.model_copy(update={"inbox": self._inboxes.get(member, {})})
            for member in self._circle
        }
        replies = self.talk.ask(
            f"{asked.kind}/{index}",
            requests,
            MaskReply,
            quorum=quorum,
            deadline_s=self.talk.patience.missed_s if self._missing else None,
        )
        self._missing = len(replies) < len(self.roster)
        masked = {member: _values(one.values, length, member) for member, one in replies.items()}
        for member in masked:
            self._inboxes.pop(member, None)
        transcript = collector.transcript(
            run=self.talk.run,
            sum_index=index,
            circle=self._circle,
            masked=masked,
            request_hash=asked.model_hash(),
        )
        shares = self._open_sum(index, transcript, tuple(masked), quorum)
        values = collector.combine(
            bundles=self._bundles,
            circle=self._circle,
            sum_index=index,
            masked=masked,
            transcript=transcript,
            unmask_replies=shares,
        )
        return values, len(masked)

    def seen(self, asked: UpdateRequest, *, length: int, fewest: int = 1) -> dict[str, IntArray]:
        """Return the updates of members, each by itself, (length,), of a job that allows it.

        fewest: how many of them what follows needs, where that is more than a sum needs.
        """
        asking = self._circle or self.roster
        quorum = max(threshold_of(len(self.roster)), fewest)
        replies = self.talk.ask(
            f"{asked.kind}/{asked.sum_index}",
            dict.fromkeys(asking, asked),
            SeenReply,
            quorum=quorum,
            deadline_s=self.talk.patience.missed_s if self._missing else None,
        )
        self._missing = len(replies) < len(self.roster)
        return {
            member: _values(one.values, length, member).view(np.int64)
            for member, one in replies.items()
        }

    def _open_sum(
        self, index: int, transcript: bytes, survivors: tuple[str, ...], quorum: int
    ) -> dict[str, bytes]:
        vote = VoteRequest(sum_index=index, transcript=transcript)
        voted = self.talk.ask(
            f"vote/{index}", dict.fromkeys(survivors, vote), VoteReply, quorum=quorum, hurry=True
        )
        votes = {member: one.signature for member, one in voted.items()}
        unmask = UnmaskRequest(sum_index=index, votes=votes)
        opened = self.talk.ask(
            f"unmask/{index}", dict.fromkeys(voted, unmask), UnmaskReply, quorum=quorum, hurry=True
        )
        return {member: one.shares for member, one in opened.items()}


def _values(data: bytes, length: int, member: str) -> RingArray:
    if len(data) != 8 * length:
        raise MessageInvalid(kind="mask", problem=f"{member} sent another number of values")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)
