"""What leaves a node in a vertical job, known before any row is read.

Guarantee: `label_releases` states what a training costs the label of an aligned customer, whatever
that label is, and `score_releases` how often a partner's exact scores are shown; both follow from
the job and the public bins alone. All sums of a round are one release: one flipped label moves them
by at most `residuals.label_bound` together, the owner's own and the intercept's included.
Not guaranteed: anything about columns. What scores tell the label owner has no epsilon; it is
counted and capped, never priced.
"""

import numpy as np

from fedmkt.contract.vertical_jobs import ExpansionJob, ScoringJob, VerticalJob
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.events import (
    ExactEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
    Release,
)
from fedmkt.privacy.mechanisms import noise_event
from fedmkt.privacy.randomised_response import unbiased
from fedmkt.vertical.residuals import label_bound, residual_limit
from fedmkt.vertical.student import student_bound


def label_releases(job: VerticalJob, *, bins: int) -> tuple[Release, ...]:
    """Return what leaves the label owner, as privacy events of one customer's label.

    bins: public bins of all parties' features together; the intercept's total is counted besides.
    """
    labels, rounds = job.labels, range(job.model.rounds)
    if labels.mode == "encrypted":
        assert labels.noise_multiplier is not None
        event = noise_event(
            l2_bound=label_bound(job.features),
            noise_multiplier=labels.noise_multiplier,
            shares=1,
            dimensions=bins + 1,
        )
        return tuple(
            Release(index, f"round {index + 1}: noised sums of residuals", event)
            for index in rounds
        )
    if labels.mode == "label_private":
        assert labels.epsilon is not None
        response = RandomisedResponseEvent(epsilon=labels.epsilon)
        return (Release(0, "labels, randomised once for all rounds", response),)
    shown = "residuals" if labels.mode == "shared_labels" else "sums of residuals"
    return tuple(
        Release(index, f"round {index + 1}: {shown} without noise", NonPrivateEvent(bins + 1))
        for index in rounds
    )


def score_releases(job: VerticalJob | ScoringJob) -> tuple[Release, ...]:
    """Return what leaves a partner: its customers' scores, one vector a round or a scoring."""
    rounds = job.model.rounds if isinstance(job, VerticalJob) else 1
    return tuple(
        Release(index, f"round {index + 1}: scores", ExactEvent("scores", 1))
        for index in range(rounds)
    )


def student_release(job: ExpansionJob, *, bins: int) -> Release:
    """Return what leaves the label owner in an expansion. bins: the partner's public bins."""
    event = noise_event(
        l2_bound=student_bound(len(job.parties[1].features), job.clip),
        noise_multiplier=job.privacy.noise_multiplier,
        shares=1,
        dimensions=bins,
    )
    return Release(0, "noised sums of the joint score", event)


def noise_sigma(job: VerticalJob) -> float:
    """Return the standard deviation of the noise in a sum, in grid units; 0 for none."""
    if job.labels.noise_multiplier is None:
        return 0.0
    event = noise_event(
        l2_bound=label_bound(job.features),
        noise_multiplier=job.labels.noise_multiplier,
        shares=1,
        dimensions=1,
    )
    return event.sigma


def calibrated_multiplier(
    *, epsilon: float, delta: float, rounds: int, features: int, bins: int
) -> float:
    """Return the noise multiplier with which a training of so many rounds costs `epsilon`.

    features and bins: of all parties together. Raises: EpsilonInvalid.
    Guarantee: `label_releases` of such a job cost at most `epsilon` at `delta`.
    """
    return noise_multiplier_for(
        epsilon=epsilon,
        delta=delta,
        releases=rounds,
        dimensions=bins + 1,
        grid_bound=label_bound(features),
    )


def limit_of(job: VerticalJob) -> int:
    """Return the most a residual of the job can be, in grid units."""
    if job.labels.mode != "label_private":
        return residual_limit()
    assert job.labels.epsilon is not None
    low, high = unbiased(np.array([0, 1], dtype=np.uint8), job.labels.epsilon)
    return residual_limit(float(low), float(high))
