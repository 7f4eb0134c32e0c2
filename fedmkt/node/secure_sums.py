"""What horizontal runs of every family do at a node: keys, shares, masks, votes and openings.

Guarantee: nothing here sends, stores or spends; that of `security.secure_sum.member` holds for
every sum.
Not guaranteed: anything of what `show_update` gives out. It is not masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fedmkt.contract.job import AnyJob, HorizontalJob, parse_job_json
from fedmkt.contract.permissions import UpdatesSeen
from fedmkt.core.errors import StepOutOfOrder, TooFewMembers
from fedmkt.core.stages import NoiselessUpdate, PrivateUpdate, SeenUpdate, TrainedUpdate
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer
from fedmkt.node.home import NodeHome
from fedmkt.privacy.events import Event, GaussianEvent, NonPrivateEvent, PoissonGaussianEvent
from fedmkt.security.secure_sum import member as secure_sum
from fedmkt.security.secure_sum.messages import parse_transcript
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.security.secure_sum.state import MemberState
from fedmkt.wire.canonical import encode
from fedmkt.wire.run import OpenReply
from fedmkt.wire.steps import Request
from fedmkt.wire.training import (
    MaskReply,
    SeenReply,
    SharesReply,
    SharesRequest,
    UnmaskReply,
    UnmaskRequest,
    VoteReply,
    VoteRequest,
)

RING = Ring(64)
Update = PrivateUpdate | TrainedUpdate | NoiselessUpdate


@dataclass(frozen=True, slots=True)
class SummedRun:
    """What a node remembers of a run of sums between messages; kept sealed.

    stages: for each release made, the types it passed through; the receipt is drawn from them.
    """

    job: HorizontalJob
    secure_sum: MemberState = field(repr=False)
    next_sum: int = 0
    has_inbox: bool = False
    stages: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        return encode(self.sums_bytes())

    def sums_bytes(self) -> list[Any]:
        """Return the fields as what canonical bytes are made of."""
        job, member = self.job.signed_bytes(), self.secure_sum.to_bytes()
        return [job, member, self.next_sum, self.has_inbox, list(self.stages)]


RunT = TypeVar("RunT", bound=SummedRun)


def sums_of(fields: Sequence[Any]) -> tuple[AnyJob, MemberState, int, bool, tuple[str, ...]]:
    """Return what `SummedRun.sums_bytes` wrote: its fields, in order."""
    job, member, next_sum, has_inbox, stages = fields
    parsed = parse_job_json(job, source="stored job")
    return parsed, MemberState.from_bytes(member), next_sum, has_inbox, tuple(stages)


def check_sum(state: SummedRun, index: int, *, sums: int) -> None:
    """Raise StepOutOfOrder for a sum that was made, or that the job does not have."""
    if index < state.next_sum or index >= sums:
        raise StepOutOfOrder(step=f"mask/{index}", run=state.secure_sum.run)


def check_noised(update: Update, event: Event) -> None:
    """Hold an update to the event that is charged for it: noise is in it or it is none's price.

    Where a noised sum itself leaves, its noise has the scale that was charged, or a larger one.
    """
    # Privacy: what an update is says how it was made; the job's settings only say how it should be.
    assert isinstance(update, NoiselessUpdate) == isinstance(event, NonPrivateEvent)
    if isinstance(update, PrivateUpdate):
        charged = event.noise if isinstance(event, PoissonGaussianEvent) else event
        assert isinstance(charged, GaussianEvent)
        assert update.sigma >= charged.sigma


def mask_sum(
    state: RunT,
    index: int,
    update: Update,
    *,
    made_of: str,
    asked: str,
    inbox: Mapping[str, bytes],
) -> tuple[RunT, MaskReply]:
    """Mask the update of sum `index`, taking up the shares that others sent before the first.

    Args: made_of: the type of what the update was made from. asked: hash of what was asked.
    """
    member = state.secure_sum
    if not state.has_inbox:
        member = secure_sum.receive_shares(member, inbox)
    if isinstance(update, NoiselessUpdate):
        member, masked = secure_sum.mask_noiseless(member, index, update, request_hash=asked)
    else:
        member, masked = secure_sum.mask(member, index, update, request_hash=asked)
    stages = f"{made_of} {type(update).__name__} {type(masked).__name__}"
    kept = replace(
        state,
        secure_sum=member,
        next_sum=index + 1,
        has_inbox=True,
        stages=(*state.stages, stages),
    )
    return kept, MaskReply(values=masked.values.astype("<u8", copy=False).tobytes())


def open_sums(
    home: NodeHome, run: str, job: HorizontalJob, sums: int
) -> tuple[MemberState, OpenReply, Mapping[str, JSON]]:
    """Make this run's keys; the reply carries their public halves."""
    state, bundle = secure_sum.open_member(
        identity=home.identity,
        member=home.member,
        run=run,
        roster=tuple(sorted(job.members)),
        sums=sums,
        ring=RING,
    )
    facts = {"job": job.name, "job_hash": job.hash, "purpose": job.purpose, "dataset": job.dataset}
    return state, OpenReply(bundle=bundle), facts


