"""The label owner's integers on the grid, by hand."""

import math

import numpy as np
import pytest

from fedmkt.core.stages import FloatArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.privacy.randomised_response import unbiased
from fedmkt.vertical.residuals import (
    GRID,
    bin_sums,
    label_bound,
    residual_limit,
    residuals,
    soft_residuals,
    training_rows,
)


def test_at_score_zero_a_yes_is_half_a_grid_up_and_a_no_half_a_grid_down() -> None:
    assert residuals(np.array([1, 0], dtype=np.uint8), np.zeros(2)).tolist() == [2048, -2048]


def test_a_sure_and_right_score_leaves_no_residual() -> None:
    scores = np.array([50.0, -50.0])
    assert residuals(np.array([1, 0], dtype=np.uint8), scores).tolist() == [0, 0]
    assert residuals(np.array([0, 1], dtype=np.uint8), scores).tolist() == [-GRID, GRID]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("target", [0, 1, 2, 255])
def test_a_hostile_row_stays_within_the_limit(target: int, score: float) -> None:
    value = residuals(np.array([target], dtype=np.uint8), np.array([score]))
    assert abs(int(value[0])) <= residual_limit() == GRID


def test_soft_labels_that_are_zero_or_one_give_the_residuals_of_labels() -> None:
    scores = np.linspace(-5, 5, 41)
    target = (np.arange(41) % 2).astype(np.uint8)
    soft = soft_residuals(target.astype(np.float64), scores)
    np.testing.assert_array_equal(soft, residuals(target, scores))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_the_limit_of_randomised_labels_is_reached_and_not_passed(epsilon: float) -> None:
    """Largest in size where the score is sure and the label says the opposite."""
    labels: FloatArray = unbiased(np.array([0, 1], dtype=np.uint8), epsilon)
    values = [
        int(soft_residuals(np.array([label]), np.array([score]))[0])
        for label in labels
        for score in (-50.0, 0.0, 50.0)
    ]
    assert max(map(abs, values)) == residual_limit(*map(float, labels))
    # e^eps / (e^eps - 1) grids: the size of the least soft label, plus one.
    exact = GRID * math.exp(epsilon) / (math.exp(epsilon) - 1)
    assert residual_limit(*map(float, labels)) == pytest.approx(exact, abs=1)


def test_opening_residuals_are_at_most_half_a_grid() -> None:
    assert residual_limit(opening=True) == GRID // 2


def test_label_bound_counts_the_intercept_and_rounds_up() -> None:
    assert label_bound(3) == 2 * GRID  # sqrt(3 + 1) grids
    assert label_bound(0) == GRID
    assert label_bound(1) == math.ceil(math.sqrt(2) * GRID) == 5793


def test_the_last_rows_are_held_out_rounded_down() -> None:
    assert [training_rows(rows, 0.25) for rows in (8, 9, 10, 11)] == [6, 7, 8, 9]
    assert training_rows(7, 0.0) == 7


def test_bin_sums_stand_one_feature_after_another() -> None:
    binning = Binning(
        (
            FeatureBins("a", ("x", "y"), (), ordered=False),
            FeatureBins("b", ("p", "q", "r"), (), ordered=False),
        )
    )
    codes = np.array([[0, 2], [1, 2], [1, 0]], dtype=np.uint16)
    values = np.array([5, -7, 11], dtype=np.int64)
    assert bin_sums(values, codes, binning).tolist() == [5, -7 + 11, 11, 0, 5 - 7]


def test_bin_sums_of_no_features_are_empty() -> None:
    sums = bin_sums(np.ones(3, dtype=np.int64), np.zeros((3, 0), dtype=np.uint16), Binning(()))
    assert sums.shape == (0,)
    assert sums.dtype == np.int64
