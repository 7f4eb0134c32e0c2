"""The node's side of a horizontal training: one function a step, from request to answer.

Guarantee: nothing here sends, stores or spends. A step reads data only under a reservation that
`fedmkt.node.node` made durable, and says in its `Answer` which release must be committed before
the reply may leave.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from fedmkt.contract.job import Job, parse_job_json
from fedmkt.core.errors import (
    MessageInvalid,
    StepOutOfOrder,
    TooFewMembers,
)
from fedmkt.core.stages import (
    Examples,
    LocalUpdate,
    MaskedUpdate,
    NoiselessUpdate,
    PrivateUpdate,
)
from fedmkt.data.binning import Binning, binning_with_edges, recode
from fedmkt.horizontal.local_update import local_sums
from fedmkt.horizontal.plan import honest_shares
from fedmkt.horizontal.survey import check_edges, survey_counts
from fedmkt.identity.hash_chain import JSON
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.answer import Answer, Program, Stated
from fedmkt.node.home import NodeHome
from fedmkt.node.kept_files import keep_model, keep_scorecard
from fedmkt.node.training_data import RING, PricedJob, price, read_examples
from fedmkt.node.wording import noise_words
from fedmkt.privacy.events import Event, GaussianEvent, NonPrivateEvent
from fedmkt.privacy.mechanisms import add_noise, without_noise
from fedmkt.security.secure_sum import member as secure_sum
from fedmkt.security.secure_sum.messages import parse_transcript
from fedmkt.security.secure_sum.state import MemberState
from fedmkt.wire.canonical import decode_kept, encode
from fedmkt.wire.run import OpenReply
from fedmkt.wire.steps import Request
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


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a node remembers of a run between messages; kept sealed.

    stages: for each release made, the types it passed through; the receipt is drawn from them.
    """

    job: Job
    secure_sum: MemberState = field(repr=False)
    next_sum: int = 0
    has_inbox: bool = False
    stages: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        job, member = self.job.signed_bytes(), self.secure_sum.to_bytes()
        return encode([job, member, self.next_sum, self.has_inbox, list(self.stages)])

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainingState":
        """Read the bytes that were sealed."""
        job, member, next_sum, has_inbox, stages = decode_kept(data, kind="run state")
        state = MemberState.from_bytes(member)
        parsed = parse_job_json(job, source="stored job")
        assert isinstance(parsed, Job)
        return cls(parsed, state, next_sum, has_inbox, tuple(stages))


def open_run(home: NodeHome, run: str, job: Job, sums: int) -> Answer:
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
    return Answer(OpenReply(bundle=bundle), TrainingState(job, state), "opened", facts)


def share(home: NodeHome, state: TrainingState, request: SharesRequest) -> Answer:
    """Check everybody's keys against the contract and seal a share for each other member."""
    member, sealed = secure_sum.share(state.secure_sum, request.bundles, home.directory)
    facts = {"members": sorted(request.bundles)}
    return Answer(SharesReply(sealed=sealed), replace(state, secure_sum=member), "shared", facts)


def mask(
    home: NodeHome,
    state: TrainingState,
    request: MaskRequest,
    priced: PricedJob,
    examples: Examples,
) -> Answer:
    """Sum over this node's customers, add noise, mask; the release must be committed to leave."""
    index = request.sum_index
    if index < state.next_sum or index >= len(priced.sums):
        raise StepOutOfOrder(step=f"mask/{index}", run=state.secure_sum.run)
    member = state.secure_sum
    if not state.has_inbox:
        member = secure_sum.receive_shares(member, request.inbox)
    update = _local_update(request, priced, examples)
    member, noised, masked = _protect(home, member, request, priced, update)
    plan, event = priced.sums[index], priced.releases[index].event
    stages = f"{type(update).__name__} {type(noised).__name__} {type(masked).__name__}"
    kept = replace(
        state,
        secure_sum=member,
        next_sum=index + 1,
        has_inbox=True,
        stages=(*state.stages, stages),
    )
    facts: dict[str, JSON] = {
        "name": plan.name,
        "event": noise_words(_of_length(event, len(update.values))),
        "stages": stages,
    }
    reply = MaskReply(values=masked.values.astype("<u8", copy=False).tobytes())
    return Answer(reply, kept, "released", facts, commits=(index,))


def _of_length(event: Event, length: int) -> Event:
    """Return the event of a sum whose length a survey has fixed."""
    if isinstance(event, GaussianEvent | NonPrivateEvent):
        return replace(event, dimensions=length)
    return event


def _local_update(request: MaskRequest, priced: PricedJob, examples: Examples) -> LocalUpdate:
    plan = priced.sums[request.sum_index]
    sums = _survey if plan.survey else _round
    update = sums(request, priced, examples)
    length = len(update.values)
    # Privacy: the price was set for exactly this bound and length, before data were read; where a
    # survey finds the bins, for the greatest length they can have. A coordinator that opens with
    # another model than the agreed one would move the bound.
    if update.l2_bound != plan.l2_bound:
        raise MessageInvalid(kind="mask", problem="its model is not the one a run opens with")
    assert length == plan.length or (plan.at_most and length < plan.length)
    return update


