"""What will leave a node in a network's training, known before any row is read.

Guarantee: `planned_network` states the length of every sum of the job and `network_releases` what
each costs one customer of one partner; both follow from the job and the public shape alone.

    sum 0      the partner's customers, counted with noise
    sum r      round r: the sum of clipped gradients (fedsgd), or the change that the partner's own
               noised steps made, times its noised count, and that count (all others)

A change costs what its steps cost: it is made of their noised sums, of public numbers and of the
noised count, so it is post-processing. Each step is one event; remaking whatever takes the steps
changes nothing.
Source: Dwork and Roth 2014, "The Algorithmic Foundations of Differential Privacy", proposition 2.1.
"""

from dataclasses import dataclass

from fedmkt.contract.job import NetworkJob
from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import RangeExceeded
from fedmkt.horizontal.local_update import GRID
from fedmkt.horizontal.plan import honest_shares
from fedmkt.models.network_shape import NetworkShape, shape_from_schema
from fedmkt.privacy.calibration import smallest_multiplier
from fedmkt.privacy.dp_sgd.poisson import LARGEST_BATCH
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.privacy.events import LARGEST_MULTIPLIER, Event, NonPrivateEvent, Release
from fedmkt.privacy.mechanisms import noise_event

COUNT = 0
"""The place of the count among the sums; the rounds follow from 1 on."""
UNIT = 2.0**-20
"""The grid of changes, and of gradients without noise, times customers."""


MOST_CUSTOMERS = LARGEST_BATCH
"""Of one partner in a network's training. One public number, whatever the job's rate: a limit that
moved with the job would tell the number of customers by what it lets pass."""


@dataclass(frozen=True, slots=True)
class NetworkSum:
    """One sum over partners: its place, its name and its length."""

    index: int
    name: str
    length: int


def job_shape(job: NetworkJob, table: TableSchema) -> NetworkShape:
    """Return the network of a job over a dataset's schema. Raises: SettingInvalid."""
    model = job.model
    return shape_from_schema(table, job.features, width=model.width, blocks=model.blocks)


def check_customers(customers: int) -> None:
    """Refuse a table of more than `MOST_CUSTOMERS`. Raises: RangeExceeded."""
    if customers > MOST_CUSTOMERS:
        raise RangeExceeded(problem=f"a table has more than {MOST_CUSTOMERS:,} customers")


def planned_network(job: NetworkJob, shape: NetworkShape) -> tuple[NetworkSum, ...]:
    """Return the sums of `job`: the count of customers, then one a round."""
    model = job.model
    length = shape.length if model.sums_gradients else shared_length(job, shape) + 1
    what = (
        "sums of clipped gradients"
        if model.sums_gradients
        else f"change after {model.local_steps} steps, and its weight"
    )
    rounds = (
        NetworkSum(number, f"round {number}: {what}", length)
        for number in range(1, model.rounds + 1)
    )
    return (NetworkSum(COUNT, "count of customers", 1), *rounds)


def network_releases(job: NetworkJob, shape: NetworkShape) -> tuple[Release, ...]:
    """Return what each sum of `job` costs a customer of one partner, as privacy events.

    Raises: SettingInvalid, EpsilonInvalid for noise that no event can hold.
    """
    sums = planned_network(job, shape)
    return tuple(Release(one.index, one.name, _event(job, shape, one)) for one in sums)


def shared_length(job: NetworkJob, shape: NetworkShape) -> int:
    """Return how many parameters, from the first on, partners have in common."""
    return shape.length - shape.head_length if job.model.personal_head else shape.length


def step_terms(job: NetworkJob, shape: NetworkShape) -> DpSgdTerms:
    """Return the terms of one round's noised steps at one partner. Raises: SettingInvalid."""
    model, multiplier = job.model, job.privacy.noise_multiplier
    assert multiplier is not None
    assert model.clip_norm is not None
    return DpSgdTerms(
        clip_norm=model.clip_norm,
        noise_multiplier=multiplier,
        sampling_rate=model.sampling_rate,
        steps=model.steps_a_round,
        dimensions=shape.length,
        shares=honest_shares(job),
    )


def count_multiplier(job: NetworkJob) -> float:
    """Return the noise multiplier of the count: a customer weighs `count_weight` of one in it."""
    assert job.privacy.noise_multiplier is not None
    return min(job.privacy.noise_multiplier / job.privacy.count_weight, LARGEST_MULTIPLIER)


def network_multiplier(job: NetworkJob, shape: NetworkShape) -> float:
    """Return the smallest noise multiplier, within 1e-3 of itself, that keeps to the job's epsilon.

    job: its noise multiplier does not matter. Raises: EpsilonInvalid, SettingInvalid.
    """
    privacy = job.privacy
    assert privacy.epsilon is not None

    def events(multiplier: float) -> list[Event]:
        noised = privacy.model_copy(update={"noise_multiplier": multiplier})
        asked = job.model_copy(update={"privacy": noised})
        return [release.event for release in network_releases(asked, shape)]

    return smallest_multiplier(events, epsilon=privacy.epsilon, delta=privacy.delta)


def _event(job: NetworkJob, shape: NetworkShape, one: NetworkSum) -> Event:
    if job.privacy.trust == "none":
        return NonPrivateEvent(dimensions=one.length)
    if one.index != COUNT:
        return step_terms(job, shape).event
    return noise_event(
        l2_bound=GRID,
        noise_multiplier=count_multiplier(job),
        shares=honest_shares(job),
        dimensions=1,
    )