def show_update(
    state: RunT,
    index: int,
    update: Update,
    allowed: UpdatesSeen,
    *,
    made_of: str,
) -> tuple[RunT, SeenReply]:
    """Give an update of sum `index` out as it is, of a job that asks for it.

    allowed: the word of this node's own dataset, without which there is no such reply.
    """
    assert state.job.updates_seen
    assert state.job.dataset == allowed.dataset.name
    seen = SeenUpdate(update.values)
    stages = f"{made_of} {type(update).__name__} {type(seen).__name__}"
    kept = replace(state, next_sum=index + 1, stages=(*state.stages, stages))
    return kept, SeenReply(values=seen.values.astype("<i8", copy=False).tobytes())


def share(home: NodeHome, state: RunT, request: SharesRequest) -> Answer:
    """Check everybody's keys against the contract and seal a share for each other member."""
    member, sealed = secure_sum.share(state.secure_sum, request.bundles, home.directory)
    facts = {"members": sorted(request.bundles)}
    return Answer(SharesReply(sealed=sealed), replace(state, secure_sum=member), "shared", facts)


def vote(home: NodeHome, state: RunT, request: VoteRequest) -> Answer:
    """Sign the survivors of a sum, once."""
    index = request.sum_index
    privacy = state.job.privacy
    survivors = parse_transcript(request.transcript).survivors
    missing = len(state.job.members) - len(survivors)
    # Privacy: with shared noise, more drop-outs than the noise was sized for leave too little.
    if privacy.trust == "distributed" and missing > privacy.may_drop:
        needed = len(state.job.members) - privacy.may_drop
        raise TooFewMembers(needed=needed, present=len(survivors))
    member, signature = secure_sum.vote(state.secure_sum, index, request.transcript, home.identity)
    facts: dict[str, JSON] = {"sum": index, "survivors": sorted(survivors)}
    return Answer(VoteReply(signature=signature), replace(state, secure_sum=member), "voted", facts)


def unmask(state: RunT, request: UnmaskRequest) -> Answer:
    """Give the shares that open one sum, once, to those who all signed the same survivors."""
    index = request.sum_index
    member, shares = secure_sum.unmask(state.secure_sum, index, request.votes)
    facts: dict[str, JSON] = {"sum": index, "signers": sorted(request.votes)}
    return Answer(UnmaskReply(shares=shares), replace(state, secure_sum=member), "unmasked", facts)


def answer_sum(home: NodeHome, state: RunT, request: Request) -> Answer:
    """Answer a request that every family has. Raises: StepOutOfOrder for another."""
    match request:
        case SharesRequest():
            return share(home, state, request)
        case VoteRequest():
            return vote(home, state, request)
        case UnmaskRequest():
            return unmask(state, request)
    raise StepOutOfOrder(step=request.kind, run=state.secure_sum.run)
