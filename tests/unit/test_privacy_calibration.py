"""Noise is as small as the target allows and no smaller."""

import math

import pytest

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.horizontal.local_update import bound_over, residual_units, weight_units
from fedmkt.horizontal.survey import survey_bound
from fedmkt.models.tasks import task_named
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.calibration import COARSEST_BOUND, USUAL_LENGTH, noise_multiplier_for
from fedmkt.privacy.events import GaussianEvent

DELTA = 1e-5
BOUND = 2.0**26 * math.sqrt(10)  # ten features, in grid units


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 50.0])
@pytest.mark.parametrize("releases", [1, 50])
def test_the_multiplier_reaches_the_target_and_a_thousandth_less_does_not(epsilon, releases):
    multiplier = noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=releases)

    def cost(z: float) -> float:
        return epsilon_of([GaussianEvent(z, z * BOUND, 1, 2000)] * releases, DELTA)

    assert cost(multiplier) <= epsilon
    assert cost(multiplier / (1 + 1e-3)) > epsilon


def test_epsilon_one_takes_the_analytic_gaussians_noise():
    # Balle and Wang's closed form: sigma = 3.7306 for epsilon 1, delta 1e-5.
    multiplier = noise_multiplier_for(epsilon=1.0, delta=DELTA, releases=1)
    assert multiplier == pytest.approx(3.7306, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 1e-320, 1e7])
def test_an_epsilon_no_noise_can_reach_is_refused(epsilon):
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=1)


def test_a_longer_vector_takes_its_own_calibration():
    """Ten number columns on grids of 8192 cells: 81,920 cells, past the usual length."""
    length = 10 * 8192

    def cost(z: float) -> float:
        return epsilon_of([GaussianEvent(z, z * COARSEST_BOUND, 1, length)], DELTA)

    usual = noise_multiplier_for(epsilon=8.0, delta=DELTA, releases=1)
    longer = noise_multiplier_for(epsilon=8.0, delta=DELTA, releases=1, dimensions=length)
    assert length > USUAL_LENGTH
    assert cost(longer) <= 8.0
    assert usual <= longer < 1.002 * usual


@pytest.mark.parametrize("dimensions", [0, 2**32])
def test_a_length_no_release_can_have_is_refused(dimensions):
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=DELTA, releases=1, dimensions=dimensions)


def test_no_job_has_a_smaller_bound_than_calibration_takes_for_granted():
    # One feature is the least; the smallest count weight adds a single grid unit.
    task, weight = task_named("propensity"), weight_units(1e-12)
    bounds = [
        bound_over(1, residual=residual_units(task, opening=opening), weight=weight)
        for opening in (True, False)
    ]
    assert min(*bounds, survey_bound(1)) >= COARSEST_BOUND


def test_no_releases_and_a_wrong_delta_are_refused():
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=DELTA, releases=0)
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=0.0, releases=1)
