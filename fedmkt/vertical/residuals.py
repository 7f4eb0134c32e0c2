"""The label owner's residuals: integers on a coarse grid, and what one label can move by them.

Guarantee: a residual is r = G y - rint(G p) with G = `GRID` and p the probability its score gives.
1. |r| <= G: rint(G p) is an integer in [0, G] and G y is 0 or G.
2. A flipped label moves r by exactly G: rint(G p) does not look at y, and G y moves by G. Later
   scores depend on earlier sums, which are released with noise; given those, 2 holds in each round.
A row lands in one bin of each of the F features of all parties and in the owner's total, which
feeds the intercept: a residual that moves by d moves F + 1 entries of all sums by d each,
sqrt(F + 1) d in L2 norm. So, at most (`label_bound`, times the factor), for fixed bins and scores:
    one label flipped            d = G    factor 1
    one row added or removed     d <= G   factor 1
    one row replaced             at most the sum of removing and adding one: factor 2
Not guaranteed: the last two over a whole training. Bins merge by exact counts and scores follow
from columns, so a row that comes, leaves or changes moves other rows' residuals too; labels move
neither. Nor privacy: residuals are as good as labels; they leave the owner encrypted, or made of
labels that were randomised before. The bound on labels counts on *every* sum being noised, the
owner's own included, for its own block moves everybody's next residuals.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.models.tasks import Propensity

GRID = 2**12
FLIPPED, ADDED_OR_REMOVED, REPLACED = 1, 1, 2
"""How many times `label_bound` each change of one customer moves all sums of a round."""

_TASK = Propensity()


def training_rows(rows: int, holdout: float) -> int:
    """Return how many of the aligned rows are trained on: the first; the last are held out."""
    return rows - math.floor(rows * holdout)


def residuals(target: NDArray[np.uint8], scores: FloatArray) -> IntArray:
    """Return G y - rint(G p) of each row, shape (rows,), in grid units.

    Guarantee: that of the module, for any target (above 0 is a yes) and any score; one that is not
    a number counts as probability 1/2.
    """
    # Privacy: a hostile row (target 255, score NaN) must not pass the bound of the sums.
    return GRID * np.minimum(target, 1).astype(np.int64) - _expected(scores)


def soft_residuals(target: FloatArray, scores: FloatArray) -> IntArray:
    """Return rint(G y) - rint(G p) of soft labels y, shape (rows,), in grid units.

    Soft labels stand for labels that were randomised; unbiased ones lie outside [0, 1].
    Guarantee: within `residual_limit` of the least and the greatest soft label.
    """
    return np.rint(target * GRID).astype(np.int64) - _expected(scores)


def residual_limit(low: float = 0.0, high: float = 1.0, *, opening: bool = False) -> int:
    """Return the most a residual can be, in grid units, with soft labels from `low` to `high`.

    opening: in round 0, where every score is 0 and every probability 1/2.
    """
    least, most = (GRID // 2, GRID // 2) if opening else (0, GRID)
    return max(abs(round(high * GRID) - least), abs(round(low * GRID) - most))


def label_bound(features: int) -> float:
    """Return the L2 bound of all sums of a round for one flipped label, in grid units, rounded up.

    features: of all parties together; the owner's total is counted here besides.
    Guarantee: that of the module.
    """
    assert features >= 0
    return float(math.isqrt((features + 1) * GRID**2 - 1) + 1)


def bin_sums(values: IntArray, codes: CodeArray, binning: Binning) -> IntArray:
    """Return the sums of `values` (rows,) over the bins of each feature, shape (total,).

    codes: (rows, features). Exact: whole numbers below 2^53 add up exactly in float64.
    """
    blocks = [
        np.bincount(codes[:, place], values, feature.bins)
        for place, feature in enumerate(binning.features)
    ]
    return np.concatenate([np.zeros(0), *blocks]).astype(np.int64)


def _expected(scores: FloatArray) -> IntArray:
    """Return rint(G p), shape (rows,), between 0 and G."""
    shares = np.nan_to_num(_TASK.mean(scores), nan=0.5)
    return np.rint(shares * GRID).astype(np.int64)
