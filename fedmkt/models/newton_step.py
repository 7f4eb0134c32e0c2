"""The block-Newton step on sums that carry noise, each bin weighed by what it knows.

Guarantee: post-processing. A step reads sums, counts, public settings and the scale of the noise;
where the sums were released with noise, it costs no privacy. It treats features as independent
blocks, so the features of one party can be stepped without those of another.
Not guaranteed: that a step is short enough. Strongly dependent features overshoot; the caller
scales the change.

Derivation. In bin b let g be the sum of residuals and H = counts / 4, the bound on the curvature of
the log loss. To second order the best change d has expected residual sum H d, and what is released
is g = H d + sampling error (variance about H) + noise (variance s^2), so g ~ N(H d, H + s^2). With
the penalty as a Gaussian prior w + d ~ N(0, Q^-1) the posterior mean is
    d = (A + Q)^-1 (A / H g - Q w),   A = H^2 / (H + s^2).
With s = 0, A = H: the penalised Newton step with the fixed bound 1/4 (Böhning and Lindsay 1988,
doi:10.1007/BF00049423). With s^2 far above H, A is near 0 and the bin leans on its neighbours.
Every block's residuals add up to the same total, which is the intercept's: each block sees
g - counts * total / customers, so blocks do not repeat the intercept's step (under independence of
features the blocks are then orthogonal). Last, effects are centred in the plain mean and the
intercept takes up what was taken off: no score changes, the penalty is then as small as it can be,
and at the optimum 1'w_j = 0, because 0 = total = 1'g_j = 1'Q_j w_j = ridge 1'w_j.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.linalg import solveh_banded

from fedmkt.core.stages import FloatArray
from fedmkt.data.binning import Binning
from fedmkt.models.tasks import Task

REFERENCE_BINS = 50


class Penalties(Protocol):
    """Settings that state the penalties on effects and on differences of neighbouring bins."""

    @property
    def ridge(self) -> float:
        """Return the penalty on an effect."""
        ...

    @property
    def smoothness(self) -> float:
        """Return the penalty on a difference of neighbouring bins."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """The features that are stepped together, and where they stand.

    counts: (total,) customers a bin, above 0. customers: their number. effects: (total,).
    """

    binning: Binning
    counts: FloatArray = field(repr=False)
    customers: float = field(repr=False)
    effects: FloatArray


def change_of(
    block: Block,
    residuals: FloatArray,
    *,
    noise: float | FloatArray,
    curvature: float,
    settings: Penalties,
) -> FloatArray:
    """Return the Newton change of the block's effects, shape (total,), before any step scale.

    Args: residuals: (total,) sums in units of a residual of 1. noise: standard deviation of the
        noise in them, one number or one a bin. curvature: bound on the curvature of the loss.
    Guarantee: that of the module; over customers the change moves the mean score by 0.
    """
    binning, counts = block.binning, block.counts
    diagonal, links = penalty(binning, settings)
    pull = times_penalty(diagonal, links, block.effects)
    total = total_of(residuals, binning)
    hessian = curvature * counts
    trust = hessian / (hessian + noise**2)
    own = residuals - counts * total / block.customers
    change = _solve(diagonal + trust * hessian, links, trust * own - pull)
    drift = block_sums(change * counts, binning) / block_sums(counts, binning)
    return change - spread(drift, binning)  # moving everybody is the intercept's part


def intercept_change(link: Task, total: float, customers: float, *, opening: bool) -> float:
    """Return the intercept's change: to the log-odds of the prevalence first, then Newton's.

    total: the sum of all residuals. opening: every score still is 0.
    """
    if opening:
        return link.score_of(float(link.mean(np.zeros(1))[0]) + total / customers)
    return total / (link.curvature_bound * customers)


def centred(effects: FloatArray, binning: Binning) -> tuple[FloatArray, float]:
    """Return effects centred in each feature's plain mean, and what the intercept takes up."""
    means = block_sums(effects, binning) / block_sums(np.ones(binning.total), binning)
    return effects - spread(means, binning), float(means.sum())


def total_of(residuals: FloatArray, binning: Binning) -> float:
    """Return the sum of all residuals: the mean over features of their bins' sums."""
    return float(block_sums(residuals, binning).mean())


def penalty(binning: Binning, settings: Penalties) -> tuple[FloatArray, FloatArray]:
    """Return the diagonal (total,) and the first off-diagonal (total,) of the penalty Q.

    Entry i of the off-diagonal joins bins i and i + 1; it is 0 between features, categories and
    before the bin of missing values, so one tridiagonal matrix holds all blocks.
    """
    diagonal = np.full(binning.total, settings.ridge)
    links = np.zeros(binning.total)
    for start, feature in zip(binning.offsets, binning.features, strict=True):
        if feature.ordered:
            weight = settings.smoothness * len(feature.values) / REFERENCE_BINS
            joined = slice(start, start + len(feature.edges))
            links[joined] = -weight
            diagonal[joined] += weight
            diagonal[start + 1 : start + 1 + len(feature.edges)] += weight
    return diagonal, links


def times_penalty(diagonal: FloatArray, links: FloatArray, effects: FloatArray) -> FloatArray:
    """Return Q w for all blocks, shape (total,)."""
    product = diagonal * effects
    product[:-1] += links[:-1] * effects[1:]
    product[1:] += links[:-1] * effects[:-1]
    return product


def block_sums(values: FloatArray, binning: Binning) -> FloatArray:
    """Return the sum of `values` (total,) over the bins of each feature, shape (features,)."""
    return np.asarray(np.add.reduceat(values, binning.offsets), dtype=np.float64)


def spread(means: FloatArray, binning: Binning) -> FloatArray:
    """Return one value a feature as one value a bin, shape (total,)."""
    return np.repeat(means, [feature.bins for feature in binning.features])


def _solve(diagonal: FloatArray, links: FloatArray, right: FloatArray) -> FloatArray:
    """Solve the tridiagonal system of all blocks at once, shape (total,)."""
    solution = solveh_banded(np.stack([diagonal, links]), right, lower=True, check_finite=False)
    return np.asarray(solution, dtype=np.float64)
