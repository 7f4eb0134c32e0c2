"""What the coordinator does in trainings, scorings and expansions over aligned customers.

A round takes four exchanges: the owner's residuals out, masked products back, noised products out,
masked scores back. Where labels are shared, two. It adds up masked scores, which only the owner can
unmask, and carries everything else as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedmkt.contract.vertical_jobs import ExpansionJob, ScoringJob, VerticalJob
from fedmkt.coordinator.shared_run import SharedRun
from fedmkt.core.errors import MessageInvalid
from fedmkt.identity.hash_chain import JSON
from fedmkt.security.score_sum import add_masked
from fedmkt.wire.run import Body
from fedmkt.wire.shared import (
    DoneReply,
    NoisedReply,
    NoisedRequest,
    ProductsRequest,
    ResidualsReply,
    ResidualsRequest,
    ResultRequest,
    ScoresReply,
    ScoresRequest,
    SealedReply,
    StudentRequest,
)

_WORD = "<u4"


@dataclass
class VerticalRun(SharedRun):
    """One training over the columns of several members."""

    kind: ClassVar[str] = "vertical"
    job: VerticalJob

    @staticmethod
    def exchanges(job: VerticalJob) -> int:
        """Return the number of exchanges."""
        a_round = 2 if job.labels.mode == "shared_labels" else 4
        return a_round * job.model.rounds + 3

    def carry_out(self) -> dict[str, JSON]:
        """Run the rounds and hand the owner the last total."""
        total = b""
        for index in range(self.job.model.rounds):
            total = self._round(index, total)
        self.ask("result", {self.job.owner: ResultRequest(total=total)}, DoneReply)
        return {}

    def _round(self, index: int, total: bytes) -> bytes:
        job = self.job
        bundles = self.bundles if index == 0 else {}
        asked = ResidualsRequest(index=index, bundles=bundles, total=total)
        told = self.ask(f"residuals/{index}", {job.owner: asked}, ResidualsReply)[job.owner]
        if job.labels.mode == "shared_labels":
            scores = {
                member: ScoresRequest(
                    index=index, bundles=bundles, residuals=told.residuals, key=key
                )
                for member, key in _keys_of(told, job.partners).items()
            }
        else:
            noised = products(self, index, told, bundles)
            scores = {
                member: ScoresRequest(index=index, sealed=sealed)
                for member, sealed in noised.items()
            }
        scored = self.ask(f"scores/{index}", scores, ScoresReply)
        return added([reply.masked for reply in scored.values()])


@dataclass
class ScoringRun(SharedRun):
    """Scores the aligned customers with a model that the members keep in parts."""

    kind: ClassVar[str] = "scoring"
    job: ScoringJob

    @staticmethod
    def exchanges(job: ScoringJob) -> int:  # noqa: ARG004
        """Return the number of exchanges."""
        return 4

    def carry_out(self) -> dict[str, JSON]:
        """Ask the partners for their scores and hand the owner the total."""
        asked: Mapping[str, Body] = dict.fromkeys(
            self.job.partners, ScoresRequest(index=0, bundles=self.bundles)
        )
        scored = self.ask("scores/0", asked, ScoresReply)
        result = ResultRequest(
            bundles=self.bundles,
            total=added([reply.masked for reply in scored.values()]),
            parts={member: reply.part for member, reply in scored.items() if reply.part},
        )
        self.ask("result", {self.job.owner: result}, DoneReply)
        return {}


@dataclass
class ExpansionRun(SharedRun):
    """Teaches one partner a student of the joint model."""

    kind: ClassVar[str] = "expansion"
    job: ExpansionJob

    @staticmethod
    def exchanges(job: ExpansionJob) -> int:  # noqa: ARG004
        """Return the number of exchanges."""
        return 6

    def carry_out(self) -> dict[str, JSON]:
        """Carry one protected inner product."""
        owner, partner = self.job.members
        asked = ResidualsRequest(index=0, bundles=self.bundles)
        told = self.ask("residuals/0", {owner: asked}, ResidualsReply)[owner]
        noised = products(self, 0, told, self.bundles)
        self.ask("student", {partner: StudentRequest(sealed=noised[partner])}, DoneReply)
        return {}


def products(
    run: VerticalRun | ExpansionRun,
    index: int,
    told: ResidualsReply,
    bundles: Mapping[str, bytes],
) -> dict[str, bytes]:
    """Carry encrypted residuals to the partners, their products to the owner; return its answer."""
    job = run.job
    requests = {
        member: ProductsRequest(
            index=index, bundles=dict(bundles), residuals=told.residuals, key=key
        )
        for member, key in _keys_of(told, job.partners).items()
    }
    multiplied = run.ask(f"products/{index}", requests, SealedReply)
    asked = NoisedRequest(
        index=index, sealed={member: reply.sealed for member, reply in multiplied.items()}
    )
    noised = run.ask(f"noised/{index}", {job.owner: asked}, NoisedReply)[job.owner].sealed
    return exactly(noised, job.partners)


def added(masked: list[bytes]) -> bytes:
    """Return the sum of masked scores. Raises: MessageInvalid (not all of one length)."""
    if len({len(one) for one in masked}) != 1 or len(masked[0]) % 4:
        raise MessageInvalid(kind="scores", problem="not one number a customer")
    total = add_masked([np.frombuffer(one, dtype=_WORD).astype(np.uint32) for one in masked])
    return bytes(total.astype(_WORD).tobytes())


def _keys_of(told: ResidualsReply, partners: tuple[str, ...]) -> dict[str, bytes]:
    return exactly(told.keys, partners)


def exactly(sealed: dict[str, bytes], partners: tuple[str, ...]) -> dict[str, bytes]:
    """Return what is sealed to each partner. Raises: MessageInvalid (not to each of them)."""
    if set(sealed) != set(partners):
        raise MessageInvalid(kind="residuals", problem="not one part for each partner")
    return sealed
