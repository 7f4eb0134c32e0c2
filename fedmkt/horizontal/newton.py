"""The server's step: a block-Newton step on sums that carry noise, each weighed by what it knows.

Guarantee: post-processing. A step reads released sums, public settings and the public scale of the
noise, so it costs no privacy. Without noise its fixed point is the minimum of
    log loss summed over customers + 1/2 sum over features j of w_j' Q_j w_j
(intercept unpenalised), Q_j = ridge I + smoothness (K_j / 50) D'D, D = first differences of the
K_j neighbouring bins; K_j / 50 keeps the penalty on a curve about equal however finely it is cut.
Not guaranteed: that few rounds reach it. Blocks are treated as independent; where strongly
dependent features make that step too long, `_step_scale` shortens it.

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

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import solveh_banded

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import GRID, weight_units
from fedmkt.models.additive import AdditiveModel, zero_model

REFERENCE_BINS = 50
OVERSHOOT = 0.5
NOISE_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Sums:
    """Released sums in plain units: (total,) residuals, (total,) counts in the opening sum.

    noise: standard deviation of the noise in a residual sum; count_noise: in a count.
    """

    residuals: FloatArray
    noise: float
    counts: FloatArray | None = None
    count_noise: float = 0.0


@dataclass(frozen=True, slots=True)
class _Move:
    """The last step: how far it went and what the slope along it was where it started."""

    intercept: float
    effects: FloatArray
    slope: float


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Where a training stands; all of it follows from released sums.

    counts: (total,) customers a bin as released, floored at the noise; empty before the opening
    sum. customers: their released number. round: steps made. step_scale: what overshooting left of
    the step, 1 or a power of 1/2.
    """

    model: AdditiveModel
    settings: AdditiveSettings
    counts: FloatArray = field(default_factory=lambda: np.zeros(0))
    customers: float = 0.0
    round: int = 0
    step_scale: float = 1.0
    last: _Move | None = None


def initial_state(binning: Binning, settings: AdditiveSettings) -> TrainingState:
    """Return the state before the first sum: the model that gives everybody probability 1/2."""
    return TrainingState(zero_model(binning, task=settings.task), settings)


def apply_sum(
    state: TrainingState, values: IntArray, *, noise_sigma: float, count_weight: float
) -> TrainingState:
    """Make one step from the sum of all partners' updates of this round.

    Args: values: (2 total,) residual and count sums in round 0, else (total,), in grid units.
        noise_sigma: standard deviation of the whole noise in the sum, in grid units (0: none).
        count_weight: as the job states it.
    Raises: TrainingDiverged (parameters no longer finite).
    Guarantee: that of the module.
    """
    total = state.model.binning.total
    residuals = values[:total] / GRID
    if state.round > 0:
        assert values.shape == (total,)
        return advance(state, Sums(residuals, noise_sigma / GRID))
    assert values.shape == (2 * total,)
    weight = weight_units(count_weight)
    counts = values[total:] / weight
    return advance(state, Sums(residuals, noise_sigma / GRID, counts, noise_sigma / weight))


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused by name at the end
def advance(state: TrainingState, sums: Sums) -> TrainingState:
    """Make one step from sums in plain units. Raises: TrainingDiverged."""
    if sums.counts is not None:
        state = _open(state, sums.counts, sums.count_noise)
    binning, settings, model = state.model.binning, state.settings, state.model
    diagonal, links = penalty(binning, settings)
    pull = _times_penalty(diagonal, links, model.effects)
    total = float(_block_sums(sums.residuals, binning).mean())
    slope = _Move(total, sums.residuals - pull, 0.0)
    scale = _step_scale(state, slope, sums.noise)
    step = scale * settings.step[min(state.round, len(settings.step) - 1)]

    hessian = model.link.curvature_bound * state.counts
    trust = hessian / (hessian + sums.noise**2)
    own = sums.residuals - state.counts * total / state.customers
    change = _solve(diagonal + trust * hessian, links, trust * own - pull)
    drift = _block_sums(change * state.counts, binning) / _block_sums(state.counts, binning)
    change -= _spread(drift, binning)  # moving everybody is the intercept's part
    rise = _intercept_rise(state, total)
    return _moved(state, slope, step * change, rise if state.round == 0 else step * rise, scale)


