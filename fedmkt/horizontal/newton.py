"""The server's step on the sum of all partners' updates: a Newton step kept from overshooting.

Guarantee: post-processing. A step reads released sums, public settings and the public scale of the
noise, so it costs no privacy. Without noise its fixed point is the minimum of
    log loss summed over customers + 1/2 sum over features j of w_j' Q_j w_j
(intercept unpenalised), Q_j = ridge I + smoothness (K_j / 50) D'D, D = first differences of the
K_j neighbouring bins; K_j / 50 keeps the penalty on a curve about equal however finely it is cut.
Not guaranteed: that few rounds reach it. `models.newton_step` treats blocks as independent; where
strongly dependent features make its step too long, `_step_scale` shortens it.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import GRID, weight_units
from fedmkt.models.additive import AdditiveModel, zero_model
from fedmkt.models.newton_step import (
    Block,
    block_sums,
    centred,
    change_of,
    intercept_change,
    penalty,
    times_penalty,
    total_of,
)

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
    pull = times_penalty(*penalty(binning, settings), model.effects)
    total = total_of(sums.residuals, binning)
    slope = _Move(total, sums.residuals - pull, 0.0)
    scale = _step_scale(state, slope, sums.noise)
    step = scale * settings.step[min(state.round, len(settings.step) - 1)]

    block = Block(binning, state.counts, state.customers, model.effects)
    change = change_of(
        block,
        sums.residuals,
        noise=sums.noise,
        curvature=model.link.curvature_bound,
        settings=settings,
    )
    opening = state.round == 0
    rise = intercept_change(model.link, total, state.customers, opening=opening)
    return _moved(state, slope, step * change, rise if opening else step * rise, scale)


def _open(state: TrainingState, counts: FloatArray, noise: float) -> TrainingState:
    """Take up the released counts; a bin counts at least as many as its noise."""
    customers = float(block_sums(counts, state.model.binning).mean())
    floor = max(noise, 0.5)
    return replace(state, counts=np.maximum(counts, floor), customers=max(customers, floor))


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
    effects, taken = centred(model.effects + change, binning)
    intercept = model.intercept + rise + taken
    moved = replace(model, intercept=intercept, effects=effects)
    if not moved.finite:
        raise TrainingDiverged(round=state.round + 1)
    by, along = intercept - model.intercept, effects - model.effects
    last = _Move(by, along, by * slope.intercept + float(along @ slope.effects))
    return replace(state, model=moved, round=state.round + 1, step_scale=scale, last=last)
