"""How well scores tell a yes from a no, with 95% intervals.

Guarantee: ties count one half in every metric, and intervals hold for rows drawn independently.
Not guaranteed: that an interval covers what training noise would change; it speaks of the given
scores on other evaluation rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from fedmkt.core.errors import OneClassOnly
from fedmkt.core.stages import FloatArray

Z95 = 1.959963984540054
Target = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RocBand:
    """A ROC curve on a grid of false positive rates, with a pointwise 95% band; all (points,)."""

    fpr: FloatArray
    tpr: FloatArray
    low: FloatArray
    high: FloatArray


def student_half(values: Sequence[float]) -> float:
    """Return half the width of the 95% interval of a mean, by Student's t; of two values or more.

    Source: Student 1908, doi:10.2307/2331554.
    """
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(student.ppf(0.975, len(values) - 1)) * error


def auc(target: Target, scores: FloatArray) -> float:
    """Return the chance that a random yes scores above a random no, ties counting one half.

    Args: target: (rows,), 0 or 1. scores: (rows,). Raises: OneClassOnly.
    """
    positives, negatives = _class_sizes(target)
    ranks = np.asarray(rankdata(scores), dtype=np.float64)
    wins = float(ranks[target > 0].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def auc_interval(target: Target, scores: FloatArray) -> Interval:
    """Return the AUC with DeLong's 95% interval, in O(rows log rows).

    A single yes or no tells nothing of how far others would lie from it: the interval is then all
    of [0, 1].
    Raises: OneClassOnly.
    Source: DeLong et al. 1988, doi:10.2307/2531595, by ranks as in Sun and Xu 2014,
    doi:10.1109/LSP.2014.2337313.
    """
    positives, negatives = _class_sizes(target)
    yes, no = scores[target > 0], scores[target == 0]
    joint = np.asarray(rankdata(np.concatenate([yes, no])), dtype=np.float64)
    above = (joint[:positives] - rankdata(yes)) / negatives  # each yes: share of no below it
    below = 1 - (joint[positives:] - rankdata(no)) / positives  # each no: share of yes above it
    value = float(above.mean())
    if min(positives, negatives) < 2:
        return Interval(value, 0.0, 1.0)
    half = Z95 * float(np.sqrt(above.var(ddof=1) / positives + below.var(ddof=1) / negatives))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def roc_band(target: Target, scores: FloatArray, points: int = 101) -> RocBand:
    """Return the ROC curve at `points` false positive rates with a pointwise 95% band.

    Both rates vary: Wilson's limits of the true positive rate, and of the false positive rate
    carried over by the curve, are joined by the square-root rule.
    Raises: OneClassOnly.
    Source: Zou and Donner 2008, doi:10.1002/sim.3095 (limits from limits).
    """
    positives, negatives = _class_sizes(target)
    fpr_all, tpr_all = _curve(target, scores)
    grid = np.linspace(0.0, 1.0, points)
    tpr = np.interp(grid, fpr_all, tpr_all)
    tpr_low, tpr_high = _wilson(tpr, positives)
    fpr_low, fpr_high = _wilson(grid, negatives)
    down = tpr - np.interp(fpr_low, fpr_all, tpr_all)
    up = np.interp(fpr_high, fpr_all, tpr_all) - tpr
    low = np.clip(tpr - np.hypot(tpr - tpr_low, down), 0.0, 1.0)
    high = np.clip(tpr + np.hypot(tpr_high - tpr, up), 0.0, 1.0)
    return RocBand(grid, tpr, low, high)


def log_loss(target: Target, probabilities: FloatArray) -> float:
    """Return the mean log loss in nats; probabilities are kept 1e-15 away from 0 and 1."""
    safe = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return float(-np.mean(np.where(target > 0, np.log(safe), np.log1p(-safe))))


def _class_sizes(target: Target) -> tuple[int, int]:
    """Return the numbers of yes and no. Raises: OneClassOnly."""
    positives = int(np.count_nonzero(target))
    if positives in (0, target.size):
        raise OneClassOnly(target="target", dataset="of the evaluation")
    return positives, target.size - positives


def _curve(target: Target, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return false and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], (target[order] > 0).astype(np.float64)
    # Equal scores are passed together: the curve crosses a tie in a straight line.
    last_of_tie = np.append(np.diff(ordered) != 0, True)
    true = np.concatenate([[0.0], np.cumsum(hits)[last_of_tie]])
    false = np.concatenate([[0.0], np.cumsum(1 - hits)[last_of_tie]])
    return false / false[-1], true / true[-1]


def _wilson(rate: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's 95% limits of shares of `size` rows each.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    centre = rate + Z95**2 / (2 * size)
    half = Z95 * np.sqrt(rate * (1 - rate) / size + Z95**2 / (4 * size**2))
    scale = 1 + Z95**2 / size
    return (centre - half) / scale, (centre + half) / scale
