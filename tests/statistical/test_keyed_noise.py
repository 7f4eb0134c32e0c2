"""Noise from the keyed stream is the discrete Gaussian it claims to be; nobody's seed makes it."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from statistical import noise_checks

from fedmkt.core.errors import EpsilonInvalid, SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import IntArray, LocalUpdate
from fedmkt.privacy.dp_sgd.noise import (
    SIGMA,
    STRIDES,
    TABLE_SIGMA,
    VARIANCE,
    GaussianTable,
    KeyedNoise,
    add_gaussian,
    grid_for,
    on_grid,
)
from fedmkt.privacy.mechanisms import noise_event

SAMPLES = 8_000
FALSE_ALARM = 1e-6  # of each check; a suite run daily for a century stays quiet

variance_fits = partial(noise_checks.variance_fits, false_alarm=FALSE_ALARM)
shape_fits = partial(noise_checks.shape_fits, false_alarm=FALSE_ALARM)


def noise(*, multiplier: float = 2.0, shares: int = 1, samples: int = SAMPLES) -> IntArray:
    grid = grid_for(bound=1.0, noise_multiplier=multiplier, shares=shares, dimensions=samples)
    return add_gaussian(
        on_grid(np.zeros(samples), grid),
        noise_multiplier=multiplier,
        shares=shares,
        trust="local" if shares == 1 else "distributed",
        stream=KeyStream.fresh(),
    ).values


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 40.0])
def test_noise_has_the_scale_and_shape_its_event_claims(multiplier):
    values = noise(multiplier=multiplier)
    assert variance_fits(values, SIGMA)
    assert shape_fits(values, SIGMA)


@pytest.mark.parametrize("factor", [2 / 3, 0.9, 1.1, 3 / 2])
def test_too_little_and_too_much_noise_is_found_out(factor):
    values = np.rint(noise() * factor).astype(np.int64)
    assert not variance_fits(values, SIGMA)


@pytest.mark.parametrize("shares", [3, 5])
def test_shares_add_up_to_the_whole_noise(shares):
    parts = [noise(multiplier=2.0, shares=shares) for _ in range(shares)]
    unit = grid_for(bound=1.0, noise_multiplier=2.0, shares=shares, dimensions=SAMPLES).unit
    total = np.sum(parts, axis=0) * unit
    # The whole noise is twice the bound of 1; the grid takes up the rounding.
    assert variance_fits(total, 2.0)
    assert not variance_fits(total - parts[0] * unit, 2.0)


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 17.0])
@pytest.mark.parametrize("bound", [1e-3, 1.0, 300.0])
def test_noise_on_a_gradient_is_the_multiplier_times_the_bound(multiplier, bound):
    grid = grid_for(bound=bound, noise_multiplier=multiplier, shares=1, dimensions=20_000)
    assert SIGMA * grid.unit == pytest.approx(multiplier * bound, rel=1e-4)
    assert SIGMA * grid.unit >= multiplier * bound


def test_coordinates_releases_and_low_digits_are_uncorrelated():
    one, two = noise(), noise()
    # A correlation of n independent pairs has standard deviation 1/sqrt(n); 6 of them: 2e-9.
    limit = 6 / math.sqrt(SAMPLES)
    for left, right in ((one, two), (one[:-1], one[1:]), (one[:-2], one[2:])):
        assert abs(np.corrcoef(left, right)[0, 1]) < limit
    # The low digits come from another table than the high ones; together they must fill the grid.
    for size in (2, 16, STRIDES[1], STRIDES[2]):
        bins = min(size, 16)
        counts = np.bincount(one % size * bins // size, minlength=bins)
        # Where the bins do not divide the digits, some hold one digit more.
        widths = np.diff([-(-size * place // bins) for place in range(bins + 1)])
        assert chisquare(counts, widths / size * len(one)).pvalue > FALSE_ALARM


def table_fits(table: GaussianTable, sigma: float, reach: int) -> bool:
    """Chi-square of drawn values against the probabilities, worked out in double precision."""
    grid = np.arange(-reach, reach + 1)
    weights = np.exp(-(grid**2) / (2 * sigma**2))
    drawn = table.draw(200_000, KeyStream.fresh())
    found = np.bincount(drawn + reach, minlength=grid.size)
    expected = weights / weights.sum() * drawn.size
    rare = expected < 5
    found = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    return bool(chisquare(found[kept], expected[kept]).pvalue > FALSE_ALARM)


@pytest.mark.parametrize("sigma", [1, 3, 40])
def test_a_table_is_the_discrete_gaussian_itself(sigma):
    table = GaussianTable(sigma, 14 * sigma)
    assert table_fits(table, sigma, 14 * sigma)
    assert not table_fits(table, sigma * 0.95, 14 * sigma)
    assert not table_fits(table, sigma * 1.05, 14 * sigma)


class Scripted:
    """A stream whose words are given, for what happens once in 2^48 draws."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def words(self, count: int, kind: type) -> np.ndarray:
        taken, self._words = self._words[:count], self._words[count:]
        return np.array(taken, dtype=kind)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2 * 3 * 14 - 1), st.integers(-2, 2))
