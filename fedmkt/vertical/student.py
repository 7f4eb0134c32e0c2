"""A student of the joint model over one partner's columns alone: for customers nobody else knows.

The partner fits the joint score of the aligned customers by least squares on its own bins. It knows
its columns exactly, so all it needs are sums of the score over its bins, once.

Guarantee: `target_units` moves by at most 2 `clip` when one customer's joint score changes in any
way; that customer lands in one bin of each of the partner's F features, so the sums move by at most
`student_bound` = sqrt(F) 2 clip in L2 norm. Fitting on noised sums is post-processing.
Not guaranteed: that a customer's label did not move *other* customers' scores; the joint model is
taken as given, and what it cost is charged to its training. The centre must be a number that was
released or made of released ones, for it moves every row.

Derivation. With G = Z'Z of the one-hot bins Z (exact) and t the target, c = Z't + noise of variance
s^2 is about N(G w, G + s^2 I), taking the variance of what the bins do not explain as 1. With the
penalty as prior w ~ N(0, Q^-1) the posterior mean solves
    (G (G + s^2 I)^-1 G + Q) w = G (G + s^2 I)^-1 c:
ridge regression (G + Q) w = c for s = 0, and directions that are mostly noise are left to Q.
"""

import math

import numpy as np
from scipy.stats import rankdata

from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.newton_step import Penalties, centred, penalty
from fedmkt.vertical.residuals import GRID

REACH_PERCENT = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


def target_units(scores: FloatArray, *, centre: float, clip: float) -> IntArray:
    """Return joint scores around `centre`, clipped to `clip`, shape (rows,), in grid units.

    centre: a released number, as the log-odds of the noised prevalence.
    Guarantee: every entry lies in [-limit, limit] with limit = `target_limit(clip)`.
    """
    # Privacy: a score that is not a number must not pass the bound of the sums.
    around = np.nan_to_num(scores - centre, nan=0.0)
    return np.rint(np.clip(around, -clip, clip) * GRID).astype(np.int64)


def target_limit(clip: float) -> int:
    """Return the most one target can be, in grid units."""
    return round(clip * GRID)


def student_bound(features: int, clip: float) -> float:
    """Return the L2 bound of the sums for one changed joint score, in grid units, rounded up."""
    assert features >= 1
    return float(math.isqrt(features * (2 * target_limit(clip)) ** 2 - 1) + 1)


def fit_student(
    codes: CodeArray, binning: Binning, sums: IntArray, *, noise: float, settings: Penalties
) -> AdditiveModel:
    """Fit the joint score on a partner's own bins.

    Args: codes: (aligned rows, features). sums: (total,) of `target_units` over its bins, with the
        owner's noise, in grid units. noise: standard deviation of that, in grid units.
    Returns: a model whose scores are about joint score minus centre; probabilities mean nothing.
    """
    gram = _gram(codes, binning)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    variance = (noise / GRID) ** 2
    weights = np.divide(values, values + variance, out=np.zeros_like(values), where=values > 0)
    diagonal, links = penalty(binning, settings)
    system = (vectors * (weights * values)) @ vectors.T + np.diag(diagonal)
    inner = np.arange(binning.total - 1)
    system[inner, inner + 1] += links[:-1]
    system[inner + 1, inner] += links[:-1]
    effects = np.linalg.solve(system, vectors @ (weights * (vectors.T @ (sums / GRID))))
    effects, offset = centred(effects, binning)
    return AdditiveModel(binning, offset, effects)


def reach_bins(scores: FloatArray) -> IntArray:
    """Return the place in `REACH_PERCENT` of each row, shape (rows,): 0 is the top 5%.

    Equal scores share the lower place, so that no bin and those above hold more than they say.
    """
    worst = rankdata(-scores, method="max") / len(scores) * 100
    places = np.searchsorted(REACH_PERCENT, np.round(worst, 9), side="left")
    return np.asarray(places, dtype=np.int64)


def _gram(codes: CodeArray, binning: Binning) -> FloatArray:
    """Return how many rows are in each pair of bins, shape (total, total)."""
    gram = np.zeros((binning.total, binning.total))
    blocks = list(zip(binning.offsets, binning.features, strict=True))
    for place, (start, feature) in enumerate(blocks):
        for other, (begin, beside) in enumerate(blocks[: place + 1]):
            pairs = codes[:, place].astype(np.int64) * beside.bins + codes[:, other]
            counts = np.bincount(pairs, minlength=feature.bins * beside.bins)
            joint = counts.reshape(feature.bins, beside.bins)
            gram[start : start + feature.bins, begin : begin + beside.bins] = joint
            gram[begin : begin + beside.bins, start : start + feature.bins] = joint.T
    return gram
