"""The server's step on dependent features, tiny tables and noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal.newton import Sums, advance, initial_state
from fedmkt.horizontal.pooled import train_pooled


def _binning(copies: int) -> Binning:
    return Binning(
        tuple(FeatureBins(f"c{i}", ("0", "1", "2", "3"), (1, 2, 3), True) for i in range(copies))
    )


def _column(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    column = rng.integers(0, 4, rows)
    target = rng.random(rows) < np.array([0.02, 0.3, 0.7, 0.98])[column]
    return column, target.astype(np.uint8)


@given(copies=st.sampled_from([2, 4, 10, 25]), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_the_same_column_many_times_does_not_diverge(copies: int, seed: int) -> None:
    """m copies with ridge m r are one column with ridge r: each takes an equal part of its effect
    and m (m r) (w / m)^2 = r w^2. So the losses must agree, which overshooting would spoil."""
    column, target = _column(600, seed)
    codes = np.repeat(column[:, None], copies, axis=1).astype(np.uint16)
    plan = {"rounds": 50, "smoothness": 0.0}
    once = Examples(codes[:, :1], target)
    one = train_pooled([once], _binning(1), AdditiveSettings(ridge=1.0, **plan)).model
    many = train_pooled(
        [Examples(codes, target)], _binning(copies), AdditiveSettings(ridge=copies * 1.0, **plan)
    ).model
    loss_one = one.link.loss(target, one.scores(codes[:, :1]))
    loss_many = many.link.loss(target, many.scores(codes))
    assert loss_many == pytest.approx(loss_one, abs=0.005)


def test_independent_features_keep_the_whole_step() -> None:
    """The safeguard must not slow down what does not overshoot."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, (4_000, 5)).astype(np.uint16)
    chance = 1 / (1 + np.exp(-(codes.sum(axis=1) - 7.5) / 2))
    target = (rng.random(4_000) < chance).astype(np.uint8)
    state = train_pooled([Examples(codes, target)], _binning(5), AdditiveSettings(rounds=15))
    assert state.step_scale == 1.0


def test_only_the_intercept_moves_the_mean_score() -> None:
    """Newton's step of the intercept alone, 4 total / customers; blocks and centring add 0."""
    column, target = _column(900, seed=3)
    examples = Examples(np.stack([column, column // 2], axis=1).astype(np.uint16), target)
    before = train_pooled([examples], _binning(2), AdditiveSettings(rounds=2, step=(1.0,))).model
    after = train_pooled([examples], _binning(2), AdditiveSettings(rounds=3, step=(1.0,))).model
    total = float((target - before.probabilities(examples.codes)).sum())
    moved = after.scores(examples.codes) - before.scores(examples.codes)
    assert abs(total) > 1
    assert moved.mean() == pytest.approx(4 * total / 900, rel=0.02)  # empty bins count one half


COUNTS = np.array([900.0, 60.0, 30.0, 10.0])


def test_bins_that_tell_nothing_get_no_effect_however_noise_weighs_them() -> None:
    """Every bin's share of yes is that of the table, 1/5: only the intercept has to move."""
    state = advance(
        initial_state(_binning(1), AdditiveSettings()),
        Sums(COUNTS * (0.2 - 0.5), noise=8.0, counts=COUNTS, count_noise=5.0),
    )
    np.testing.assert_allclose(state.model.effects, 0.0, atol=1e-12)
    assert state.model.intercept == pytest.approx(np.log(0.2 / 0.8))


def test_noised_effects_do_not_move_the_mean_score() -> None:
    """Over customers the mean score is the log-odds of the prevalence: 175 yes of 1,000."""
    residuals = np.array([90.0, 50.0, 25.0, 10.0]) - COUNTS / 2
    model = advance(
        initial_state(_binning(1), AdditiveSettings()),
        Sums(residuals, noise=8.0, counts=COUNTS, count_noise=5.0),
    ).model
    assert np.ptp(model.effects) > 1
    mean_score = model.intercept + float(COUNTS @ model.effects) / 1_000
    assert mean_score == pytest.approx(np.log(0.175 / 0.825))


@given(seed=st.integers(0, 10_000), rows=st.integers(3, 40))
@settings(deadline=None, max_examples=50)
def test_tiny_tables_stay_finite(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (rows, 3)).astype(np.uint16)
    target = rng.integers(0, 2, rows).astype(np.uint8)
    state = train_pooled([Examples(codes, target)], _binning(3), AdditiveSettings(rounds=20))
    assert state.model.finite


@given(seed=st.integers(0, 10_000), noise=st.floats(1.0, 1e6))
@settings(deadline=None, max_examples=50)
def test_noise_that_drowns_everything_leaves_small_effects(seed: int, noise: float) -> None:
    """Pure noise: with s far above H, trust H / (H + s^2) falls faster than noise grows."""
    rng = np.random.default_rng(seed)
    binning = _binning(4)
    state = initial_state(binning, AdditiveSettings(ridge=1.0, rounds=4))
    for round_index in range(4):
        residuals, counts = rng.normal(0, noise, (2, binning.total))
        opening = round_index == 0
        state = advance(
            state,
            Sums(residuals, noise, counts if opening else None, noise if opening else 0.0),
        )
    # |d| <= trust |g| / ridge, and trust * noise <= H / noise with H about noise / 4 (floor).
    assert np.abs(state.model.effects).max() < 4 * 4


def test_sums_that_are_not_finite_stop_the_training() -> None:
    binning = _binning(1)
    state = initial_state(binning, AdditiveSettings())
    with pytest.raises(TrainingDiverged):
        advance(state, Sums(np.array([np.inf, 0, 0, 0]), 0.0, np.full(4, 10.0)))
