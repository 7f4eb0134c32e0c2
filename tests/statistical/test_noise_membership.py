"""The best possible membership test on a released sum does no better than epsilon allows."""

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from fedmkt.core.stages import IntArray, LocalUpdate
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.mechanisms import OsNoise, add_noise, without_noise

RELEASES = 3_000
ONE_CUSTOMER = np.array([2, -1, 2, 0, 4], dtype=np.int64) * 2**26  # norm 5 * 2^26
OTHERS = np.array([310, -45, 12, 77, 5], dtype=np.int64) * 2**26
BOUND = 5 * 2.0**26


def releases(sums: IntArray, multiplier: float) -> IntArray:
    """Independent releases of one vector of sums, drawn in one call. (releases, length)"""
    update = LocalUpdate(values=np.tile(sums, RELEASES), l2_bound=BOUND)
    private = add_noise(
        update, noise_multiplier=multiplier, shares=1, trust="local", source=OsNoise()
    )
    return private.values.reshape(RELEASES, len(sums))


def auc(present: IntArray, absent: IntArray) -> float:
    """The likelihood ratio of two Gaussians that differ by a shift is the projection on it."""
    scores = [(values - OTHERS) @ (ONE_CUSTOMER / BOUND) for values in (present, absent)]
    return float(mannwhitneyu(*scores).statistic / RELEASES**2)


def attack(multiplier: float) -> float:
    return auc(releases(OTHERS + ONE_CUSTOMER, multiplier), releases(OTHERS, multiplier))


def test_at_epsilon_one_membership_is_barely_better_than_a_coin():
    multiplier = noise_multiplier_for(epsilon=1.0, delta=1e-5, releases=1)
    # Scores differ by 1/z standard deviations: AUC = Phi(1 / (z sqrt 2)) = .575.
    theory = norm.cdf(1 / (multiplier * math.sqrt(2)))
    assert theory == pytest.approx(0.575, abs=0.002)
    # The AUC of 3,000 against 3,000 has standard error .0074; five of them.
    assert attack(multiplier) == pytest.approx(theory, abs=0.037)


def test_with_a_tenth_of_the_noise_the_same_attack_succeeds():
    multiplier = noise_multiplier_for(epsilon=1.0, delta=1e-5, releases=1)
    assert attack(multiplier / 10) > 0.95


def test_without_noise_the_same_attack_never_fails():
    present, absent = (
        np.tile(without_noise(LocalUpdate(sums, BOUND)).values, (RELEASES, 1))
        for sums in (OTHERS + ONE_CUSTOMER, OTHERS)
    )
    assert auc(present, absent) == 1.0
