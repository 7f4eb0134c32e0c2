"""A partner's student of the joint score: its sums, its fit and its ranks."""

import math

import numpy as np
import pytest

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.stages import CodeArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.vertical.residuals import GRID, bin_sums
from fedmkt.vertical.student import (
    REACH_PERCENT,
    fit_student,
    reach_bins,
    student_bound,
    target_limit,
    target_units,
)

BINNING = Binning(
    (
        FeatureBins("spend", tuple("0123456"), (1, 2, 3, 4, 5, 6), True),
        FeatureBins("visits", ("0", "1", "2", "missing"), (1.0, 2.0), True, True),
        FeatureBins("city", tuple("abc"), (), ordered=False),
    )
)
SETTINGS = AdditiveSettings(ridge=2.0, smoothness=25.0)
ROWS = 2_000


def _codes(seed: int = 1) -> CodeArray:
    """Dependent columns: visits follow spend."""
    rng = np.random.default_rng(seed)
    spend = rng.binomial(6, 0.4, ROWS)
    visits = np.clip(spend // 2 + rng.integers(0, 2, ROWS), 0, 3)
    return np.stack([spend, visits, rng.integers(0, 3, ROWS)], axis=1).astype(np.uint16)


def _scores(codes: CodeArray, seed: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return -1.5 + 0.5 * codes[:, 0] - 0.4 * (codes[:, 2] == 1) + rng.normal(0, 0.5, len(codes))


def _one_hot(codes: CodeArray) -> np.ndarray:
    return np.concatenate(
        [np.eye(f.bins)[codes[:, place]] for place, f in enumerate(BINNING.features)], axis=1
    )


def _penalty() -> np.ndarray:
    """Written out densely from the formula: ridge I + smoothness K / 50 D'D."""
    dense = SETTINGS.ridge * np.eye(BINNING.total)
    for start, ordered in ((0, 7), (7, 3)):
        differences = np.diff(np.eye(ordered), axis=0)
        block = slice(start, start + ordered)
        dense[block, block] += SETTINGS.smoothness * ordered / 50 * differences.T @ differences
    return dense


def test_targets_are_centred_clipped_and_on_the_grid() -> None:
    scores = np.array([-1.0, 0.25, 9.0, -99.0, np.nan, np.inf])
    units = target_units(scores, centre=-1.0, clip=3.0)
    assert units.tolist() == [0, 1.25 * GRID, 3 * GRID, -3 * GRID, 0, 3 * GRID]
    assert target_limit(3.0) == 3 * GRID


def test_the_bound_is_twice_the_clip_in_each_feature() -> None:
    assert student_bound(4, 3.0) == 2 * 6 * GRID
    assert student_bound(3, 1.0) == math.ceil(math.sqrt(3) * 2 * GRID)


def test_without_noise_it_is_ridge_regression_on_its_bins() -> None:
    """(Z'Z + Q) w = Z't, by a dense solver on the one-hot table."""
    codes = _codes()
    units = target_units(_scores(codes), centre=-0.5, clip=3.0)
    sums = bin_sums(units, codes, BINNING)
    student = fit_student(codes, BINNING, sums, noise=0.0, settings=SETTINGS)
    table = _one_hot(codes)
    weights = np.linalg.solve(table.T @ table + _penalty(), table.T @ (units / GRID))
    np.testing.assert_allclose(student.scores(codes), table @ weights, atol=1e-8)
    blocks = np.add.reduceat(student.effects, BINNING.offsets)
    np.testing.assert_allclose(blocks, 0.0, atol=1e-9)


def test_noise_is_met_by_the_posterior_mean() -> None:
    """The module's formula with dense inverses: (G V G + Q) w = G V c, V = (G + s^2 I)^-1."""
    codes = _codes()
    units = target_units(_scores(codes), centre=-0.5, clip=3.0)
    sigma = 40.0 * GRID
    noised = ReproducibleNoise(1).add_to(bin_sums(units, codes, BINNING), sigma=sigma)
    student = fit_student(codes, BINNING, noised, noise=sigma, settings=SETTINGS)
    gram = _one_hot(codes).T @ _one_hot(codes)
    inverse = np.linalg.inv(gram + 40.0**2 * np.eye(BINNING.total))
    weights = np.linalg.solve(gram @ inverse @ gram + _penalty(), gram @ inverse @ (noised / GRID))
    np.testing.assert_allclose(student.scores(codes), _one_hot(codes) @ weights, atol=1e-8)


def test_knowing_its_noise_makes_the_student_better() -> None:
    """Mean squared error against the student without noise, over draws of heavy noise."""
    codes = _codes()
    units = target_units(_scores(codes), centre=-0.5, clip=3.0)
    sums, sigma = bin_sums(units, codes, BINNING), 60.0 * GRID
    exact = fit_student(codes, BINNING, sums, noise=0.0, settings=SETTINGS).scores(codes)
    errors = {0.0: 0.0, sigma: 0.0}
    for seed in range(20):
        noised = ReproducibleNoise(seed).add_to(sums, sigma=sigma)
        for told in errors:
            student = fit_student(codes, BINNING, noised, noise=told, settings=SETTINGS)
            errors[told] += float(np.mean((student.scores(codes) - exact) ** 2))
    assert errors[sigma] < 0.8 * errors[0.0]


def test_bins_nobody_has_leave_the_student_finite() -> None:
    codes = _codes()
    codes[:, 0] = np.minimum(codes[:, 0], 2)
    sums = bin_sums(target_units(_scores(codes), centre=0.0, clip=3.0), codes, BINNING)
    for noise in (0.0, 1e7):
        assert fit_student(codes, BINNING, sums, noise=noise, settings=SETTINGS).finite


def test_reach_bins_hold_what_they_say() -> None:
    scores = np.random.default_rng(4).permutation(1_000).astype(np.float64)
    places = reach_bins(scores)
    held = [int((places <= place).sum()) for place in range(len(REACH_PERCENT))]
    assert held == [percent * 10 for percent in REACH_PERCENT]
    assert scores[places == 0].min() == 950  # the 50 highest


def test_equal_scores_share_a_bin_that_holds_no_more_than_it_says() -> None:
    scores = np.repeat([2.0, 1.0, 0.0], [4, 8, 88])
    # The first 4 fit into 5%, the next 8 make 12% and so go to 20%, the rest is everybody.
    names = [REACH_PERCENT[place] for place in reach_bins(scores)]
    assert names == [5] * 4 + [20] * 8 + [100] * 88


@pytest.mark.parametrize("rows", [1, 3])
def test_few_customers_fall_into_the_wide_bins(rows: int) -> None:
    places = reach_bins(np.arange(rows, dtype=np.float64))
    assert REACH_PERCENT[places.max()] == 100