def penalty(binning: Binning, settings: AdditiveSettings) -> tuple[FloatArray, FloatArray]:
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


def _open(state: TrainingState, counts: FloatArray, noise: float) -> TrainingState:
    """Take up the released counts; a bin counts at least as many as its noise."""
    customers = float(_block_sums(counts, state.model.binning).mean())
    floor = max(noise, 0.5)
    return replace(state, counts=np.maximum(counts, floor), customers=max(customers, floor))


def _intercept_rise(state: TrainingState, total: float) -> float:
    """Return the intercept's step: to the log-odds of the prevalence first, then Newton's."""
    link = state.model.link
    if state.round == 0:
        return link.score_of(float(link.mean(np.zeros(1))[0]) + total / state.customers)
    return total / (link.curvature_bound * state.customers)


def _step_scale(state: TrainingState, slope: _Move, noise: float) -> float:
    """Halve the step when the last one overshot by more than noise explains.

    Along the last move the slope of the (convex) objective fell from `last.slope` to `here`. On a
    parabola `here` = -`last.slope` / 2 means a move half again as long as the best one; twice as
    long is where steps begin to grow without end.
    """
    last = state.last
    if last is None:
        return state.step_scale
    here = last.intercept * slope.intercept + float(last.effects @ slope.effects)
    features = len(state.model.binning.features)
    reach = abs(last.intercept) * np.sqrt(state.model.binning.total) / features
    explained = NOISE_MARGIN * noise * (float(np.linalg.norm(last.effects)) + float(reach))
    overshot = here + explained < -OVERSHOOT * max(last.slope, 0.0)
    return state.step_scale / 2 if overshot else state.step_scale


def _moved(
    state: TrainingState, slope: _Move, change: FloatArray, rise: float, scale: float
) -> TrainingState:
    """Return the state after adding `change` and `rise`, effects centred in the plain mean."""
    model, binning = state.model, state.model.binning
    effects = model.effects + change
    means = _block_sums(effects, binning) / _block_sums(np.ones(binning.total), binning)
    centred = effects - _spread(means, binning)
    intercept = model.intercept + rise + float(means.sum())
    moved = replace(model, intercept=intercept, effects=centred)
    if not moved.finite:
        raise TrainingDiverged(round=state.round + 1)
    by, along = intercept - model.intercept, centred - model.effects
    last = _Move(by, along, by * slope.intercept + float(along @ slope.effects))
    return replace(state, model=moved, round=state.round + 1, step_scale=scale, last=last)


def _solve(diagonal: FloatArray, links: FloatArray, right: FloatArray) -> FloatArray:
    """Solve the tridiagonal system of all blocks at once, shape (total,)."""
    solution = solveh_banded(np.stack([diagonal, links]), right, lower=True, check_finite=False)
    return np.asarray(solution, dtype=np.float64)


def _times_penalty(diagonal: FloatArray, links: FloatArray, effects: FloatArray) -> FloatArray:
    """Return Q w for all blocks, shape (total,)."""
    product = diagonal * effects
    product[:-1] += links[:-1] * effects[1:]
    product[1:] += links[:-1] * effects[:-1]
    return product


def _block_sums(values: FloatArray, binning: Binning) -> FloatArray:
    """Return the sum of `values` (total,) over the bins of each feature, shape (features,)."""
    return np.asarray(np.add.reduceat(values, binning.offsets), dtype=np.float64)


def _spread(means: FloatArray, binning: Binning) -> FloatArray:
    """Return one value a feature as one value a bin, shape (total,)."""
    return np.repeat(means, [feature.bins for feature in binning.features])
