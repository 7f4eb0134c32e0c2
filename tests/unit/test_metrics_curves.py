import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score, roc_curve

from fedmkt.core.errors import OneClassOnly
from fedmkt.evaluation.metrics import auc, auc_interval, log_loss, roc_band


def _sample(rows: int, seed: int, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Two normal classes one standard deviation apart; `levels` rounds scores into ties."""
    rng = np.random.default_rng(seed)
    target = (rng.random(rows) < 0.3).astype(np.uint8)
    scores = rng.normal(target, 1.0)
    return target, np.round(scores * levels) / levels if levels else scores


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_auc_counts_ties_one_half_as_scikit_learn_does(levels: int | None) -> None:
    target, scores = _sample(500, 1, levels=levels)
    assert auc(target, scores) == pytest.approx(roc_auc_score(target, scores), abs=1e-12)
    assert auc_interval(target, scores).value == pytest.approx(auc(target, scores), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 2])
def test_delong_variance_is_that_of_the_pairwise_definition(levels: int | None) -> None:
    """DeLong 1988, equations 3 to 5, written out over all pairs in O(rows^2)."""
    target, scores = _sample(120, 2, levels=levels)
    yes, no = scores[target == 1], scores[target == 0]
    wins = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)
    by_yes, by_no = wins.mean(axis=1), wins.mean(axis=0)
    deviation = np.sqrt(by_yes.var(ddof=1) / yes.size + by_no.var(ddof=1) / no.size)
    interval = auc_interval(target, scores)
    assert interval.high - interval.value == pytest.approx(1.959964 * deviation, rel=1e-6)
    assert interval.value - interval.low == pytest.approx(1.959964 * deviation, rel=1e-6)


def test_delong_width_is_that_of_a_bootstrap() -> None:
    target, scores = _sample(1_500, 3)
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(400):
        rows = rng.integers(0, target.size, target.size)
        draws.append(auc(target[rows], scores[rows]))
    interval = auc_interval(target, scores)
    # 400 draws know a standard deviation to 1 / sqrt(800) = 3.5%; 15% is four of those.
    assert (interval.high - interval.low) / 2 / 1.96 == pytest.approx(np.std(draws), rel=0.15)


def test_perfect_scores_have_auc_one_and_stay_inside_it() -> None:
    target = np.array([0, 0, 1, 1], dtype=np.uint8)
    interval = auc_interval(target, np.array([0.1, 0.2, 0.8, 0.9]))
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("metric", [auc, auc_interval, roc_band])
@pytest.mark.parametrize("value", [0, 1])
def test_one_class_has_no_ranking(metric: object, value: int) -> None:
    with pytest.raises(OneClassOnly):
        metric(np.full(5, value, dtype=np.uint8), np.arange(5.0))  # type: ignore[operator]


@pytest.mark.parametrize("levels", [None, 1])
def test_roc_curve_is_that_of_scikit_learn(levels: int | None) -> None:
    target, scores = _sample(800, 5, levels=levels)
    band = roc_band(target, scores)
    fpr, tpr, _ = roc_curve(target, scores, drop_intermediate=False)
    np.testing.assert_allclose(band.tpr, np.interp(band.fpr, fpr, tpr), atol=1e-12)
    assert (np.diff(band.tpr) >= 0).all()
    assert (band.low <= band.tpr).all()
    assert (band.tpr <= band.high).all()


def test_roc_band_covers_the_true_curve_about_95_times_in_100() -> None:
    """Binormal truth: TPR = Phi(1 + Phi^-1(FPR)). 400 samples: standard error 1.1%."""
    from scipy.stats import norm

    inside = []
    for seed in range(400):
        band = roc_band(*_sample(400, 1_000 + seed), points=11)
        truth = norm.cdf(1.0 + norm.ppf(band.fpr))
        inside.append((band.low <= truth) & (truth <= band.high))
    covered = np.mean(inside, axis=0)[1:-1]
    assert (covered > 0.92).all()
    assert (covered < 0.985).all()


def test_log_loss_is_that_of_scikit_learn_and_finite_at_certainty() -> None:
    target, scores = _sample(300, 6)
    chance = 1 / (1 + np.exp(-scores))
    assert log_loss(target, chance) == pytest.approx(sklearn_log_loss(target, chance))
    sure = log_loss(np.array([1, 0], dtype=np.uint8), np.array([0.0, 1.0]))
    assert sure == pytest.approx(-np.log(1e-15), rel=1e-3)  # 1 - 1e-15 is not exact in float64


@pytest.mark.parametrize("yes", [1, 9])
def test_a_single_yes_or_no_gives_the_widest_interval(yes: int) -> None:
    """One placement has no variance to estimate; an interval made of the others would be narrow."""
    target = np.array([1] * yes + [0] * (10 - yes), dtype=np.uint8)
    found = auc_interval(target, np.linspace(1, 0, 10))
    assert (found.value, found.low, found.high) == (1.0, 0.0, 1.0)
