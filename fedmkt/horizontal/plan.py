"""What will leave a node in a training, known before any row is read.

Guarantee: `planned_sums` states the length and the exact bound of every sum that `local_sums` will
make in the job, and `planned_releases` what each costs; both follow from the job and the public
bins alone. A node prices these, reserves them, and sends nothing that is not among them.
Not guaranteed: that the job is allowed. The ledger and the contract decide that.
"""

import math
from dataclasses import dataclass

from fedmkt.contract.job import Job
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import bound_over, residual_units, weight_units
from fedmkt.models.tasks import task_named
from fedmkt.privacy.events import NonPrivateEvent, Release
from fedmkt.privacy.mechanisms import noise_event


@dataclass(frozen=True, slots=True)
class SumPlan:
    """One sum over customers: its place in the run, its length and its bound in grid units."""

    index: int
    name: str
    length: int
    l2_bound: float
    with_counts: bool


def planned_sums(job: Job, binning: Binning) -> tuple[SumPlan, ...]:
    """Return the sums of `job`, one a round; the opening one carries the bin counts too."""
    task = task_named(job.model.task)
    weight = weight_units(job.privacy.count_weight)
    features = len(binning.features)
    opening = SumPlan(
        index=0,
        name="round 1: residual sums and bin counts",
        length=2 * binning.total,
        l2_bound=bound_over(features, residual=residual_units(task, opening=True), weight=weight),
        with_counts=True,
    )
    later = tuple(
        SumPlan(
            index=index,
            name=f"round {index + 1}: residual sums",
            length=binning.total,
            l2_bound=bound_over(features, residual=residual_units(task, opening=False), weight=0),
            with_counts=False,
        )
        for index in range(1, job.model.rounds)
    )
    return (opening, *later)


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


def honest_shares(job: Job) -> int:
    """Return how many members' noise the guarantee counts on: 1 with trust `local`."""
    if job.privacy.trust != "distributed":
        return 1
    return max(1, len(job.members) - job.privacy.tolerated)


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
