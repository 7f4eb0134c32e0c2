import math

import numpy as np
import pytest

from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal.local_update import GRID, local_sums
from fedmkt.horizontal.newton import apply_sum, initial_state
from fedmkt.horizontal.plan import noise_in_sum, planned_releases, planned_sums
from fedmkt.models.additive import zero_model
from fedmkt.privacy.events import GaussianEvent, NonPrivateEvent
from fedmkt.privacy.mechanisms import ReproducibleNoise, add_noise

BINNING = Binning(
    (
        FeatureBins("spend", ("0", "1", "2"), (1.0, 2.0), True),
        FeatureBins("region", ("north", "south"), (), False),
    )
)
LOCAL = PrivacySettings(epsilon=1.0, noise_multiplier=8.0, count_weight=0.3)
SHARED = LOCAL.model_copy(update={"trust": "distributed", "may_drop": 0, "may_collude": 1})
NONE = PrivacySettings(trust="none", count_weight=0.3)


def _job(privacy: PrivacySettings, rounds: int = 3) -> Job:
    return Job(
        name="j",
        requester="bank",
        purpose="lookalike",
        dataset="cards",
        members=("a", "b", "c", "d"),
        target="buys",
        features=("spend", "region"),
        model=AdditiveSettings(rounds=rounds),
        privacy=privacy,
    )


def _examples() -> Examples:
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(0, 3, 300), rng.integers(0, 2, 300)], axis=1)
    target = (rng.random(300) < 0.2 + 0.2 * codes[:, 0]).astype(np.uint8)
    return Examples(codes.astype(np.uint16), target)


def test_every_sum_of_a_run_has_the_planned_length_and_bound() -> None:
    state = initial_state(BINNING, AdditiveSettings(rounds=3))
    plans = planned_sums(_job(NONE), BINNING)
    assert len(plans) == 3
    for plan in plans:
        weight = 0.3 if plan.with_counts else None
        update = local_sums(_examples(), state.model, count_weight=weight)
        assert (len(update.values), update.l2_bound) == (plan.length, plan.l2_bound)
        state = apply_sum(state, update.values, noise_sigma=0.0, count_weight=0.3)


def test_counts_travel_in_the_opening_sum_alone() -> None:
    plans = planned_sums(_job(LOCAL), BINNING)
    assert [plan.with_counts for plan in plans] == [True, False, False]
    assert [plan.length for plan in plans] == [10, 5, 5]
    assert [plan.index for plan in plans] == [0, 1, 2]


@pytest.mark.parametrize("privacy", [LOCAL, SHARED])
def test_planned_events_are_what_the_mechanism_adds(privacy: PrivacySettings) -> None:
    """4 members, 1 may collude: the guarantee counts on 3 shares; with local trust on its own."""
    job = _job(privacy)
    shares = 3 if privacy.trust == "distributed" else 1
    first = planned_releases(job, BINNING)[0]
    update = local_sums(_examples(), zero_model(BINNING), count_weight=0.3)
    sent = add_noise(
        update,
        noise_multiplier=8.0,
        shares=shares,
        trust=privacy.trust,
        source=ReproducibleNoise(1),
    )
    assert isinstance(first.event, GaussianEvent)
    assert (first.event.sigma, first.event.shares) == (sent.sigma, shares)
    assert first.event.dimensions == len(sent.values)


def test_noise_in_a_sum_is_that_of_its_survivors() -> None:
    """Variances add: 4 local shares of (8 bound)^2; 3 distributed survivors give (8 bound)^2."""
    opening = planned_sums(_job(LOCAL), BINNING)[0]
    whole = 8.0 * opening.l2_bound
    assert noise_in_sum(opening, _job(LOCAL), survivors=4) == pytest.approx(2 * whole)
    assert noise_in_sum(opening, _job(SHARED), survivors=3) == pytest.approx(whole)
    assert noise_in_sum(opening, _job(SHARED), survivors=4) == pytest.approx(
        whole * math.sqrt(4 / 3)
    )
    assert noise_in_sum(opening, _job(NONE), survivors=4) == 0.0


def test_a_run_without_noise_is_planned_as_non_private() -> None:
    events = [release.event for release in planned_releases(_job(NONE), BINNING)]
    assert events == [NonPrivateEvent(10), NonPrivateEvent(5), NonPrivateEvent(5)]


def test_heavier_counts_cost_more_noise_in_the_opening_sum_only() -> None:
    light, heavy = (
        planned_sums(_job(LOCAL.model_copy(update={"count_weight": weight})), BINNING)
        for weight in (0.1, 2.0)
    )
    assert light[0].l2_bound == pytest.approx(GRID * math.sqrt(2 * (0.25 + 0.01)), rel=1e-6)
    assert heavy[0].l2_bound == pytest.approx(GRID * math.sqrt(2 * (0.25 + 4)), rel=1e-6)
    assert light[1:] == heavy[1:]
