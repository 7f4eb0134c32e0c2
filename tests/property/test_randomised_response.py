"""Bounds that must hold for every epsilon: of the flips, of their price, of what is learnt."""

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import Event, GaussianEvent, RandomisedResponseEvent
from fedmkt.privacy.filter import cost_nano, filter_terms
from fedmkt.privacy.mechanisms import OsNoise, ReproducibleNoise
from fedmkt.privacy.randomised_response import (
    flip_threshold,
    guess_accuracy,
    randomise_labels,
    unbiased,
)

WORDS = 2**64
DELTA = 1e-5
epsilons = st.floats(1e-3, 100)
orders = st.integers(2, 10**6)
labels = st.lists(st.integers(0, 1), min_size=0, max_size=40).map(
    lambda values: np.array(values, dtype=np.uint8)
)
EXACT = decimal.Context(prec=80, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


class Words(OsNoise):
    """A source that draws the words it was given."""

    def __init__(self, *words: int) -> None:
        self.given = np.array(words, dtype=np.uint64)

    def words(self, count: int) -> np.ndarray:
        assert count == len(self.given)
        return self.given


def chance_of_flip(epsilon: float) -> Decimal:
    with decimal.localcontext(EXACT):
        return 1 / (1 + Decimal(epsilon).exp())


@settings(deadline=None)
@given(epsilons)
@example(1e-3)
@example(100.0)
def test_no_output_is_more_than_e_to_the_epsilon_times_as_likely_under_the_other_label(epsilon):
    flips = flip_threshold(epsilon)
    with decimal.localcontext(EXACT):
        assert Decimal(WORDS - flips) <= Decimal(flips) * Decimal(epsilon).exp()
    assert 0 < flips < WORDS // 2


@settings(deadline=None)
@given(epsilons)
def test_no_more_labels_are_flipped_than_it_takes(epsilon):
    with decimal.localcontext(EXACT):
        wanted = chance_of_flip(epsilon) * WORDS
        # Rounding up to a word, and e^epsilon bounded by three units in its last place.
        assert flip_threshold(epsilon) <= wanted * (1 + Decimal(2) ** -50) + 1


@settings(deadline=None)
@given(epsilons, st.integers(0, 1))
def test_exactly_the_words_below_the_threshold_flip(epsilon, label):
    threshold = flip_threshold(epsilon)
    source = Words(0, threshold - 1, threshold, WORDS - 1)
    drawn = randomise_labels(np.full(4, label, dtype=np.uint8), epsilon=epsilon, source=source)
    assert drawn.tolist() == [1 - label, 1 - label, label, label]


@settings(deadline=None)
@given(labels, epsilons, st.integers(0, 2**32))
def test_the_same_words_flip_the_same_rows_whatever_the_labels(target, epsilon, seed):
    """A change of one label changes nothing else: flips do not look at labels."""
    drawn = randomise_labels(target, epsilon=epsilon, source=ReproducibleNoise(seed))
    other = randomise_labels(1 - target, epsilon=epsilon, source=ReproducibleNoise(seed))
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn)) <= {0, 1}
    assert (drawn ^ other == 1).all()


@settings(deadline=None)
@given(labels, epsilons)
def test_labels_of_any_positive_value_are_a_yes_and_stay_as_they_are(target, epsilon):
    before = (target * 7).astype(np.uint8)
    kept = Words(*[WORDS - 1] * len(target))
    assert (randomise_labels(before, epsilon=epsilon, source=kept) == target).all()
    assert (before == target * 7).all()


def test_each_label_of_a_table_is_drawn_for_itself():
    target = np.zeros((64, 64), dtype=np.uint8)
    drawn = randomise_labels(target, epsilon=1e-3, source=ReproducibleNoise(3))
    # Half of all flip: that any two rows or columns of 64 agree has a chance below 2^-50.
    assert len(np.unique(drawn, axis=0)) == 64
    assert len(np.unique(drawn, axis=1).T) == 64


@settings(deadline=None)
@given(epsilons)
def test_a_soft_labels_expectation_is_the_true_label(epsilon):
    share = Fraction(flip_threshold(epsilon), WORDS)
    no, yes = unbiased(np.array([0, 1], dtype=np.uint8), epsilon)
    # What float division leaves is relative to the soft labels' own size.
    rounding = 2.0**-50 * (abs(no) + abs(yes))
    assert float((1 - share) * Fraction(yes) + share * Fraction(no)) == pytest.approx(
        1.0, abs=rounding
    )
    assert float((1 - share) * Fraction(no) + share * Fraction(yes)) == pytest.approx(
        0.0, abs=rounding
    )


@settings(deadline=None)
@given(epsilons)
def test_the_true_label_is_met_as_often_as_stated(epsilon):
    stays = float(1 - chance_of_flip(epsilon))
    assert guess_accuracy(epsilon) == pytest.approx(stays, abs=1e-15)
    assert 0.5 < guess_accuracy(epsilon) <= 1


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 9e-4, 101.0, math.nan, math.inf])
def test_an_epsilon_that_no_event_holds_draws_nothing(epsilon):
    target = np.zeros(3, dtype=np.uint8)
    for call in (
        lambda: randomise_labels(target, epsilon=epsilon, source=OsNoise()),
        lambda: unbiased(target, epsilon),
        lambda: guess_accuracy(epsilon),
    ):
        with pytest.raises(EpsilonInvalid):
            call()


@settings(deadline=None)
@given(epsilons, orders, st.integers(1, 1000))
@example(1e-3, 2, 1)
@example(100.0, 10**6, 1)
def test_the_price_is_never_below_the_renyi_divergence_and_hardly_above(epsilon, order, count):
    """Mironov 2017, arXiv:1702.07476, proposition 5, in 80 digits."""
    cost = cost_nano(RandomisedResponseEvent(epsilon, count), order)
    with decimal.localcontext(EXACT):
        flip = chance_of_flip(epsilon)
        stay = 1 - flip
        terms = stay**order * flip ** (1 - order) + flip**order * stay ** (1 - order)
        exact = count * terms.ln() / (order - 1) * 10**9
        assert exact <= cost <= exact * (1 + Decimal(2) ** -40) + Decimal(count) / 500 + 1
        assert cost <= math.ceil(count * Fraction(epsilon) * 10**9)


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0.3, 12),
    st.lists(st.tuples(st.booleans(), st.floats(0.3, 8)), min_size=1, max_size=6),
)
def test_whatever_passes_the_filter_loses_at_most_the_cap(cap, chosen):
    terms = filter_terms(cap, DELTA)
    passed: list[Event] = []
    used = 0
    for label, size in chosen * 8:
        event = RandomisedResponseEvent(size) if label else GaussianEvent(size, 2.0**40, 1, 10)
        cost = cost_nano(event, terms.order)
        if used + cost <= terms.budget_nano:
            used += cost
            passed.append(event)
    assert epsilon_of(passed, DELTA) <= cap


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1e-2, 20), min_size=1, max_size=6), st.floats(0.3, 10))
def test_what_is_lost_is_never_above_simple_addition_nor_below_a_part(sizes, multiplier):
    responses = [RandomisedResponseEvent(size) for size in sizes]
    noise = [GaussianEvent(multiplier, 2.0**40, 1, 10)]
    alone, both = epsilon_of(noise, DELTA), epsilon_of([*noise, *responses], DELTA)
    assert alone <= both <= alone + sum(sizes) + 1e-6
    assert epsilon_of(responses, DELTA) <= sum(sizes) + 1e-6
