"""Noise is as small as the target allows and no smaller."""

import math

import pytest

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.calibration import noise_multiplier_for
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


def test_no_releases_and_a_wrong_delta_are_refused():
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=DELTA, releases=0)
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=0.0, releases=1)
