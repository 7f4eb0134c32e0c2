"""Labels are flipped as often as claimed: the right rate is accepted, 2/3 and 3/2 of it are not."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from fedmkt.privacy.mechanisms import OsNoise, ReproducibleNoise
from fedmkt.privacy.randomised_response import guess_accuracy, randomise_labels, unbiased

ROWS = 20_000
FALSE_ALARM = 1e-6  # of each check; a suite run daily for a century stays quiet
SOURCES = [OsNoise(), ReproducibleNoise(21)]
EPSILONS = [0.8, 1.0, 3.0]  # three halves of the rate must stay below a half
TARGET = (np.arange(ROWS) % 4 == 0).astype(np.uint8)


def draw(source, epsilon: float, target=TARGET):
    return randomise_labels(target, epsilon=epsilon, source=source)


def flips(source, epsilon: float):
    return draw(source, epsilon) != TARGET


def rate(epsilon: float) -> float:
    return 1 / (1 + math.exp(epsilon))


def fits(flipped, chance: float) -> bool:
    """Exact binomial test, two-sided."""
    found = binomtest(int(np.count_nonzero(flipped)), len(flipped), chance)
    return bool(found.pvalue > FALSE_ALARM)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_labels_of_both_kinds_are_flipped_at_the_rate_that_epsilon_asks(source, epsilon):
    flipped = flips(source, epsilon)
    assert fits(flipped, rate(epsilon))
    for label in (0, 1):
        assert fits(flipped[label == TARGET], rate(epsilon))


@pytest.mark.parametrize("factor", [2 / 3, 3 / 2])
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_two_thirds_and_three_halves_of_the_rate_are_found_out(source, epsilon, factor):
    flipped_otherwise = flips(source, math.log(1 / (factor * rate(epsilon)) - 1))
    assert not fits(flipped_otherwise, rate(epsilon))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_flips_of_rows_draws_and_streams_are_uncorrelated(source):
    one, two = flips(source, 1.0), flips(source, 1.0)
    other = flips(source.stream("another"), 1.0)
    # A correlation of n independent pairs has standard deviation 1/sqrt(n); 6 of them: 2e-9.
    limit = 6 / math.sqrt(ROWS)
    for left, right in ((one, two), (one, other), (one[:-1], one[1:]), (one, TARGET)):
        assert abs(np.corrcoef(left, right)[0, 1]) < limit


def patterns_fit(flipped, chance: float) -> bool:
    """Chi-square over the 256 patterns of eight neighbours' flips."""
    patterns = flipped.astype(np.int64).reshape(-1, 8) @ (1 << np.arange(8))
    ones = np.array([pattern.bit_count() for pattern in range(256)])
    expected = len(patterns) * chance**ones * (1 - chance) ** (8 - ones)
    found = chisquare(np.bincount(patterns, minlength=256), expected)
    return bool(found.pvalue > FALSE_ALARM)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_neighbours_are_flipped_in_every_pattern_as_often_as_independence_says(source):
    flipped = flips(source, 0.1)
    assert patterns_fit(flipped, rate(0.1))
    # Labels that share one draw have the right rate, and are found out.
    shared = np.repeat(flipped[: ROWS // 2], 2)
    assert fits(shared[::2], rate(0.1))
    assert not patterns_fit(shared, rate(0.1))


def test_the_operating_systems_words_are_uniform_in_every_byte():
    octets = OsNoise().words(ROWS).view(np.uint8).reshape(ROWS, 8)
    for place in range(8):
        counts = np.bincount(octets[:, place], minlength=256)
        assert chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_soft_labels_average_to_the_true_ones_and_drawn_labels_do_not(epsilon):
    drawn = draw(OsNoise(), epsilon)
    chance, truth = rate(epsilon), TARGET.mean()
    # A drawn label has variance p (1 - p) given the truth; a soft one (1 - 2 p)^-2 times that.
    spread = math.sqrt(chance * (1 - chance) / ROWS) / (1 - 2 * chance)
    assert abs(unbiased(drawn, epsilon).mean() - truth) < 6 * spread
    assert abs(drawn.mean() - truth) > 6 * spread * (1 - 2 * chance)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_guesser_is_right_as_often_as_stated_and_no_more(epsilon):
    """A label of even chances: believing what was drawn is the best guess there is."""
    target = np.tile(np.array([0, 1], dtype=np.uint8), ROWS // 2)
    right = draw(OsNoise(), epsilon, target) == target
    assert fits(right, guess_accuracy(epsilon))


def test_reproducible_labels_are_the_same_after_a_restart_and_those_of_the_system_never():
    first, again = (draw(ReproducibleNoise(5).stream("run/labels"), 1.0) for _ in range(2))
    other = draw(ReproducibleNoise(5).stream("another/labels"), 1.0)
    assert (first == again).all()
    assert (first != other).any()
    # 20,000 flips at a rate of .27: an accidental repetition has a chance below 2^-10000.
    assert (draw(OsNoise(), 1.0) != draw(OsNoise(), 1.0)).any()
