"""What a horizontal training is at a node before its first step: its price, and the rows it reads.

Guarantee: none by itself; `fedmkt.node.training` makes both, in that order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedmkt.contract.collaboration import Dataset
from fedmkt.contract.job import HorizontalJob, Job
from fedmkt.contract.permissions import allow
from fedmkt.core.errors import AudienceTooSmall, ClaimedEpsilonWrong
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning
from fedmkt.data.quality import FreshnessTerms, Scorecard
from fedmkt.data.tables import RowCoder, load_examples
from fedmkt.horizontal.local_update import LARGEST_SUM
from fedmkt.horizontal.plan import SumPlan, planned_releases, planned_sums
from fedmkt.horizontal.survey import public_binning
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.secure_sums import RING
from fedmkt.node.wording import noise_words
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import GaussianEvent, PoissonGaussianEvent, Release
from fedmkt.security.secure_sum.ring import check_headroom

BYTES_A_VALUE = 8
EPSILON_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class PricedJob(Priced):
    """A horizontal training with its sums.

    binning: what rows are encoded with when they are read: the bins of the model or, where a
    survey finds those, its fine public grid.
    """

    job: Job
    binning: Binning
    sums: tuple[SumPlan, ...]


def price(home: NodeHome, job: Job) -> PricedJob:
    """Check a job against the contract and price its releases; no data are touched.

    Raises: a Refusal: the contract says no, or the stated epsilon is not what it costs;
        JobInvalid for a survey of no number column; RangeExceeded where noise could wrap a sum.
    """
    dataset = allow(home.contract, job, member=home.member, now=home.clock.now())
    binning = public_binning(job, dataset.table)
    releases = planned_releases(job, binning)
    epsilon = checked_epsilon(job, releases)
    sums = planned_sums(job, binning)
    return PricedJob(
        job=job,
        dataset=dataset,
        releases=releases,
        epsilon=epsilon,
        delta=job.privacy.delta,
        leaves=tuple(map(_leaves, sums, releases)),
        binning=binning,
        sums=sums,
    )


def checked_epsilon(job: HorizontalJob, releases: Sequence[Release]) -> float:
    """Return what releases cost a customer together.

    Raises: ClaimedEpsilonWrong where that is more than the job states; RangeExceeded where noise
        could wrap a sum.
    """
    epsilon = epsilon_of([release.event for release in releases], job.privacy.delta)
    claimed = job.privacy.epsilon
    if claimed is not None and epsilon > claimed + EPSILON_ROUNDING:
        raise ClaimedEpsilonWrong(claimed=claimed, actual=epsilon)
    for release in releases:
        noise = _sigma(release) * math.sqrt(len(job.members))
        check_headroom(len(job.members) * LARGEST_SUM, noise, RING)
    return epsilon


def _sigma(release: Release) -> float:
    """Return the standard deviation of the noise in a release, in grid units."""
    event = release.event
    if isinstance(event, PoissonGaussianEvent):
        return event.noise.sigma
    return event.sigma if isinstance(event, GaussianEvent) else 0.0


def _leaves(plan: SumPlan, release: Release) -> str:
    most = "at most " if plan.at_most else ""
    size = f"{most}{plan.length} numbers ({plan.length * BYTES_A_VALUE:,} bytes)"
    return f"{release.name}: {size}, masked; {noise_words(release.event)}"


def read_examples(
    home: NodeHome, dataset: Dataset, job: HorizontalJob, coder: RowCoder
) -> tuple[Examples, Scorecard]:
    """Read this node's customers for a job, with their table's quality scorecard.

    Raises: DataError, naming rules and rows, never values; AudienceTooSmall.
    """
    examples, card = load_examples(
        home.source(dataset.name),
        dataset.table,
        dataset=dataset.name,
        target=job.target,
        coder=coder,
        quality_floor=dataset.quality_floor,
        freshness=FreshnessTerms(today=home.clock.now().date()),
    )
    if examples.rows < dataset.minimum_audience:
        raise AudienceTooSmall(dataset=dataset.name, minimum=dataset.minimum_audience)
    return examples, card
