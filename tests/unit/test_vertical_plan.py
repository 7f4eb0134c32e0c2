"""What a vertical job releases, and at what price."""

from typing import Literal

import pytest

from fedmkt.contract.vertical_jobs import (
    CountPrivacy,
    ExpansionJob,
    LabelPrivacy,
    Party,
    ScoringJob,
    VerticalJob,
    VerticalSettings,
)
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import (
    ExactEvent,
    GaussianEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
)
from fedmkt.vertical.plan import (
    calibrated_multiplier,
    label_releases,
    noise_sigma,
    score_releases,
    student_release,
)
from fedmkt.vertical.residuals import GRID

BINS, ROUNDS = 120, 5
PARTIES = (
    Party(member="bank", dataset="accounts", features=("age", "hours")),
    Party(member="retailer", dataset="cards", features=("city",)),
)


def _job(labels: LabelPrivacy) -> VerticalJob:
    return VerticalJob(
        name="joint",
        requester="bank",
        purpose="prospecting",
        parties=PARTIES,
        alignment="alignment-1",
        owner="bank",
        target="income",
        model=VerticalSettings(rounds=ROUNDS),
        labels=labels,
    )


ENCRYPTED = _job(LabelPrivacy(mode="encrypted", epsilon=3.0, noise_multiplier=2.5))


def test_encrypted_releases_one_noised_vector_of_all_sums_a_round() -> None:
    releases = label_releases(ENCRYPTED, bins=BINS)
    assert [release.index for release in releases] == list(range(ROUNDS))
    # Three features and the intercept: sqrt(3 + 1) grids, times the multiplier.
    event = GaussianEvent(2.5, sigma=2.5 * 2 * GRID, shares=1, dimensions=BINS + 1)
    assert {release.event for release in releases} == {event}
    assert noise_sigma(ENCRYPTED) == event.sigma


def test_label_private_releases_each_label_once_for_all_rounds() -> None:
    job = _job(LabelPrivacy(mode="label_private", epsilon=1.5))
    (release,) = label_releases(job, bins=BINS)
    assert release.event == RandomisedResponseEvent(1.5, labels=1)
    assert noise_sigma(job) == 0.0
    assert epsilon_of([release.event], 1e-5) == pytest.approx(1.5, abs=1e-4)


@pytest.mark.parametrize("mode", ["encrypted_without_noise", "shared_labels"])
def test_without_noise_every_round_is_a_release_no_epsilon_bounds(
    mode: Literal["encrypted_without_noise", "shared_labels"],
) -> None:
    job = _job(LabelPrivacy(mode=mode))
    releases = label_releases(job, bins=BINS)
    assert [type(release.event) for release in releases] == [NonPrivateEvent] * ROUNDS
    assert noise_sigma(job) == 0.0


def test_scores_are_counted_once_a_round_and_once_a_scoring() -> None:
    scoring = ScoringJob(
        name="scoring",
        requester="bank",
        purpose="prospecting",
        parties=PARTIES,
        alignment="alignment-1",
        owner="bank",
        model="joint",
    )
    shown = [score_releases(job) for job in (ENCRYPTED, scoring)]
    assert [len(releases) for releases in shown] == [ROUNDS, 1]
    assert {release.event for releases in shown for release in releases} == {
        ExactEvent("scores", 1)
    }


def test_a_student_costs_its_partners_features_alone() -> None:
    job = ExpansionJob(
        name="expansion",
        requester="bank",
        purpose="prospecting",
        parties=(Party(member="bank", dataset="accounts"), PARTIES[1]),
        alignment="alignment-1",
        owner="bank",
        model="joint",
        clip=3.0,
        privacy=CountPrivacy(epsilon=1.0, noise_multiplier=3.7),
    )
    # One feature, a score that moves by 2 * 3 log-odds.
    event = student_release(job, bins=40).event
    assert event == GaussianEvent(3.7, sigma=3.7 * 6 * GRID, shares=1, dimensions=40)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_calibrated_job_costs_its_epsilon_and_hardly_less(epsilon: float) -> None:
    multiplier = calibrated_multiplier(
        epsilon=epsilon, delta=1e-5, rounds=ROUNDS, features=3, bins=BINS
    )
    job = _job(LabelPrivacy(mode="encrypted", epsilon=epsilon, noise_multiplier=multiplier))
    cost = epsilon_of([release.event for release in label_releases(job, bins=BINS)], 1e-5)
    assert 0.99 * epsilon < cost <= epsilon
