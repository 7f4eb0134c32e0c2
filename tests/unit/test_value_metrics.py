"""What one score adds to another: its gain, lift and recall in the top, and what it is called."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm

from fedmkt.core.errors import OneClassOnly, SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import Interval, Target, auc, auc_interval
from fedmkt.evaluation.value import (
    NOTHING,
    auc_gain,
    lift_in_top,
    recall_at,
    verdict,
    verdict_words,
)

Z95 = 1.959963984540054
SHIFTS = (0.8, 0.6)  # standard deviations between the classes, of two independent columns


def sample(
    rows: int,
    seed: int,
    *,
    levels: int | None = None,
    share: float = 0.3,
    times: float = 1.0,
) -> tuple[Target, FloatArray, FloatArray]:
    """A target, the score of one column, and the best score of two; `levels` makes ties.

    times: how much further the classes lie apart.
    """
    rng = np.random.default_rng(seed)
    target = (rng.random(rows) < share).astype(np.uint8)
    one, two = (rng.normal(times * shift * target, 1.0) for shift in SHIFTS)
    both = (SHIFTS[0] * one + SHIFTS[1] * two) / np.hypot(*SHIFTS)
    if levels:
        one, both = np.round(one * levels) / levels, np.round(both * levels) / levels
    return target, one, both


def pairwise_gain(target: Target, before: FloatArray, after: FloatArray) -> Interval:
    """DeLong 1988, equations 3 to 6, written out over all pairs with the covariance matrix.

    theta_r is the mean of psi(X_i, Y_j); S10 and S01 are the covariances over yes and no of the
    components; the contrast (-1, 1) has variance L (S10 / m + S01 / n) L'.
    """
    yes, no = target == 1, target == 0
    components = []
    for scores in (before, after):
        wins = [[float(x > y) + 0.5 * float(x == y) for y in scores[no]] for x in scores[yes]]
        components.append(np.array(wins))
    theta = [one.mean() for one in components]
    s10 = np.cov(np.stack([one.mean(axis=1) for one in components]))
    s01 = np.cov(np.stack([one.mean(axis=0) for one in components]))
    contrast = np.array([-1.0, 1.0])
    variance = contrast @ (s10 / yes.sum() + s01 / no.sum()) @ contrast
    value = theta[1] - theta[0]
    return Interval(value, value - Z95 * np.sqrt(variance), value + Z95 * np.sqrt(variance))


# --- the gain ---------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 3, 1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gain_is_that_of_the_pairwise_definition(seed: int, levels: int | None) -> None:
    target, before, after = sample(150, seed, levels=levels)
    found, exact = auc_gain(target, before, after), pairwise_gain(target, before, after)
    assert found.value == pytest.approx(exact.value, abs=1e-12)
    assert found.low == pytest.approx(exact.low, abs=1e-9)
    assert found.high == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize("levels", [None, 2])
def test_a_gain_is_the_difference_of_both_aucs(levels: int | None) -> None:
    target, before, after = sample(700, 4, levels=levels)
    difference = auc(target, after) - auc(target, before)
    assert difference > 0.02
    assert auc_gain(target, before, after).value == pytest.approx(difference, abs=1e-12)


def test_a_gain_turned_round_is_a_loss_of_the_same_size() -> None:
    target, before, after = sample(300, 5, levels=3)
    there, back = auc_gain(target, before, after), auc_gain(target, after, before)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low), abs=1e-12
    )


def test_a_gain_depends_on_ranks_alone() -> None:
    target, before, after = sample(300, 6, levels=2)
    assert auc_gain(target, np.exp(before), 5 * after - 3) == auc_gain(target, before, after)


def test_what_both_scores_have_in_common_does_not_widen_the_interval() -> None:
    target, before, after = sample(2_000, 7)
    paired = auc_gain(target, before, after)
    halves = [
        (one.high - one.low) / 2 for one in (auc_interval(target, s) for s in (before, after))
    ]
    assert (paired.high - paired.low) / 2 < 0.8 * np.hypot(*halves)


def test_the_same_scores_gain_exactly_nothing() -> None:
    target, before, _ = sample(200, 8)
    gain = auc_gain(target, before, before)
    assert gain == Interval(0.0, 0.0, 0.0)
    assert verdict(gain) == "adds_nothing"


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        # AUC of the best score of columns that lie d apart: Phi(|d| / sqrt 2).
        (
            norm.cdf(np.hypot(*SHIFTS) / np.sqrt(2)) - norm.cdf(SHIFTS[0] / np.sqrt(2)),
            lambda one, both, noise: (one, both),
        ),
        # A column without signal, mixed in: |d| falls to d / sqrt(1 + .3^2).
        (
            norm.cdf(SHIFTS[0] / np.sqrt(2 * 1.09)) - norm.cdf(SHIFTS[0] / np.sqrt(2)),
            lambda one, both, noise: (one, one + 0.3 * noise),
        ),
    ],
    ids=["gain", "loss"],
)
def test_the_interval_of_a_gain_covers_the_truth_about_95_times_in_100(truth, scores) -> None:
    covered = 0
    for seed in range(800):
        target, one, both = sample(400, 10_000 + seed)
        noise = np.random.default_rng(20_000 + seed).normal(size=400)
        gain = auc_gain(target, *scores(one, both, noise))
        covered += gain.low <= truth <= gain.high
    # 800 samples: standard error .8%; four of them, and .5% for the normal approximation.
    assert 0.95 - 0.037 < covered / 800 < 0.95 + 0.037


def test_a_perfect_gain_stays_within_one() -> None:
    target = np.array([0, 0, 1, 1], dtype=np.uint8)
    gain = auc_gain(target, np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert gain == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("target", [[1, 0, 0, 0], [0, 1, 1, 1]])
def test_a_single_yes_or_no_shows_nothing(target: list[int]) -> None:
    scores = np.arange(4.0)
    gain = auc_gain(np.array(target, dtype=np.uint8), scores, -scores)
    assert (gain.low, gain.high) == (-1.0, 1.0)
    assert verdict(gain) == "not_shown"


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_has_no_gain_no_lift_and_without_yes_no_recall(value: int) -> None:
    target, scores = np.full(5, value, dtype=np.uint8), np.arange(5.0)
    with pytest.raises(OneClassOnly):
        auc_gain(target, scores, scores)
    with pytest.raises(OneClassOnly):
        lift_in_top(target, scores)
    if value:
        assert recall_at(target, scores, 0.4) == pytest.approx(0.4, abs=1e-12)
    else:
        with pytest.raises(OneClassOnly):
            recall_at(target, scores, 0.4)


# --- the top ----------------------------------------------------------------------------------


def positives_in_top(target: list[int], scores: list[float], wanted: float) -> float:
    """The mean over all orders of tied rows; between two whole numbers of rows in a straight line.

    Every permutation of the rows, sorted by score and otherwise as it comes.
    """
    whole, part = int(wanted), wanted - int(wanted)
    found = []
    for order in permutations(range(len(target))):
        ranked = sorted(order, key=lambda row: -scores[row])
        hits = [target[row] for row in ranked]
        found.append(sum(hits[:whole]) + part * (hits[whole] if whole < len(hits) else 0))
    return float(np.mean(found))


TOPS = [
    ([1, 0, 1, 0, 0, 1], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
    ([1, 0, 1, 0, 0, 1], [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]),
    ([1, 1, 0, 0, 0, 1], [3.0, 2.0, 2.0, 2.0, 2.0, 1.0]),
    ([0, 0, 1, 0, 1, 0], [5.0, 4.0, 4.0, 4.0, 4.0, 4.0]),
    ([1, 0, 0, 0, 1, 1], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize(("target", "scores"), TOPS)
@pytest.mark.parametrize("share", [0.05, 1 / 6, 0.25, 1 / 3, 0.5, 0.6, 5 / 6, 0.99, 1.0])
def test_lift_and_recall_are_those_of_every_order_of_tied_rows(
    target: list[int], scores: list[float], share: float
) -> None:
    labels, values = np.array(target, dtype=np.uint8), np.array(scores)
    found = positives_in_top(target, scores, share * 6)
    lift = lift_in_top(labels, values, share).value
    assert lift == pytest.approx(found / (share * 6) / np.mean(target), abs=1e-9)
    assert recall_at(labels, values, share) == pytest.approx(found / sum(target), abs=1e-9)


def test_the_order_of_rows_does_not_matter() -> None:
    target, _, after = sample(301, 9, levels=2)
    other = np.random.default_rng(1).permutation(301)
    for share in (0.1, 0.33):
        one, two = (
            lift_in_top(t, s, share) for t, s in ((target, after), (target[other], after[other]))
        )
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


@pytest.mark.parametrize("share", [0.07, 0.1, 0.29, 0.57])
def test_a_share_that_floats_only_nearly_hold_takes_no_row_more(share: float) -> None:
    # .07 x 100 is 7.000000000000001: the eighth row must not come in whole.
    target = np.zeros(100, dtype=np.uint8)
    edge = round(share * 100)
    target[edge] = 1
    assert recall_at(target, -np.arange(100.0), share) < 1e-9
    target[edge - 1] = 1
    assert recall_at(target, -np.arange(100.0), share) == pytest.approx(0.5, abs=1e-9)


def test_everybody_in_the_top_has_lift_one_and_recall_one() -> None:
    target, before, _ = sample(200, 10)
    assert lift_in_top(target, before, 1.0).value == pytest.approx(1.0, abs=1e-12)
    assert recall_at(target, before, 1.0) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("share", "top", "times", "levels"),
    [
        (0.3, 0.1, 1.0, None),
        (0.1, 0.1, 1.0, 3),
        (0.3, 0.3, 1.0, 3),
        # Scores so good that hardly a yes is left at the top's edge.
        (0.3, 0.3, 2.0, None),
    ],
)
def test_the_interval_of_a_lift_covers_the_truth_about_95_times_in_100(
    share: float, top: float, times: float, levels: int | None
) -> None:
    # The truth by a million rows, whose own error is 1/25 of a sample's of 1,500.
    target, _, after = sample(1_000_000, 11, levels=levels, share=share, times=times)
    truth = lift_in_top(target, after, top).value
    covered = 0
    for seed in range(500):
        target, _, after = sample(1_500, 30_000 + seed, levels=levels, share=share, times=times)
        lift = lift_in_top(target, after, top)
        assert lift.low <= lift.value <= lift.high
        covered += lift.low <= truth <= lift.high
    # 500 samples: standard error 1%; three of them, and 1% for the normal approximation.
    assert 0.91 < covered / 500 < 0.985


def test_a_top_without_a_yes_or_of_yes_alone_has_an_interval_all_the_same() -> None:
    target = np.repeat(np.array([1, 0], dtype=np.uint8), 100)
    ranked = -np.arange(200.0)
    # Wilson's limits of 0 and of 20 in 20: z^2 / (20 + z^2) = .161 from either end.
    limit = Z95**2 / (20 + Z95**2)
    best, worst = lift_in_top(target, ranked), lift_in_top(target, -ranked)
    assert best.value == pytest.approx(2.0)
    assert best.low == pytest.approx((1 - limit) / 0.5)
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(limit / 0.5)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, float("nan"), float("inf")])
@pytest.mark.parametrize("metric", [lift_in_top, recall_at])
def test_a_share_that_is_no_share_is_refused(metric, share: float) -> None:
    target, before, _ = sample(50, 12)
    with pytest.raises(SettingInvalid):
        metric(target, before, share)


# --- what a gain is called --------------------------------------------------------------------


TINY = 1e-12


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (TINY, 0.3, "worth_it"),
        (TINY, TINY, "worth_it"),
        # Above 0 and below .005: shown, however little. The figure says how much.
        (0.001, 0.004, "worth_it"),
        (0.0, 0.3, "not_shown"),
        (-TINY, 0.3, "not_shown"),
        (-0.3, NOTHING, "not_shown"),
        (0.0, NOTHING, "not_shown"),
        (0.0, NOTHING - TINY, "adds_nothing"),
        (-0.3, NOTHING - TINY, "adds_nothing"),
        (-0.3, -0.2, "adds_nothing"),
        (0.0, 0.0, "adds_nothing"),
    ],
)
def test_a_gain_above_0_is_worth_it_else_below_the_least_nothing_else_not_shown(
    low: float, high: float, said: str
) -> None:
    assert NOTHING == 0.005
    assert verdict(Interval((low + high) / 2, low, high)) == said


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        (
            Interval(0.0561, 0.0459, 0.0663),
            "retailer: worth it. The gain is shown (AUC +0.056, 95% interval +0.046 to +0.066).",
        ),
        (
            Interval(-0.0081, -0.0122, -0.0041),
            "retailer: adds nothing. Any gain is below 0.005 "
            "(AUC -0.008, 95% interval -0.012 to -0.004).",
        ),
        (
            Interval(0.01, -0.01, 0.03),
            "retailer: not shown. More customers would be needed to tell "
            "(AUC +0.010, 95% interval -0.010 to +0.030).",
        ),
    ],
)
def test_the_sentence_names_who_the_verdict_and_the_figures(gain: Interval, sentence: str) -> None:
    assert verdict_words(gain, "retailer") == sentence
