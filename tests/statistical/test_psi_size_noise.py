"""Sizes and overlaps carry noise of the stated scale; 2/3 and 3/2 of it are found out."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, chisquare, norm

from fedmkt.privacy.mechanisms import OsNoise, ReproducibleNoise
from fedmkt.security.psi.size_noise import (
    count_event,
    dummies,
    noise_for,
    noised_overlap,
    overlap_list,
    overlap_rows,
    pool_values,
    shift_for,
)

SAMPLES = 1_000
FALSE_ALARM = 1e-6
MULTIPLIER = 12.0
SOURCES = [OsNoise(), ReproducibleNoise(20)]


def noises(source, multiplier=MULTIPLIER):
    draws = [noise_for(noise_multiplier=multiplier, source=source) for _ in range(SAMPLES)]
    return np.array(draws)


def variance_fits(values, sigma):
    """Chi-square; rounding to whole customers adds 1/12 to the variance (Sheppard)."""
    statistic = float((values**2).sum() / (sigma**2 + 1 / 12))
    tail = min(chi2.cdf(statistic, len(values)), chi2.sf(statistic, len(values)))
    return bool(2 * tail > FALSE_ALARM)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_noise_of_a_count_has_the_stated_scale(source):
    assert variance_fits(noises(source), MULTIPLIER)


@pytest.mark.parametrize("factor", [2 / 3, 3 / 2])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_two_thirds_and_three_halves_of_the_noise_are_found_out(source, factor):
    assert not variance_fits(noises(source, MULTIPLIER * factor), MULTIPLIER)


def test_noise_is_the_rounded_normal_on_whole_customers():
    # P(n) = Phi((n + 1/2) / z) - Phi((n - 1/2) / z); the grid of 2^-24 customers is a rounding off.
    z, reach = 1.3, 3
    values = noises(OsNoise(), z)
    edges = norm.cdf((np.arange(-reach, reach + 2) - 0.5) / z)
    chances = np.append(np.diff(edges), 1 - edges[-1] + edges[0])
    found = [int((values == n).sum()) for n in range(-reach, reach + 1)]
    found.append(SAMPLES - sum(found))
    assert chisquare(found, chances * SAMPLES).pvalue > FALSE_ALARM


def test_the_event_of_a_count_states_the_multiplier_of_its_noise():
    event = count_event(MULTIPLIER)
    assert (event.noise_multiplier, event.shares, event.dimensions) == (MULTIPLIER, 1, 1)
    assert event.sigma == MULTIPLIER * 2**24


def test_noise_of_a_count_that_one_customer_moves_by_more_is_so_much_wider_at_one_price():
    draws = [
        noise_for(noise_multiplier=MULTIPLIER, source=OsNoise(), sensitivity=3)
        for _ in range(SAMPLES)
    ]
    assert variance_fits(np.array(draws), 3 * MULTIPLIER)
    event = count_event(MULTIPLIER, sensitivity=3)
    assert (event.noise_multiplier, event.sigma) == (MULTIPLIER, 3 * MULTIPLIER * 2**24)
    assert shift_for(MULTIPLIER, sensitivity=3) == shift_for(3 * MULTIPLIER)


@pytest.mark.parametrize("multiplier", [0.001, 0.5, 3.0, 12.0, 1e6])
def test_the_shift_is_passed_with_chance_2_to_the_minus_40_and_not_much_less(multiplier):
    # The normal tail at S; for whole numbers beyond S the noise must pass S + 1/2.
    shift = shift_for(multiplier)
    assert 2 * norm.sf((shift + 0.5) / multiplier) <= 2.0**-40
    assert shift <= 7.6 * multiplier + 1


class ExtremeNoise(OsNoise):
    def __init__(self, value):
        self._value = value

    def add_to(self, values, *, sigma):
        return values + self._value * 2**24


@pytest.mark.parametrize(("drawn", "expected"), [(-99, 0), (99, 2), (0, 1), (1, 2), (-1, 0)])
def test_dummies_are_the_shift_and_the_noise_between_nothing_and_twice_the_shift(drawn, expected):
    multiplier = 0.1  # S = ceil(0.754) = 1
    assert shift_for(multiplier) == 1
    assert dummies(noise_multiplier=multiplier, source=ExtremeNoise(drawn)) == expected


class GridNoise(ExtremeNoise):
    def add_to(self, values, *, sigma):
        return values + self._value


@pytest.mark.parametrize(
    ("units", "rounded"),
    [(2**23 - 1, 0), (2**23, 1), (-(2**23), 0), (-(2**23) - 1, -1), (3 * 2**23, 2)],
)
def test_noise_is_rounded_to_the_nearest_whole_with_halves_upwards(units, rounded):
    # Halves to even would not commute with adding an odd count, and then not be post-processing.
    assert noise_for(noise_multiplier=1.0, source=GridNoise(units)) == rounded


# --- the overlap of two members -----------------------------------------------------------------


OVERLAP = 30
MULTIPLIER_OF_OVERLAP = 2.0
SHIFT = shift_for(MULTIPLIER_OF_OVERLAP)
MINE = [b"both%d" % i for i in range(OVERLAP)] + [b"mine%d" % i for i in range(5)]
YOURS = [b"both%d" % i for i in range(OVERLAP)] + [b"yours%d" % i for i in range(9)]


def counted_overlap(multiplier=MULTIPLIER_OF_OVERLAP, skip_other=False):
    """The matches in one run, counted in the clear, and what each kept of its own pool."""
    secret = b"s" * 32
    pools = {name: pool_values(secret, owner=name, shift=SHIFT) for name in "ab"}
    kept = {
        name: min(dummies(noise_multiplier=multiplier, source=OsNoise()), 2 * SHIFT)
        for name in "ab"
    }
    mine = overlap_list(MINE, own_pool=pools["a"], own_kept=kept["a"], other_pool=pools["b"])
    yours = overlap_list(YOURS, own_pool=pools["b"], own_kept=kept["b"], other_pool=pools["a"])
    if skip_other:
        mine = mine[: -len(pools["b"])]
    assert len(set(mine)) == len(mine)
    return len(set(mine) & set(yours)), kept


def overlap_errors(multiplier):
    """What a third person sees: the noise of both members about the true overlap.

    Its S is that of the multiplier in use, as both members compute it.
    """
    shift = shift_for(multiplier)
    pools = {name: pool_values(b"s" * 32, owner=name, shift=shift) for name in "ab"}
    errors = []
    for _ in range(400):
        lists = []
        for values, own, other in ((MINE, "a", "b"), (YOURS, "b", "a")):
            kept = dummies(noise_multiplier=multiplier, source=OsNoise())
            lists.append(
                set(
                    overlap_list(
                        values, own_pool=pools[own], own_kept=kept, other_pool=pools[other]
                    )
                )
            )
        errors.append(noised_overlap(len(lists[0] & lists[1]), shift=shift) - OVERLAP)
    return np.array(errors)


def test_a_counted_overlap_is_the_true_one_and_the_noise_of_both():
    counted, kept = counted_overlap()
    assert counted == OVERLAP + kept["a"] + kept["b"]
    noise = kept["a"] + kept["b"] - 2 * SHIFT
    assert noised_overlap(counted, shift=SHIFT) == OVERLAP + noise


@pytest.mark.parametrize(("factor", "fits"), [(1, True), (2 / 3, False), (3 / 2, False)])
def test_a_published_overlap_has_the_noise_of_two_members(factor, fits):
    errors = overlap_errors(MULTIPLIER_OF_OVERLAP * factor)
    # Two roundings add 2/12; as one rounding of scale sqrt(2 z^2 + 1/12).
    sigma = math.sqrt(2 * MULTIPLIER_OF_OVERLAP**2 + 1 / 12)
    assert variance_fits(errors, sigma) == fits


def test_who_leaves_out_the_other_pool_takes_the_others_noise_away():
    # The known limit of pools: they hold among members that follow the protocol.
    counted, kept = counted_overlap(skip_other=True)
    assert counted - kept["a"] == OVERLAP


def test_pools_are_the_same_at_both_members_and_distinct_otherwise():
    one = pool_values(b"1" * 32, owner="a", shift=9)
    assert one == pool_values(b"1" * 32, owner="a", shift=9)
    others = pool_values(b"1" * 32, owner="b", shift=9) + pool_values(b"2" * 32, owner="a", shift=9)
    assert len(one) == 18
    assert len({*one, *others}) == 3 * 18


def test_the_size_of_a_list_does_not_depend_on_what_is_kept_of_a_pool():
    # The lists are padded to count + 4 S + dummies of their own, whatever stands in them.
    values = overlap_list([b"x"], own_pool=[b"1", b"2"], own_kept=0, other_pool=[b"3", b"4"])
    full = overlap_list([b"x"], own_pool=[b"1", b"2"], own_kept=2, other_pool=[b"3", b"4"])
    assert (len(values), len(full)) == (3, 5)
    assert overlap_rows(1, shift=1, padding=0) == 5 == len(full)
    assert overlap_rows(1, shift=1, padding=2) == 7
