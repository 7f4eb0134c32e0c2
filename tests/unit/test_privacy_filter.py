"""The filter's terms and costs, against the formulas they come from."""

import math

import pytest

from fedmkt.core.errors import EpsilonInvalid, EventUnknown
from fedmkt.privacy.events import GaussianEvent, NonPrivateEvent
from fedmkt.privacy.filter import cost_nano, filter_terms, spent_epsilon

DELTA = 1e-5


@pytest.mark.parametrize(("epsilon", "order"), [(1, 25), (3, 9), (8, 4)])
def test_terms_follow_from_the_cap(epsilon, order):
    terms = filter_terms(epsilon, DELTA)
    budget = epsilon - (math.log(1 - 1 / order) - math.log(DELTA * order)) / (order - 1)
    assert terms.order == order
    assert terms.budget_nano == math.floor(budget * 1e9)


def test_budget_is_below_what_the_conversion_allows():
    # Canonne, Kamath, Steinke, arXiv:2004.00010 v4, proposition 12, as an equality.
    for epsilon in (0.01, 0.1, 1.0, 3.0, 8.0, 100.0):
        terms = filter_terms(epsilon, DELTA)
        order, budget = terms.order, terms.budget_nano * 1e-9
        reached = budget + math.log1p(-1 / order) - math.log(DELTA * order) / (order - 1)
        assert reached <= epsilon


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [
        *[(bad, DELTA) for bad in (0.0, -1.0, math.nan, math.inf, 1e-320, 1e-12, 1e7)],
        *[(1.0, bad) for bad in (0.0, 1.0, -1e-5, math.nan, 2.0)],
    ],
)
def test_a_cap_that_pays_for_nothing_or_bounds_nothing_is_refused(epsilon, delta):
    with pytest.raises(EpsilonInvalid):
        filter_terms(epsilon, delta)


def test_a_gaussian_costs_order_over_twice_the_squared_multiplier():
    event = GaussianEvent(noise_multiplier=5.0, sigma=1e9, shares=1, dimensions=100)
    assert cost_nano(event, 25) == 500_000_000  # 25 / (2 * 25) exactly
    # 0.1 as a float is above 1/10, so the exact cost lies just under 25 / (2 * 0.01) = 1250.
    tenth = GaussianEvent(noise_multiplier=0.1, sigma=1e9, shares=1, dimensions=100)
    assert cost_nano(tenth, 25) == 1_250_000_000_000


def test_noise_in_shares_costs_one_nano_more_for_not_being_discrete_gaussian():
    whole = GaussianEvent(noise_multiplier=5.0, sigma=1e9, shares=1, dimensions=100)
    shared = GaussianEvent(noise_multiplier=5.0, sigma=1e9, shares=3, dimensions=100)
    assert cost_nano(shared, 25) == cost_nano(whole, 25) + 1


def test_shares_too_small_to_add_up_to_a_discrete_gaussian_are_refused():
    with pytest.raises(EpsilonInvalid):
        cost_nano(GaussianEvent(noise_multiplier=5.0, sigma=3.9, shares=2, dimensions=1), 25)
    assert cost_nano(GaussianEvent(noise_multiplier=5.0, sigma=4.0, shares=2, dimensions=1), 25) > 0


def test_an_event_without_noise_has_no_price():
    with pytest.raises(EventUnknown):
        cost_nano(NonPrivateEvent(dimensions=1), 25)


def test_spent_is_the_caps_share_rounded_up():
    assert spent_epsilon(1.0, 0, 3) == 0.0
    assert spent_epsilon(1.0, 1, 3) == 0.333334
    assert spent_epsilon(0.1, 1, 2) == 0.05
    assert spent_epsilon(0.1, 3, 3) == 0.1


def test_spent_never_shows_more_than_the_cap_before_all_is_used():
    assert spent_epsilon(0.12345678, 10**9 - 1, 10**9) <= 0.12345678