def test_a_number_on_the_border_of_two_values_is_decided_to_its_last_bit(place, step):
    table = GaussianTable(3, 3 * 14)
    border = min(max(table._borders[place] + step, 0), 2**128 - 1)
    number, low = border >> 64, border & (2**64 - 1)
    # On a border the third word, asked for last, decides; all bits are then those of `border`.
    stream = Scripted(number >> 48, (number & (2**48 - 1)) << 16, low)
    expected = sum(one <= border for one in table._borders) - 3 * 14
    assert table.draw(1, stream).tolist() == [expected]


def test_strides_keep_every_sum_smooth():
    # w^2 = s^2 t^2 / (s^2 + k^2 t^2) >= 6, of the module's proof.
    variance = TABLE_SIGMA**2
    for stride in STRIDES[1:]:
        whole = variance + stride**2 * TABLE_SIGMA**2
        assert variance * TABLE_SIGMA**2 >= 6 * whole
        variance = whole
    assert variance == VARIANCE


def test_a_sum_of_strided_tables_is_the_wider_discrete_gaussian():
    # The proof's step 2 on a scale where every probability can be written out: 12 + 2 * 12.
    grid = np.arange(-400, 401)
    small = np.exp(-(grid**2) / (2 * 12.0**2))
    small /= small.sum()
    stretched = np.zeros(2 * 800 + 1)
    stretched[::2] = small
    found = np.convolve(small, stretched)
    wide = np.arange(-1200, 1201)
    expected = np.exp(-(wide**2) / (2 * 12.0**2 * 5))
    # w = 12 / sqrt(5) = 5.4: equal but for 1e-250, so but for what doubles hold.
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=0, atol=1e-15)


def test_noise_follows_from_no_global_seed():
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        drawn.append(noise(samples=50))
    assert (drawn[0] != drawn[1]).all()


@pytest.mark.parametrize("sigma", [SIGMA / 2, SIGMA * 1.001, 1.0, float("nan")])
def test_noise_of_another_scale_is_refused(sigma):
    with pytest.raises(EpsilonInvalid):
        KeyedNoise(KeyStream.fresh()).add_to(np.zeros(3, dtype=np.int64), sigma=sigma)


def test_an_update_on_another_grid_is_refused():
    update = LocalUpdate(np.zeros(3, dtype=np.int64), 2.0**26)
    with pytest.raises(EpsilonInvalid):
        add_gaussian(
            update, noise_multiplier=1.0, shares=1, trust="local", stream=KeyStream.fresh()
        )


@settings(deadline=None, max_examples=60)
@given(st.floats(0.05, 500), st.floats(1e-3, 1e3), st.integers(1, 300), st.integers(0, 2**32))
def test_rounding_stays_within_the_bound_of_one_customer(multiplier, bound, dimensions, seed):
    grid = grid_for(bound=bound, noise_multiplier=multiplier, shares=1, dimensions=dimensions)
    draw = np.random.default_rng(seed)
    move = draw.normal(size=dimensions)
    move *= bound / np.linalg.norm(move)
    others = draw.normal(size=dimensions) * bound * 1000
    difference = on_grid(others + move, grid).values - on_grid(others, grid).values
    assert np.linalg.norm(difference) <= grid.l2_bound
    event = noise_event(
        l2_bound=grid.l2_bound, noise_multiplier=multiplier, shares=1, dimensions=dimensions
    )
    assert event.sigma <= SIGMA


def test_a_grid_too_coarse_for_the_parameters_is_refused():
    with pytest.raises(SettingInvalid):
        grid_for(bound=1.0, noise_multiplier=1e7, shares=1, dimensions=10**6)
