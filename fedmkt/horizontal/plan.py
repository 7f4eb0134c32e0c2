"""What will leave a node in a training, known before any row is read.

Guarantee: `planned_sums` states the length and the exact bound of every sum that `survey_counts`
and `local_sums` will make in the job, and `planned_releases` what each costs; both follow from the
job and the public bins alone. A node prices these, reserves them, and sends nothing that is not
among them. Where a survey finds the edges, the length of a round's sum is the most it can be.
Not guaranteed: that the job is allowed. The ledger and the contract decide that.
"""

import math
from dataclasses import dataclass, replace

from fedmkt.contract.job import HorizontalJob, Job
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import bound_over, residual_units, weight_units
from fedmkt.horizontal.survey import most_bins, number_features, survey_bound
from fedmkt.models.tasks import task_named
from fedmkt.privacy.events import NonPrivateEvent, Release
from fedmkt.privacy.mechanisms import noise_event


@dataclass(frozen=True, slots=True)
class SumPlan:
    """One sum over customers: its place in the run, its length and its bound in grid units.

    at_most: the length is the most it can be, for a survey is still to find the bins.
    """

    index: int
    name: str
    length: int
    l2_bound: float
    with_counts: bool
    survey: bool = False
    at_most: bool = False

    def over(self, binning: Binning) -> "SumPlan":
        """Return this round's plan with its exact length over `binning`."""
        length = (2 if self.with_counts else 1) * binning.total
        return replace(self, length=length, at_most=False)


def planned_sums(job: Job, binning: Binning) -> tuple[SumPlan, ...]:
    """Return the sums of `job`: a survey if it wants one, then one a round.

    The opening round carries the bin counts too. binning: the job's `public_binning`.
    """
    if not job.model.surveys:
        return _rounds(job, features=len(binning.features), bins=binning.total, start=0)
    grid = number_features(binning)
    survey = SumPlan(
        index=0,
        name="survey: counts of number columns on a fine public grid",
        length=sum(feature.bins for feature in grid),
        l2_bound=survey_bound(len(grid)),
        with_counts=False,
        survey=True,
    )
    bins = most_bins(binning, max_bins=job.model.max_bins)
    rounds = _rounds(job, features=len(binning.features), bins=bins, start=1)
    return (survey, *(replace(plan, at_most=True) for plan in rounds))


def planned_releases(job: Job, binning: Binning) -> tuple[Release, ...]:
    """Return what each sum of `job` costs a customer of one partner, as privacy events."""
    return tuple(_release(plan, job) for plan in planned_sums(job, binning))


def noise_in_sum(plan: SumPlan, job: Job, *, survivors: int) -> float:
    """Return the standard deviation of the noise in a sum of `survivors` updates, in grid units."""
    multiplier = job.privacy.noise_multiplier
    if job.privacy.trust == "none" or multiplier is None:
        return 0.0
    event = noise_event(
        l2_bound=plan.l2_bound,
        noise_multiplier=multiplier,
        shares=honest_shares(job),
        dimensions=plan.length,
    )
    return event.sigma * math.sqrt(survivors)


def honest_shares(job: HorizontalJob) -> int:
    """Return how many members' noise the guarantee counts on: 1 with trust `local`."""
    if job.privacy.trust != "distributed":
        return 1
    return len(job.members) - job.privacy.may_drop - job.privacy.may_collude


def _rounds(job: Job, *, features: int, bins: int, start: int) -> tuple[SumPlan, ...]:
    """Return the sums of the rounds, the first of them sum `start` of the run."""
    task = task_named(job.model.task)
    weight = weight_units(job.privacy.count_weight)
    opening = SumPlan(
        index=start,
        name="round 1: residual sums and bin counts",
        length=2 * bins,
        l2_bound=bound_over(features, residual=residual_units(task, opening=True), weight=weight),
        with_counts=True,
    )
    later = tuple(
        SumPlan(
            index=start + place,
            name=f"round {place + 1}: residual sums",
            length=bins,
            l2_bound=bound_over(features, residual=residual_units(task, opening=False), weight=0),
            with_counts=False,
        )
        for place in range(1, job.model.rounds)
    )
    return (opening, *later)


def _release(plan: SumPlan, job: Job) -> Release:
    """Return one sum as a release."""
    multiplier = job.privacy.noise_multiplier
    if job.privacy.trust == "none" or multiplier is None:
        return Release(plan.index, plan.name, NonPrivateEvent(dimensions=plan.length))
    event = noise_event(
        l2_bound=plan.l2_bound,
        noise_multiplier=multiplier,
        shares=honest_shares(job),
        dimensions=plan.length,
    )
    return Release(plan.index, plan.name, event)
