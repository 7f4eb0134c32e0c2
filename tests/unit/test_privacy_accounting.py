"""What is reported, against an independent closed form and against the discrete noise itself."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.accounting import epsilon_of, mu_gdp, slack_of
from fedmkt.privacy.events import GaussianEvent, NonPrivateEvent

DELTA = 1e-5
GRID = 2.0**26


def analytic_delta(epsilon: float, mu: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, theorem 8: the Gaussian mechanism's exact delta."""
    below = norm.logcdf(-mu / 2 - epsilon / mu)
    return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon + below))


def analytic_epsilon(mu: float, delta: float = DELTA) -> float:
    return brentq(lambda epsilon: analytic_delta(epsilon, mu) - delta, 0, 500, xtol=1e-12)


def discrete_delta(epsilon: float, sigma: float, shift: int) -> float:
    """The exact delta of discrete Gaussian noise on one integer query of sensitivity `shift`."""
    reach = math.ceil(12 * sigma) + shift
    grid = np.arange(-reach, reach + shift + 1)
    weights = np.exp(-(grid**2) / (2 * sigma**2))
    here = weights / weights.sum()
    there = np.exp(-((grid - shift) ** 2) / (2 * sigma**2)) / weights.sum()
    return float(np.maximum(here - math.exp(epsilon) * there, 0).sum())


@pytest.mark.parametrize(
    ("multiplier", "releases"),
    [(0.3, 1), (0.6, 3), (1.0, 1), (1.0, 5), (3.73, 1), (10.0, 5), (50.0, 1)],
)
def test_figures_agree_with_the_analytic_gaussian(multiplier, releases):
    event = GaussianEvent(multiplier, multiplier * 2.0**40, 1, 100)
    reported = epsilon_of([event] * releases, DELTA)
    exact = analytic_epsilon(math.sqrt(releases) / multiplier)
    assert exact < reported < exact * (1 + 1e-5) + 2e-6


def test_where_the_slack_passes_delta_the_renyi_bound_is_reported():
    event = GaussianEvent(0.2, 0.2 * GRID, 1, 800)
    exact = analytic_epsilon(1 / 0.2)
    assert exact < epsilon_of([event], DELTA) < 1.08 * exact


def test_unequal_releases_compose_like_one_gaussian():
    events = [GaussianEvent(z, z * GRID, 1, 10) for z in (2.0, 3.0, 6.0)]
    mu = math.sqrt(1 / 4 + 1 / 9 + 1 / 36)
    assert mu_gdp(events) == pytest.approx(mu, rel=1e-12)
    assert epsilon_of(events, DELTA) == pytest.approx(analytic_epsilon(mu), rel=1e-5)


@pytest.mark.parametrize(
    ("sigma", "shift"), [(0.7, 1), (1.0, 1), (2.5, 2), (10.0, 3), (40.0, 40), (3000.0, 800)]
)
def test_the_discrete_noise_itself_keeps_to_the_figure_on_coarse_grids(sigma, shift):
    reported = epsilon_of([GaussianEvent(sigma / shift, sigma, 1, 1)], DELTA)
    assert discrete_delta(reported, sigma, shift) <= DELTA


def test_the_slack_is_more_than_a_formality_on_a_coarse_grid():
    coarse = epsilon_of([GaussianEvent(4.0, 1000.0, 1, 10)], DELTA)
    fine = epsilon_of([GaussianEvent(4.0, 4 * GRID, 1, 10)], DELTA)
    assert coarse > fine + 0.01


@pytest.mark.parametrize("sigma", [2.0**26, 2.0**33])
def test_the_slack_is_negligible_on_the_training_grid(sigma):
    # 50 releases of 2,000 values at epsilon about 8: all slack together moves epsilon by < 1e-3.
    multiplier = 4.246
    events = [GaussianEvent(multiplier, sigma, 1, 2000)] * 50
    exact = analytic_epsilon(math.sqrt(50) / multiplier)
    assert exact == pytest.approx(8.0, abs=0.01)
    assert (1 + math.exp(8)) * slack_of(events) < 1e-3 * DELTA
    assert exact < epsilon_of(events, DELTA) < exact + 1e-3


def test_noise_in_shares_costs_what_the_whole_noise_costs():
    whole = GaussianEvent(3.0, 3 * GRID, 1, 500)
    shared = GaussianEvent(3.0, 3 * GRID / math.sqrt(4), 4, 500)
    assert epsilon_of([shared], DELTA) == epsilon_of([whole], DELTA)


def test_nothing_released_costs_nothing():
    assert epsilon_of([], DELTA) == 0.0
    assert mu_gdp([]) == 0.0


def test_one_release_without_noise_has_no_finite_epsilon():
    events = [GaussianEvent(3.0, 3 * GRID, 1, 5), NonPrivateEvent(dimensions=5)]
    assert math.isinf(epsilon_of(events, DELTA))
    assert math.isinf(mu_gdp(events))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan, math.inf])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(EpsilonInvalid):
        epsilon_of([], delta)


@pytest.mark.parametrize("multiplier", [1e-3, 0.02, 1e4, 1e9])
def test_extreme_multipliers_still_get_a_sound_figure(multiplier):
    reported = epsilon_of([GaussianEvent(multiplier, 1e9, 1, 10)], DELTA)
    assert math.isfinite(reported)
    assert analytic_delta(reported, 1 / multiplier) <= DELTA