def _survey(request: MaskRequest, priced: PricedJob, examples: Examples) -> LocalUpdate:
    """Count on the public grid. Raises: MessageInvalid."""
    if request.intercept or request.effects or request.edges:
        raise MessageInvalid(kind="mask", problem="a survey has no model and no edges")
    return survey_counts(examples, priced.binning)


def _round(request: MaskRequest, priced: PricedJob, examples: Examples) -> LocalUpdate:
    """Sum over the bins the request asks for, if the job allows them. Raises: MessageInvalid."""
    job, binning = priced.job, priced.binning
    if job.model.surveys:
        check_edges(request.edges, binning, max_bins=job.model.max_bins)
        binning = binning_with_edges(priced.dataset.table, job.features, request.edges)
        examples = Examples(recode(examples.codes, priced.binning, binning), examples.target)
    elif request.edges:
        raise MessageInvalid(kind="mask", problem="the job's edges are the declared ones")
    with_counts = priced.sums[request.sum_index].with_counts
    count_weight = job.privacy.count_weight if with_counts else None
    return local_sums(
        examples, _model_of(request, binning, priced.job.model.task), count_weight=count_weight
    )


def _protect(
    home: NodeHome,
    member: MemberState,
    request: MaskRequest,
    priced: PricedJob,
    update: LocalUpdate,
) -> tuple[MemberState, PrivateUpdate | NoiselessUpdate, MaskedUpdate]:
    index, privacy = request.sum_index, priced.job.privacy
    asked = request.model_hash()
    if privacy.noise_multiplier is None:
        bare = without_noise(update)
        member, masked = secure_sum.mask_noiseless(member, index, bare, request_hash=asked)
        return member, bare, masked
    private = add_noise(
        update,
        noise_multiplier=privacy.noise_multiplier,
        shares=honest_shares(priced.job),
        trust=privacy.trust,
        source=home.noise.stream(f"{member.run}/{index}/{home.member}"),
    )
    member, masked = secure_sum.mask(member, index, private, request_hash=asked)
    return member, private, masked


def _model_of(request: MaskRequest, binning: Binning, task: str) -> AdditiveModel:
    effects = request.effects_array()
    if effects.shape != (binning.total,):
        raise MessageInvalid(kind="mask", problem="effects do not fit the public binning")
    return AdditiveModel(binning, request.intercept, np.ascontiguousarray(effects), task)


def vote(home: NodeHome, state: TrainingState, request: VoteRequest) -> Answer:
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


def unmask(state: TrainingState, request: UnmaskRequest) -> Answer:
    """Give the shares that open one sum, once, to those who all signed the same survivors."""
    index = request.sum_index
    member, shares = secure_sum.unmask(state.secure_sum, index, request.votes)
    facts: dict[str, JSON] = {"sum": index, "signers": sorted(request.votes)}
    return Answer(UnmaskReply(shares=shares), replace(state, secure_sum=member), "unmasked", facts)


class HorizontalTraining(Program[Job, PricedJob, TrainingState, Examples]):
    """Partners hold the same columns for their own customers; sums leave them."""

    def price(self, home: NodeHome, job: Job) -> PricedJob:
        """Check and price a job."""
        return price(home, job)

    def stated(self, home: NodeHome, job: Job) -> Stated:  # noqa: ARG002
        """Return what a receipt says of the job."""
        trust = job.privacy.trust
        return Stated(job.dataset, trust, job.privacy.delta, trust)

    def load(self, home: NodeHome, priced: PricedJob) -> Examples:
        """Read this node's customers and keep their table's scorecard."""
        examples, card = read_examples(home, priced)
        keep_scorecard(home, priced.dataset.name, card)
        return examples

    def open(self, home: NodeHome, run: str, priced: PricedJob, loaded: Examples) -> Answer:  # noqa: ARG002
        """Make this run's keys."""
        return open_run(home, run, priced.job, len(priced.sums))

    def step(
        self,
        home: NodeHome,
        state: TrainingState,
        request: Request,
        data: Callable[[], tuple[PricedJob, Examples]],
    ) -> Answer:
        """Answer one request."""
        match request:
            case SharesRequest():
                return share(home, state, request)
            case MaskRequest():
                return mask(home, state, request, *data())
            case VoteRequest():
                return vote(home, state, request)
            case UnmaskRequest():
                return unmask(state, request)
        raise StepOutOfOrder(step=request.kind, run=state.secure_sum.run)

    def state(self, data: bytes) -> TrainingState:
        """Read a state's bytes."""
        return TrainingState.from_bytes(data)

    def keep(
        self,
        home: NodeHome,
        run: str,
        state: TrainingState,  # noqa: ARG002
        *,
        finished: bool,  # noqa: ARG002
        model: bytes,
    ) -> str:
        """Keep a finished run's model."""
        return keep_model(home, run, model)
