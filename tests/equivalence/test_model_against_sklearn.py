"""The additive model against an independent implementation: scikit-learn on one-hot bins.

scikit-learn penalises 1/2 |u|^2. With P = L L' and w = L^-T u that is 1/2 w'Pw, so a logistic
regression on Z L^-T (Z: one-hot bins) minimises the very objective of `horizontal.newton`.
"""

import numpy as np
import pytest
from scipy.linalg import block_diag
from sklearn.linear_model import LogisticRegression

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal.newton import TrainingState
from fedmkt.horizontal.pooled import train_pooled

BINNING = Binning(
    (
        FeatureBins("spend", tuple("abcdefgh"), (1, 2, 3, 4, 5, 6, 7), True),
        FeatureBins("visits", ("0", "1", "2", "missing"), (1.0, 2.0), True, True),
        FeatureBins("region", ("north", "east", "south", "nobody"), (), False),
    )
)


def _examples(rows: int, seed: int) -> Examples:
    """Dependent features (visits follow spend); nobody lives in the last region."""
    rng = np.random.default_rng(seed)
    spend = rng.binomial(7, 0.4, rows)
    visits = np.clip(spend // 2 + rng.integers(0, 2, rows), 0, 3)
    region = rng.integers(0, 3, rows)
    codes = np.stack([spend, visits, region], axis=1).astype(np.uint16)
    scores = -2.0 + 0.6 * spend - 0.5 * (visits == 3) + 0.8 * (region == 1)
    target = (rng.random(rows) < 1 / (1 + np.exp(-scores))).astype(np.uint8)
    return Examples(codes, target)


def _penalty(settings: AdditiveSettings) -> np.ndarray:
    """The penalty written out densely from the paper formula, not by the library's code."""
    blocks = []
    for bins, ordered in ((8, 8), (4, 3), (4, 0)):
        block = settings.ridge * np.eye(bins)
        if ordered:
            differences = np.diff(np.eye(ordered), axis=0)
            block[:ordered, :ordered] += (
                settings.smoothness * ordered / 50 * differences.T @ differences
            )
        blocks.append(block)
    return block_diag(*blocks)


def _one_hot(examples: Examples) -> np.ndarray:
    return np.concatenate(
        [
            np.eye(feature.bins)[examples.codes[:, place]]
            for place, feature in enumerate(BINNING.features)
        ],
        axis=1,
    )


def _by_sklearn(
    examples: Examples, settings: AdditiveSettings
) -> tuple[float, np.ndarray, np.ndarray]:
    lower = np.linalg.cholesky(_penalty(settings))
    design = np.linalg.solve(lower, _one_hot(examples).T).T
    fit = LogisticRegression(C=1.0, tol=1e-12, max_iter=20_000).fit(design, examples.target)
    effects = np.linalg.solve(lower.T, fit.coef_[0])
    return float(fit.intercept_[0]), effects, fit.decision_function(design)


def _trained(
    examples: Examples, ridge: float, smoothness: float, rounds: int
) -> tuple[TrainingState, AdditiveSettings]:
    # The settings' own limit of 50 rounds is for jobs; this test asks for the fixed point.
    settings = AdditiveSettings.model_construct(
        task="propensity", rounds=rounds, ridge=ridge, smoothness=smoothness, step=(1.0,)
    )
    return train_pooled([examples], BINNING, settings), settings


@pytest.mark.parametrize(("ridge", "smoothness"), [(0.3, 0.0), (1.0, 5.0), (5.0, 200.0)])
def test_fixed_point_is_the_penalised_optimum_of_scikit_learn(
    ridge: float, smoothness: float
) -> None:
    examples = _examples(3_000, seed=1)
    state, settings = _trained(examples, ridge, smoothness, rounds=400)
    intercept, effects, scores = _by_sklearn(examples, settings)
    assert state.model.intercept == pytest.approx(intercept, abs=1e-4)
    np.testing.assert_allclose(state.model.effects, effects, atol=1e-4)
    np.testing.assert_allclose(state.model.scores(examples.codes), scores, atol=1e-4)


def test_optimum_has_no_total_residual_and_plain_centred_effects() -> None:
    """0 = total = 1'Q_j w_j = ridge 1'w_j: the stationarity conditions of the objective."""
    examples = _examples(3_000, seed=2)
    state, settings = _trained(examples, 0.5, 3.0, rounds=400)
    residuals = examples.target - state.model.probabilities(examples.codes)
    assert abs(residuals.sum()) < 1e-3
    gradient = _one_hot(examples).T @ residuals - _penalty(settings) @ state.model.effects
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)


def test_an_empty_bin_between_neighbours_takes_their_mean() -> None:
    """Without data the penalty alone decides; as ridge goes to 0 an inner bin is interpolated."""
    examples = _examples(2_000, seed=3)
    codes = examples.codes.copy()
    codes[:, 0][codes[:, 0] == 3] = 4
    state, _ = _trained(Examples(codes, examples.target), 1e-3, 20.0, rounds=400)
    _, effects = state.model.shape("spend")
    assert effects[3] == pytest.approx((effects[2] + effects[4]) / 2, abs=1e-3)
