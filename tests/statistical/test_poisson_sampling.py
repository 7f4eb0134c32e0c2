"""Customers are drawn at the stated rate and independently; another rate is found out."""

import numpy as np
import pytest
from scipy.stats import binom, chi2

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.privacy.dp_sgd.poisson import draw_customers, rows_of
from fedmkt.privacy.events import SMALLEST_RATE

FALSE_ALARM = 1e-6  # of each check; a suite run daily for a century stays quiet
CUSTOMERS, STEPS = 2_000, 400


def draws(rate: float, *, customers: int = CUSTOMERS, steps: int = STEPS) -> np.ndarray:
    """Return who was drawn in each step, shape (steps, customers)."""
    stream = KeyStream.fresh()
    drawn = np.zeros((steps, customers), dtype=bool)
    for step in drawn:
        step[draw_customers(customers, rate, stream)] = True
    return drawn


def rate_fits(drawn: np.ndarray, rate: float) -> bool:
    """Tell whether the number drawn in all is one that independent draws give."""
    total, found = drawn.size, int(drawn.sum())
    tail = min(binom.cdf(found, total, rate), binom.sf(found - 1, total, rate))
    return bool(2 * tail > FALSE_ALARM)


def spread_fits(counts: np.ndarray, trials: int, rate: float) -> bool:
    """Tell whether counts of so many independent trials each vary as binomial ones do."""
    mean, variance = trials * rate, trials * rate * (1 - rate)
    statistic = float(((counts - mean) ** 2).sum() / variance)
    tail = min(chi2.cdf(statistic, counts.size), chi2.sf(statistic, counts.size))
    return bool(2 * tail > FALSE_ALARM)


@pytest.mark.parametrize("rate", [0.003, 0.05, 0.5, 0.9])
def test_customers_are_drawn_at_the_stated_rate(rate):
    drawn = draws(rate)
    assert rate_fits(drawn, rate)
    # Of steps (is a batch's size binomial?) and of customers (is everybody's chance the same?).
    assert spread_fits(drawn.sum(1), CUSTOMERS, rate)
    assert spread_fits(drawn.sum(0), STEPS, rate)


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_wrong_rate_is_found_out(rate, factor):
    assert not rate_fits(draws(rate * factor), rate)


def test_batches_of_a_fixed_size_are_found_out():
    # Shuffling and cutting keeps the rate, but it is no Poisson sampling.
    drawn = np.zeros((STEPS, CUSTOMERS), dtype=bool)
    shuffler = np.random.default_rng(3)
    for step in drawn:
        step[shuffler.permutation(CUSTOMERS)[:100]] = True
    assert rate_fits(drawn, 0.05)
    assert not spread_fits(drawn.sum(1), CUSTOMERS, 0.05)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_neighbours_in_place_and_in_time_are_drawn_independently(rate):
    drawn = draws(rate).astype(float)
    # A correlation of n independent pairs has standard deviation 1/sqrt(n); 6 of them: 2e-9.
    for one, other in (
        (drawn[:, 1:], drawn[:, :-1]),
        (drawn[1:], drawn[:-1]),
        (drawn[:, 2:], drawn[:, :-2]),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 6 / np.sqrt(one.size)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_gaps_are_geometric_past_the_cut_too(rate):
    drawn = np.flatnonzero(draws(rate, customers=400_000, steps=1)[0])
    gaps = np.diff(drawn) - 1
    for least in (1, int(1 / rate), int(2 / rate), int(3 / rate), int(5 / rate)):
        expected = (1 - rate) ** least
        found = int((gaps >= least).sum())
        tail = min(binom.cdf(found, gaps.size, expected), binom.sf(found - 1, gaps.size, expected))
        assert 2 * tail > FALSE_ALARM


def test_everybody_is_drawn_about_always_at_a_rate_of_one():
    # The rate is kept below what is stated by 2^-20 of it.
    assert draws(1.0, customers=1_000, steps=1).sum() >= 990


@pytest.mark.parametrize("customers", [0, 1, 5])
def test_few_customers_are_drawn_from_their_own_places(customers):
    for _ in range(50):
        drawn = draw_customers(customers, 0.5, KeyStream.fresh())
        assert (np.diff(drawn) > 0).all()
        assert set(drawn.tolist()) <= set(range(customers))


@pytest.mark.parametrize("rate", [0.0, SMALLEST_RATE / 2, 1.1, float("nan")])
def test_a_rate_outside_the_proof_is_refused(rate):
    with pytest.raises(SettingInvalid):
        draw_customers(10, rate, KeyStream.fresh())


def test_a_customer_comes_with_all_rows_and_no_other():
    starts = np.array([0, 2, 2, 5, 6])  # customer 1 has no row
    rows, customers = rows_of(np.array([0, 1, 2]), starts)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert customers.tolist() == [0, 0, 2, 2, 2]
    rows, customers = rows_of(np.array([2, 3]), starts)
    assert rows.tolist() == [2, 3, 4, 5]
    assert customers.tolist() == [2, 2, 2, 3]
