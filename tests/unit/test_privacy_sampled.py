"""Steps over sampled customers: what they cost, and how that is written."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.core.errors import EpsilonInvalid, EventUnknown, SettingInvalid
from fedmkt.node.wording import noise_words
from fedmkt.privacy.accounting import epsilon_of, mu_gdp, slack_of
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.privacy.events import (
    GaussianEvent,
    PoissonGaussianEvent,
    RandomisedResponseEvent,
    event_from_json,
    event_to_json,
)
from fedmkt.privacy.filter import NANO, cost_nano, filter_terms
from fedmkt.privacy.sampled import LARGEST_EXPANDED, sampled_divergence

DELTA = 1e-5
FINE = 2.0**40  # grid units: no slack to speak of
multipliers = st.floats(0.4, 20)
rates = st.floats(1e-4, 1)


def sampled(multiplier: float, rate: float, steps: int, shares: int = 1) -> PoissonGaussianEvent:
    return PoissonGaussianEvent(GaussianEvent(multiplier, FINE, shares, 20_000), rate, steps)


def by_library(events: list[tuple[float, float, int]], plain: tuple[float, ...] = ()) -> float:
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for multiplier, rate, steps in events:
        one = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(multiplier))
        accountant.compose(one, steps)
    for multiplier in plain:
        accountant.compose(dp_event.GaussianDpEvent(multiplier))
    return float(accountant.get_epsilon(DELTA))


@pytest.mark.parametrize(
    ("multiplier", "rate", "steps"), [(1.0, 0.01, 1000), (5.0, 0.2, 400), (2.0, 1.0, 10)]
)
def test_epsilon_is_that_of_dp_accounting_for_the_same_steps(multiplier, rate, steps):
    found = epsilon_of([sampled(multiplier, rate, steps)], DELTA)
    expected = by_library([(multiplier, rate, steps)])
    assert expected <= found <= expected + 3e-6


def test_steps_made_one_by_one_cost_what_they_cost_together():
    # A new optimiser or privacy engine each round must not forget the rounds before.
    together = epsilon_of([sampled(1.0, 0.02, 120)], DELTA)
    assert epsilon_of([sampled(1.0, 0.02, 1)] * 120, DELTA) == together
    assert epsilon_of([sampled(1.0, 0.02, 30)] * 4, DELTA) == together
    assert epsilon_of([sampled(1.0, 0.02, 30)], DELTA) < together


def test_steps_that_differ_and_other_releases_add_up_as_dp_accounting_says():
    events = [sampled(1.0, 0.02, 50), sampled(2.0, 0.1, 30), GaussianEvent(4.0, FINE, 1, 10)]
    expected = by_library([(1.0, 0.02, 50), (2.0, 0.1, 30)], plain=(4.0,))
    assert expected - 1e-4 <= epsilon_of(events, DELTA) <= expected + 1e-4


def test_labels_beside_steps_cost_at_most_their_sum():
    label = RandomisedResponseEvent(0.5)
    alone = epsilon_of([sampled(1.0, 0.02, 50)], DELTA)
    assert alone < epsilon_of([sampled(1.0, 0.02, 50), label], DELTA) <= alone + 0.5 + 1e-6


def test_steps_too_costly_for_a_loss_distribution_are_priced_by_renyi():
    found = epsilon_of([sampled(0.3, 0.5, 200)], DELTA)
    assert 50 < found < math.inf
    accountant = RdpAccountant(
        list(range(2, 65)), dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    one = dp_event.PoissonSampledDpEvent(0.5, dp_event.GaussianDpEvent(0.3))
    accountant.compose(one, 200)
    assert found == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-6)


def test_sampled_steps_are_no_gaussian_and_their_slack_adds_up():
    coarse = GaussianEvent(1.0, 2.0**10, 1, 20)
    assert mu_gdp([sampled(1.0, 0.1, 1)]) == math.inf
    assert slack_of([PoissonGaussianEvent(coarse, 0.1, 7)]) == pytest.approx(7 * slack_of([coarse]))


@settings(deadline=None, max_examples=60)
@given(multipliers, rates, st.integers(2, 64))
def test_a_divergence_is_that_of_dp_accounting_rounded_up(multiplier, rate, order):
    accountant = RdpAccountant([order])
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(multiplier)))
    expected = float(accountant._rdp[0])
    found = sampled_divergence(multiplier, rate, order)
    # The library sums terms that cancel, to about 1e-13 / (order - 1).
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert found >= expected * (1 - 1e-12) - 1e-12


@settings(deadline=None, max_examples=60)
@given(st.floats(0.8, 4), st.integers(1, 3), st.floats(0.01, 1), st.integers(2, 30))
def test_the_discrete_gaussian_costs_no_more_than_its_price_either_way(sigma, shift, rate, order):
    # Both divergences between the noise and its mixture with a shift, summed over the grid.
    reach = math.ceil(order * shift + 12 * sigma)
    grid = np.arange(-reach - shift, reach + shift + 1)
    zero, moved = -(grid**2) / (2 * sigma**2), -((grid - shift) ** 2) / (2 * sigma**2)
    normaliser = np.log(np.exp(zero).sum())
    without = zero - normaliser
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp(np.log1p(-rate) + without, np.log(rate) + moved - normaliser)
    price = sampled_divergence(sigma / shift, rate, order)
    for one, other in ((mixed, without), (without, mixed)):
        exponents = order * one + (1 - order) * other
        peak = exponents.max()
        divergence = (peak + np.log(np.exp(exponents - peak).sum())) / (order - 1)
        assert divergence <= price * (1 + 1e-9) + 1e-12


@settings(deadline=None, max_examples=60)
@given(multipliers, rates, rates, st.integers(2, 2000))
def test_sampling_more_never_costs_less_and_never_more_than_everybody(
    multiplier, one, other, order
):
    low, high = sorted((one, other))
    everybody = order / (2 * multiplier**2)
    costs = [sampled_divergence(multiplier, rate, order) for rate in (low, high, 1.0)]
    assert costs[0] <= costs[1] * (1 + 1e-9)
    assert costs[1] <= costs[2] == pytest.approx(everybody, rel=1e-8)
    if order > LARGEST_EXPANDED:
        assert costs[0] == costs[2]


@settings(deadline=None, max_examples=60)
@given(multipliers, rates, st.integers(1, 5000), st.integers(2, 40), st.integers(1, 4))
def test_a_charge_is_never_rounded_down(multiplier, rate, steps, order, shares):
    charged = cost_nano(sampled(multiplier, rate, steps, shares), order)
    exact = sampled_divergence(multiplier, rate, order) * steps * NANO
    more = steps if shares > 1 else 0  # what noise in shares costs
    assert exact * (1 - 1e-12) <= charged - more <= exact * (1 + 1e-12) + 1


@settings(deadline=None, max_examples=10)
@given(
    st.floats(0.5, 8),
    st.lists(st.tuples(st.floats(0.8, 5), st.floats(0.01, 0.3)), min_size=1, max_size=4),
)
def test_whatever_passes_the_filter_loses_at_most_the_cap(epsilon, chosen):
    terms = filter_terms(epsilon, DELTA)
    passed, used = [], 0
    for multiplier, rate in chosen * 4:
        event = sampled(multiplier, rate, 25)
        cost = cost_nano(event, terms.order)
        if used + cost <= terms.budget_nano:
            used += cost
            passed.append(event)
    assert epsilon_of(passed, DELTA) <= epsilon


def test_an_event_survives_json():
    event = PoissonGaussianEvent(GaussianEvent(1.1, 2.0**30, 3, 17), 0.013, 250)
    assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize("change", [{"more": 1}, {"steps": "many"}, {"sampling_rate": True}])
def test_an_event_that_is_not_understood_whole_is_refused(change):
    with pytest.raises(EventUnknown):
        event_from_json(event_to_json(sampled(1.0, 0.1, 5)) | change)


@pytest.mark.parametrize(
    ("rate", "steps"),
    [(0.0, 5), (1.1, 5), (float("nan"), 5), (2.0**-21, 5), (0.1, 0), (0.1, 2**40)],
)
def test_an_event_nobody_can_price_is_refused(rate, steps):
    with pytest.raises(EpsilonInvalid):
        sampled(1.0, rate, steps)


def test_words_say_the_noise_the_steps_and_the_chance():
    words = noise_words(sampled(1.5, 0.02, 300))
    assert words == (
        "its 20000 sums carried Gaussian noise 1.5 times what one customer can move them by, "
        "in each of 300 steps over customers drawn anew with probability 0.02"
    )


def test_terms_cost_their_steps_and_no_detail_of_a_run():
    terms = DpSgdTerms(0.7, 1.0, 0.01, 1000, 19_000)
    expected = by_library([(1.0, 0.01, 1000)])
    assert expected <= epsilon_of([terms.event], DELTA) <= expected + 3e-6
    assert epsilon_of([terms.step_event] * 1000, DELTA) == epsilon_of([terms.event], DELTA)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_terms_that_cannot_be_kept_are_refused(clip_norm):
    with pytest.raises(SettingInvalid):
        DpSgdTerms(clip_norm, 1.0, 0.01, 10, 100)
