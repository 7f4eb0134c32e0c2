"""Bounds that must hold for every event, cap and scale."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fedmkt.privacy.accounting import epsilon_of, total_variation
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.filter import cost_nano, filter_terms, spent_epsilon
from fedmkt.privacy.mechanisms import noise_event
from fedmkt.privacy.quantiles import edges_from_noised_counts

FINE = 2.0**40  # grid units: no slack to speak of
multipliers = st.floats(0.05, 1e6)
epsilons = st.floats(1e-3, 100)
deltas = st.floats(1e-12, 1e-2)
orders = st.integers(2, 10**6)


def gaussian(multiplier: float, *, sigma: float = FINE, shares: int = 1) -> GaussianEvent:
    return GaussianEvent(multiplier, sigma, shares, 10)


def discrete_gaussian(sigma: float, reach: int) -> np.ndarray:
    grid = np.arange(-reach, reach + 1)
    weights = np.exp(-(grid**2) / (2 * sigma**2))
    return weights / weights.sum()


def rounded_gaussian(sigma: float, reach: int) -> np.ndarray:
    # Differences of survival values on one side keep their digits; the other side is its mirror.
    tails = norm.sf(np.arange(0, reach + 2) - 0.5, scale=sigma)
    half = tails[:-1] - tails[1:]
    return np.concatenate([half[:0:-1], half])


@settings(deadline=None)
@given(multipliers, orders)
def test_costs_are_never_rounded_down(multiplier, order):
    exact = Fraction(order) / (2 * Fraction(multiplier) ** 2)
    assert (
        exact
        <= Fraction(cost_nano(gaussian(multiplier), order), 10**9)
        < exact + Fraction(1, 10**9)
    )


@settings(deadline=None)
@given(multipliers, multipliers, orders)
def test_more_noise_never_costs_more(one, other, order):
    low, high = sorted((one, other))
    assert cost_nano(gaussian(high), order) <= cost_nano(gaussian(low), order)


@settings(deadline=None)
@given(multipliers, orders, orders)
def test_a_higher_order_never_costs_less(multiplier, one, other):
    low, high = sorted((one, other))
    assert cost_nano(gaussian(multiplier), low) <= cost_nano(gaussian(multiplier), high)


@settings(deadline=None)
@given(epsilons, st.floats(1.5, 50), deltas)
def test_a_larger_cap_lets_more_pass(epsilon, factor, delta):
    small, large = filter_terms(epsilon, delta), filter_terms(epsilon * factor, delta)
    # Budget over order is the zCDP that fits: what counts is how many Gaussians pass.
    assert large.budget_nano * small.order > small.budget_nano * large.order


@settings(deadline=None)
@given(epsilons, deltas)
def test_a_budget_spent_whole_converts_to_at_most_the_cap(epsilon, delta):
    terms = filter_terms(epsilon, delta)
    budget, order = terms.budget_nano * 1e-9, terms.order
    converted = budget + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
    assert converted <= epsilon * (1 + 1e-12)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 12), st.lists(st.floats(0.3, 30), min_size=1, max_size=12))
def test_whatever_passes_the_filter_loses_at_most_the_cap(epsilon, chosen):
    terms = filter_terms(epsilon, 1e-5)
    passed: list[GaussianEvent] = []
    used = 0
    for multiplier in chosen * 20:
        cost = cost_nano(gaussian(multiplier), terms.order)
        if used + cost <= terms.budget_nano:
            used += cost
            passed.append(gaussian(multiplier))
    assert epsilon_of(passed, 1e-5) <= epsilon


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.8, 6), st.integers(1, 4))
def test_the_discrete_gaussian_costs_no_more_than_its_price(order, sigma, shift):
    # D_order between the noise and its shift, summed directly; the order tilts the peak outward.
    reach = math.ceil(order * shift + 12 * sigma)
    grid = np.arange(-reach - shift, reach + shift + 1)
    weights = -(grid**2) / (2 * sigma**2)
    normaliser = np.log(np.exp(weights).sum())
    shifted = -((grid - shift) ** 2) / (2 * sigma**2)
    exponents = order * weights + (1 - order) * shifted - normaliser
    peak = exponents.max()
    divergence = (peak + np.log(np.exp(exponents - peak).sum())) / (order - 1)
    price = cost_nano(gaussian(sigma / shift, sigma=sigma), order) * 1e-9
    assert divergence <= price * (1 + 1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(1, 10**10), epsilons)
def test_spent_is_rounded_up_and_never_decreases(one, other, budget, epsilon):
    low, high = sorted((one, other))
    exact = Fraction(repr(epsilon)) * Fraction(low, budget)
    spent = spent_epsilon(epsilon, low, budget)
    assert spent <= spent_epsilon(epsilon, high, budget)
    assert float(exact) * (1 - 1e-15) <= spent <= float(exact) + 1.1e-6


@settings(deadline=None)
@given(st.floats(0.4, 60))
def test_the_discrete_and_the_rounded_gaussian_are_as_close_as_claimed(sigma):
    reach = math.ceil(14 * sigma) + 5
    difference = np.abs(discrete_gaussian(sigma, reach) - rounded_gaussian(sigma, reach))
    distance = difference.sum() / 2
    bound = total_variation(gaussian(1.0, sigma=sigma))
    assert distance <= bound
    # Not vacuous: at most four times the truth once the grid resolves the noise.
    assert sigma < 1 or bound <= 4 * distance


@settings(deadline=None, max_examples=25)
@given(st.floats(4, 12), st.integers(2, 6))
def test_noise_in_shares_is_as_close_as_claimed(sigma, shares):
    reach = math.ceil(14 * sigma)
    one = discrete_gaussian(sigma, reach)
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    whole = rounded_gaussian(sigma * math.sqrt(shares), shares * reach)
    distance = np.abs(total - whole).sum() / 2
    bound = total_variation(gaussian(1.0, sigma=sigma, shares=shares))
    assert distance <= bound <= 4 * distance


@settings(deadline=None)
@given(st.floats(1e-2, 1e4), st.floats(1e3, 2.0**40), st.integers(1, 1000))
def test_shares_add_up_to_at_least_the_whole_noise(multiplier, bound, shares):
    event = noise_event(l2_bound=bound, noise_multiplier=multiplier, shares=1, dimensions=3)
    assert Fraction(event.sigma) >= Fraction(multiplier) * Fraction(bound)
    if event.sigma < 4 * math.sqrt(shares) * 1.01:
        return
    share = noise_event(l2_bound=bound, noise_multiplier=multiplier, shares=shares, dimensions=3)
    whole = Fraction(multiplier) * Fraction(bound)
    assert Fraction(share.sigma) ** 2 * shares >= whole**2
    assert float(Fraction(share.sigma) ** 2 * shares / whole**2) == pytest.approx(1, abs=1e-14)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=60),
    st.integers(2, 20),
)
def test_edges_are_public_edges_in_ascending_order(counts, bins):
    grid = tuple(float(edge) for edge in range(len(counts) - 1))
    edges = edges_from_noised_counts(np.array(counts), grid, bins)
    assert 1 <= len(edges) <= bins - 1
    assert set(edges) <= set(grid)
    assert list(edges) == sorted(set(edges))


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=3, max_size=60), st.integers(2, 20))
def test_bins_hold_equal_mass_up_to_one_cell_a_side(counts, bins):
    grid = np.arange(1.0, len(counts))
    edges = edges_from_noised_counts(np.array(counts, dtype=float), grid, bins)
    cells = np.searchsorted(np.array(edges), np.arange(len(counts)) + 0.5)
    mass = np.bincount(cells, weights=counts)
    assert mass.max() <= sum(counts) / bins + 2 * max(counts)
