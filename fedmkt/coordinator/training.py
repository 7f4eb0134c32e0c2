"""What the coordinator does in a training run: open, then one secure sum a round, then close.

Three exchanges for the run (open, shares, close) and three a sum (mask, vote, unmask). Where the
job takes its bins from private quantiles, a survey is summed before the rounds.
Guarantee: it only ever learns sums over at least three members, and whatever their noise leaves.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedmkt.contract.job import Job
from fedmkt.contract.order import Order
from fedmkt.coordinator.closing import abandon_run, broke_protocol, close_run
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
)
from fedmkt.core.stages import IntArray, RingArray
from fedmkt.data.binning import Binning, binning_with_edges
from fedmkt.horizontal.newton import TrainingState, apply_sum, initial_state
from fedmkt.horizontal.plan import SumPlan, noise_in_sum, planned_sums
from fedmkt.horizontal.survey import edges_from_survey, public_binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.security.secure_sum import collector
from fedmkt.security.secure_sum.messages import threshold_of
from fedmkt.wire.canonical import canonical_json
from fedmkt.wire.run import OpenRequest
from fedmkt.wire.training import (
    MaskReply,
    MaskRequest,
    SharesReply,
    SharesRequest,
    UnmaskReply,
    UnmaskRequest,
    VoteReply,
    VoteRequest,
)


class Watcher(Protocol):
    """Told of every finished round of a horizontal training and every step of other runs."""

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        """Round `number` of `rounds` is done."""
        ...

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Exchange `number` of `steps`, called `name`, is done."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the model, what it cost to talk, and the members' signed receipts."""

    run: str
    state: TrainingState
    receipts: Mapping[str, bytes]
    exchanges: int
    bytes_up: int
    bytes_down: int
    wall_s: float

    @property
    def model(self) -> AdditiveModel:
        """Return the trained model."""
        return self.state.model


@dataclass
class TrainingRun:
    """One run of a job, from the first message to the receipts."""

    order: Order
    job: Job
    talk: Conversation
    watcher: Watcher
    _bundles: dict[str, bytes] = field(default_factory=dict)
    _inboxes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _circle: tuple[str, ...] = ()
    _missing: bool = False

    @property
    def roster(self) -> tuple[str, ...]:
        """Return the members, in the order the secure sum uses."""
        return tuple(sorted(self.job.members))

    def train(self) -> Outcome:
        """Run the job to its end; a run that was begun before goes on where it stopped.

        Raises: RunRefused, RunCancelled, MemberRevoked, TrainingDiverged, ProtocolError, NodeFailed
            while opening or where a node found the protocol broken (the run is over; nodes are
            told); NodesMissing, QuorumLost, NodeFailed otherwise (it may be resumed).
        """
        started = time.monotonic()
        try:
            state = self._rounds()
        except (RunRefused, RunCancelled, MemberRevoked, TrainingDiverged, ProtocolError):
            abandon_run(self.talk)
            raise
        except NodeFailed as failure:
            # A node that failed to open gave back what it had reserved, one that found the protocol
            # broken goes no further: this run is over. One that only cannot say again that it
            # opened did not give back: a run that was begun may go on.
            never_open = not self._bundles and not self.talk.begun
            if never_open or broke_protocol(failure):
                abandon_run(self.talk)
            raise
        receipts = close_run(
            self.talk,
            "finished",
            quorum=threshold_of(len(self.roster)),
            model=model_bytes(state.model),
        )
        traffic = self.talk.channel.traffic
        return Outcome(
            run=self.talk.run,
            state=state,
            receipts=receipts,
            exchanges=traffic.exchanges,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            wall_s=time.monotonic() - started,
        )

    def _rounds(self) -> TrainingState:
        job = self.job
        dataset = self.talk.contract.dataset(job.dataset)
        if dataset is None:
            raise JobInvalid(job=job.name, problem=f"the contract has no dataset {job.dataset}")
        binning = public_binning(job, dataset.table)
        self._agree_on_keys()
        plans = planned_sums(job, binning)
        edges: dict[str, tuple[float, ...]] = {}
        if job.model.surveys:
            edges = self._survey(plans[0], binning)
            binning = binning_with_edges(dataset.table, job.features, edges)
            plans = tuple(plan.over(binning) for plan in plans[1:])
        state = initial_state(binning, job.model)
        for plan in plans:
            values, survivors = self._sum(plan, _asked(plan, state.model, edges))
            state = apply_sum(
                state,
                values,
                noise_sigma=noise_in_sum(plan, job, survivors=survivors),
                count_weight=job.privacy.count_weight,
            )
            self.watcher.finished_round(state.round, job.model.rounds, state.model)
        return state

    def _survey(self, plan: SumPlan, grid: Binning) -> dict[str, tuple[float, ...]]:
        """Have customers counted on the fine grid, and make edges of the released counts."""
        asked = MaskRequest(sum_index=plan.index, intercept=0.0, effects=b"")
        values, _ = self._sum(plan, asked)
        return edges_from_survey(values, grid, max_bins=self.job.model.max_bins)

    def _agree_on_keys(self) -> None:
        request = OpenRequest(job=self.job.signed_bytes(), order_signature=self.order.signature)
        opened = self.talk.open(request, self.roster)
        self._bundles = {member: reply.bundle for member, reply in opened.items()}
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

    def _sum(self, plan: SumPlan, asked: MaskRequest) -> tuple[IntArray, int]:
        index, quorum = plan.index, threshold_of(len(self.roster))
        requests = {
            member: asked.model_copy(update={"inbox": self._inboxes.get(member, {})})
            for member in self._circle
        }
        replies = self.talk.ask(
            f"mask/{index}",
            requests,
            MaskReply,
            quorum=quorum,
            deadline_s=self.talk.patience.missed_s if self._missing else None,
        )
        self._missing = len(replies) < len(self.roster)
        masked = {member: _ring_values(one, plan, member) for member, one in replies.items()}
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


def _asked(plan: SumPlan, model: AdditiveModel, edges: dict[str, tuple[float, ...]]) -> MaskRequest:
    return MaskRequest(
        sum_index=plan.index,
        intercept=model.intercept,
        effects=model.effects.astype("<f8").tobytes(),
        edges=edges,
    )


def _ring_values(reply: MaskReply, plan: SumPlan, member: str) -> RingArray:
    if len(reply.values) != 8 * plan.length:
        raise MessageInvalid(kind="mask", problem=f"{member} sent another number of values")
    return np.frombuffer(reply.values, dtype="<u8").astype(np.uint64)


def model_bytes(model: AdditiveModel) -> bytes:
    """Return the canonical JSON of a model: what nodes and coordinator keep."""
    return canonical_json(model.to_json())
