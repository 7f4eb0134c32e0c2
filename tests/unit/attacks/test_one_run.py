"""The bound of the one-run audit: against simulation, and against randomised response."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from fedmkt.core.errors import SettingInvalid
from fedmkt.simulation.attacks.one_run import epsilon_bound, p_value
from fedmkt.simulation.attacks.result import clopper_pearson


@pytest.mark.parametrize("guesses", [1, 3, 6])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 2.0])
def test_without_delta_the_p_value_is_the_tail_of_independent_responses(guesses, epsilon):
    right = 1 / (1 + math.exp(-epsilon))
    outcomes = list(itertools.product([0, 1], repeat=guesses))
    for wanted in range(guesses + 1):
        tail = sum(
            right ** sum(one) * (1 - right) ** (guesses - sum(one))
            for one in outcomes
            if sum(one) >= wanted
        )
        found = p_value(canaries=10, guesses=guesses, right=wanted, epsilon=epsilon, delta=0.0)
        assert found == pytest.approx(tail)


@pytest.mark.parametrize("right", [3, 8, 14])
def test_with_delta_no_failures_of_the_allowed_expectation_pass_the_p_value(right):
    canaries = guesses = 15
    epsilon, delta = 0.5, 0.01
    accuracy = 1 / (1 + math.exp(-epsilon))
    allowed = 2 * canaries * delta
    bound = p_value(canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta)
    # The worst failures: `failing` at once, with the chance that has the allowed expectation.
    worst = max(
        (1 - share) * binom.sf(right - 1, guesses, accuracy)
        + share * binom.sf(right - failing - 1, guesses, accuracy)
        for failing in range(1, canaries + 1)
        for share in [min(allowed / failing, 1.0)]
    )
    assert worst <= bound + 1e-12
    assert bound == pytest.approx(worst, rel=0.2)


def test_randomised_response_is_never_caught_beyond_its_share_of_audits():
    # Randomised response is the training that the pure bound is exact for.
    epsilon, canaries, audits = 1.0, 60, 20_000
    right = np.random.default_rng(1).binomial(canaries, 1 / (1 + math.exp(-epsilon)), audits)
    bounds = {
        count: epsilon_bound(canaries=canaries, guesses=canaries, right=int(count), delta=0.0)
        for count in np.unique(right)
    }
    caught = sum(bounds[count] > epsilon for count in right) / audits
    # The tail is discrete, so it is below 5%, but not by much: one count less would pass it.
    assert 0.015 < caught <= 0.05 + 5 * math.sqrt(0.05 * 0.95 / audits)


def test_a_training_that_fails_with_chance_delta_is_caught_no_more_often():
    # With chance delta a canary's coin is shown outright: (epsilon, delta)-private.
    epsilon, delta, canaries, audits = 0.5, 0.02, 100, 20_000
    draw = np.random.default_rng(2)
    shown = draw.binomial(canaries, delta, audits)
    right = shown + draw.binomial(canaries - shown, 1 / (1 + math.exp(-epsilon)))
    bounds = {
        count: epsilon_bound(canaries=canaries, guesses=canaries, right=int(count), delta=delta)
        for count in np.unique(right)
    }
    caught = sum(bounds[count] > epsilon for count in right) / audits
    assert caught <= 0.05


def test_more_right_guesses_never_give_a_smaller_bound():
    bounds = [
        epsilon_bound(canaries=200, guesses=80, right=right, delta=1e-4) for right in range(81)
    ]
    assert bounds == sorted(bounds)
    assert bounds[40] == 0.0
    # All 80 right at 95%: q^80 = .05 without delta, which only lowers the bound.
    accuracy = 0.05 ** (1 / 80)
    assert bounds[80] == pytest.approx(math.log(accuracy / (1 - accuracy)), abs=0.1)


def test_the_bound_is_where_the_p_value_crosses_the_level():
    given = {"canaries": 500, "guesses": 100, "right": 80, "delta": 1e-5}
    bound = epsilon_bound(**given)
    assert p_value(**given, epsilon=bound) <= 0.05
    assert p_value(**given, epsilon=bound + 1e-6) > 0.05


@pytest.mark.parametrize(
    ("guesses", "right", "epsilon", "delta"),
    [(11, 5, 1.0, 0.1), (5, 6, 1.0, 0.1), (5, 5, -1.0, 0.1), (5, 5, 1.0, 1.1)],
)
def test_impossible_audits_are_refused(guesses, right, epsilon, delta):
    with pytest.raises(SettingInvalid):
        p_value(canaries=10, guesses=guesses, right=right, epsilon=epsilon, delta=delta)


def test_clopper_pearson_is_the_interval_of_shares_that_do_not_reject_what_was_seen():
    low, high = clopper_pearson(7, 40)
    assert binom.sf(6, 40, low) == pytest.approx(0.025)
    assert binom.cdf(7, 40, high) == pytest.approx(0.025)
    assert clopper_pearson(0, 5)[0] == 0.0
    assert clopper_pearson(5, 5)[1] == 1.0
