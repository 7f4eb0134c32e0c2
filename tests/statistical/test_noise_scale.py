"""Noise has the scale its event claims: the right one is accepted, 2/3 and 3/2 of it are not."""

import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import chisquare
from statistical import noise_checks

from fedmkt.core.stages import LocalUpdate
from fedmkt.privacy.mechanisms import OsNoise, ReproducibleNoise, add_noise

SAMPLES = 8_000
FALSE_ALARM = 1e-6  # of each check; a suite run daily for a century stays quiet
MULTIPLIER = 4.0
BOUND = 2.0**28
SOURCES = [OsNoise(), ReproducibleNoise(20)]

variance_fits = partial(noise_checks.variance_fits, false_alarm=FALSE_ALARM)
shape_fits = partial(noise_checks.shape_fits, false_alarm=FALSE_ALARM)


def noise(source, *, multiplier: float = MULTIPLIER, shares: int = 1, bound: float = BOUND):
    update = LocalUpdate(values=np.zeros(SAMPLES, dtype=np.int64), l2_bound=bound)
    trust = "local" if shares == 1 else "distributed"
    return add_noise(
        update, noise_multiplier=multiplier, shares=shares, trust=trust, source=source
    ).values


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_noise_has_the_scale_and_shape_its_event_claims(source):
    values = noise(source)
    assert variance_fits(values, MULTIPLIER * BOUND)
    assert shape_fits(values, MULTIPLIER * BOUND)


@pytest.mark.parametrize("factor", [2 / 3, 3 / 2])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_two_thirds_and_three_halves_of_the_noise_are_found_out(source, factor):
    values = noise(source, multiplier=MULTIPLIER * factor)
    assert not variance_fits(values, MULTIPLIER * BOUND)
    assert not shape_fits(values, MULTIPLIER * BOUND)


@pytest.mark.parametrize("shares", [3, 5])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_shares_add_up_to_the_whole_noise(source, shares):
    parts = [noise(source.stream(f"sum/{part}"), shares=shares) for part in range(shares)]
    total = np.sum(parts, axis=0)
    assert variance_fits(total, MULTIPLIER * BOUND)
    assert shape_fits(total, MULTIPLIER * BOUND)
    # One share missing must show, or the check would not see a drop-out that was not planned for.
    assert not variance_fits(total - parts[0], MULTIPLIER * BOUND)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_coordinates_releases_and_streams_are_uncorrelated(source):
    one, two = noise(source), noise(source)
    other = noise(source.stream("another"))
    # A correlation of n independent pairs has standard deviation 1/sqrt(n); 6 of them: 2e-9.
    limit = 6 / math.sqrt(SAMPLES)
    for left, right in ((one, two), (one, other), (one[:-1], one[1:])):
        assert abs(np.corrcoef(left, right)[0, 1]) < limit


@pytest.mark.parametrize("sigma", [0.8, 1.7])
def test_operating_system_noise_is_the_discrete_gaussian_itself_on_a_coarse_grid(sigma):
    values = noise(OsNoise(), multiplier=sigma, bound=1.0)
    reach = math.floor(3 * sigma)
    grid = np.arange(-reach, reach + 1)
    weights = np.exp(-(np.arange(-60, 61) ** 2) / (2 * sigma**2))
    chances = np.exp(-(grid**2) / (2 * sigma**2)) / weights.sum()
    chances = np.append(chances, 1 - chances.sum())
    found = np.array([*((values == n).sum() for n in grid), (np.abs(values) > reach).sum()])
    assert chisquare(found, chances * SAMPLES).pvalue > FALSE_ALARM
