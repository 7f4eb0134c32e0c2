"""The node's side of a horizontal training: one function a step, from request to answer.

Guarantee: nothing here sends, stores or spends. A step reads data only under a reservation that
`fedmkt.node.node` made durable, and says in its `Answer` which release must be committed before
the reply may leave.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedmkt.contract.job import Job
from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import Examples, LocalUpdate, NoiselessUpdate, PrivateUpdate
from fedmkt.data.binning import Binning, binning_with_edges, recode
from fedmkt.horizontal.local_update import check_customers, local_sums
from fedmkt.horizontal.plan import honest_shares
from fedmkt.horizontal.survey import check_edges, survey_counts
from fedmkt.identity.hash_chain import JSON
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.answer import Answer, Program, Stated
from fedmkt.node.home import NodeHome
from fedmkt.node.kept_files import keep_model, keep_scorecard
from fedmkt.node.secure_sums import (
    SummedRun,
    answer_sum,
    check_noised,
    check_sum,
    mask_sum,
    open_sums,
    sums_of,
)
from fedmkt.node.training_data import PricedJob, price, read_examples
from fedmkt.node.wording import noise_words
from fedmkt.privacy.events import Event, GaussianEvent, NonPrivateEvent
from fedmkt.privacy.mechanisms import add_noise, without_noise
from fedmkt.wire.canonical import decode_kept
from fedmkt.wire.steps import Request
from fedmkt.wire.training import MaskRequest


@dataclass(frozen=True, slots=True)
class TrainingState(SummedRun):
    """What a node remembers of a training between messages; kept sealed."""

    job: Job

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainingState":
        """Read the bytes that were sealed."""
        job, member, next_sum, has_inbox, stages = sums_of(decode_kept(data, kind="run state"))
        assert isinstance(job, Job)
        return cls(job, member, next_sum, has_inbox, stages)


def mask(
    home: NodeHome,
    state: TrainingState,
    request: MaskRequest,
    priced: PricedJob,
    examples: Examples,
) -> Answer:
    """Sum over this node's customers, add noise, mask; the release must be committed to leave."""
    index = request.sum_index
    check_sum(state, index, sums=len(priced.sums))
    update = _local_update(request, priced, examples)
    noised = _noised(home, state, request, priced, update)
    plan, event = priced.sums[index], priced.releases[index].event
    check_noised(noised, event)
    kept, reply = mask_sum(
        state,
        index,
        noised,
        made_of=type(update).__name__,
        asked=request.model_hash(),
        inbox=request.inbox,
    )
    facts: dict[str, JSON] = {
        "name": plan.name,
        "event": noise_words(_of_length(event, len(update.values))),
        "stages": kept.stages[-1],
    }
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


def _noised(
    home: NodeHome,
    state: TrainingState,
    request: MaskRequest,
    priced: PricedJob,
    update: LocalUpdate,
) -> PrivateUpdate | NoiselessUpdate:
    privacy, run = priced.job.privacy, state.secure_sum.run
    if privacy.noise_multiplier is None:
        return without_noise(update)
    return add_noise(
        update,
        noise_multiplier=privacy.noise_multiplier,
        shares=honest_shares(priced.job),
        trust=privacy.trust,
        source=home.noise.stream(f"{run}/{request.sum_index}/{home.member}"),
    )


def _model_of(request: MaskRequest, binning: Binning, task: str) -> AdditiveModel:
    effects = request.effects_array()
    if effects.shape != (binning.total,):
        raise MessageInvalid(kind="mask", problem="effects do not fit the public binning")
    return AdditiveModel(binning, request.intercept, np.ascontiguousarray(effects), task)


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
        examples, card = read_examples(home, priced.dataset, priced.job, priced.binning)
        check_customers(examples)
        keep_scorecard(home, priced.dataset.name, card)
        return examples

    def open(self, home: NodeHome, run: str, priced: PricedJob, loaded: Examples) -> Answer:  # noqa: ARG002
        """Make this run's keys."""
        member, reply, facts = open_sums(home, run, priced.job, len(priced.sums))
        return Answer(reply, TrainingState(priced.job, member), "opened", facts)

    def step(
        self,
        home: NodeHome,
        state: TrainingState,
        request: Request,
        data: Callable[[], tuple[PricedJob, Examples]],
    ) -> Answer:
        """Answer one request."""
        if isinstance(request, MaskRequest):
            return mask(home, state, request, *data())
        return answer_sum(home, state, request)

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
