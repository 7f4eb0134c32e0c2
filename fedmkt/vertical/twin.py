"""Vertical training in one place: every step of the protocol, and none of its cryptography.

Used for the twin a run is compared with, for a label owner alone, and for attacks, which it shows
what each side would see. Guarantee: given the same noise, models, sums and totals are those of the
protocol to the last bit, because all that is exchanged are integers.
Not guaranteed: privacy. Whoever runs this holds everybody's columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.mechanisms import NoiseSource
from fedmkt.vertical.party import PartyModel, begin, intercept_step, levels_of, step, step_size
from fedmkt.vertical.residuals import bin_sums, residuals, soft_residuals, training_rows


@dataclass(frozen=True, slots=True)
class Columns:
    """One party's columns: codes (rows, features) of `binning`, rows in the order of all parties.

    least: bins with fewer training rows are merged.
    """

    name: str
    binning: Binning
    codes: CodeArray = field(repr=False)
    least: int = 1


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of the label owner in every sum. sigma: standard deviation in grid units."""

    sigma: float
    source: NoiseSource


@dataclass(frozen=True, slots=True)
class Twin:
    """A training as all sides together saw it.

    models: the parts over public bins, the owner's first, with the intercept. scores: (rows,) as
    the owner knows them at the end. totals: (rows, rounds), the partners' scores as the owner saw
    them, in steps. sums: for each round, for each party and last for the intercept, the noised
    sums. before: (rows, rounds), the owner's scores that each round's residuals were made of.
    """

    models: tuple[AdditiveModel, ...]
    scores: FloatArray = field(repr=False)
    totals: IntArray = field(repr=False)
    sums: tuple[tuple[IntArray, ...], ...] = field(repr=False)
    before: FloatArray = field(repr=False)


def train_twin(
    parties: Sequence[Columns],
    target: NDArray[np.uint8] | FloatArray,
    settings: VerticalSettings,
    *,
    noise: Noise | None = None,
) -> Twin:
    """Train on the columns of all `parties`, the label owner's first.

    Args: target: (rows,), 0 or 1; or soft labels, as floats. The last `settings.holdout` of the
        rows are scored, never trained on.
    Raises: ColumnConstant, TrainingDiverged, RangeExceeded.
    """
    rows = training_rows(len(target), settings.holdout)
    states = [
        begin(one.codes[:rows], one.binning, least=one.least, dataset=one.name) for one in parties
    ]
    seen = np.zeros((len(target), settings.rounds), dtype=np.int64)
    before = np.zeros((len(target), settings.rounds))
    intercept, scores, sums = 0.0, np.zeros(len(target)), []
    for index in range(settings.rounds):
        before[:, index] = scores
        units = _residuals(target[:rows], scores[:rows])
        sums.append(_noised(_sums(units, parties, states), noise))
        states = _step_all(states, sums[-1], settings, noise)
        intercept = intercept_step(
            intercept, int(sums[-1][-1][0]), customers=rows, round_index=index, settings=settings
        )
        seen[:, index] = _shown(parties[1:], states[1:], settings, len(target))
        scores = _owner_scores(states[0], intercept, parties[0], seen[:, index], settings)
    models = [state.model for state in states]
    models[0] = replace(models[0], intercept=intercept + models[0].intercept)
    return Twin(tuple(models), scores, seen, tuple(sums), before)


def train_alone(
    owner: Columns, target: NDArray[np.uint8], settings: VerticalSettings
) -> AdditiveModel:
    """Train on the label owner's columns alone, without noise. Raises: as `train_twin`."""
    return train_twin([owner], target, settings).models[0]


def _residuals(target: NDArray[np.uint8] | FloatArray, scores: FloatArray) -> IntArray:
    if np.issubdtype(target.dtype, np.floating):
        return soft_residuals(target.astype(np.float64), scores)
    return residuals(target.astype(np.uint8), scores)


def _sums(
    units: IntArray, parties: Sequence[Columns], states: Sequence[PartyModel]
) -> list[IntArray]:
    """Return each party's sums (public total,), and last the total (1,)."""
    sums = [
        bin_sums(units, state.merging.stand_ins(one.codes[: len(units)]), one.binning)
        for one, state in zip(parties, states, strict=True)
    ]
    return [*sums, np.array([units.sum()], dtype=np.int64)]


def _noised(sums: list[IntArray], noise: Noise | None) -> tuple[IntArray, ...]:
    if noise is None:
        return tuple(sums)
    lengths = [len(values) for values in sums]
    noised = noise.source.add_to(np.concatenate(sums), sigma=noise.sigma)
    return tuple(np.split(noised, np.cumsum(lengths)[:-1]))


def _step_all(
    states: Sequence[PartyModel],
    sums: Sequence[IntArray],
    settings: VerticalSettings,
    noise: Noise | None,
) -> list[PartyModel]:
    sigma = 0.0 if noise is None else noise.sigma
    return [
        step(state, values, noise=sigma, settings=settings)
        for state, values in zip(states, sums, strict=False)  # the last sum is the intercept's
    ]


def _shown(
    partners: Sequence[Columns],
    states: Sequence[PartyModel],
    settings: VerticalSettings,
    rows: int,
) -> IntArray:
    """Return the sum of the partners' scores of each row, in steps, shape (rows,)."""
    total = np.zeros(rows, dtype=np.int64)
    for one, state in zip(partners, states, strict=True):
        total += levels_of(state.model, one.codes, limit=settings.limit, levels=settings.levels)
    return total


def _owner_scores(
    owner: PartyModel,
    intercept: float,
    columns: Columns,
    total: IntArray,
    settings: VerticalSettings,
) -> FloatArray:
    """Return the owner's scores: its own exactly, the partners' in steps, shape (rows,)."""
    size = step_size(limit=settings.limit, levels=settings.levels)
    return intercept + owner.model.scores(columns.codes) + total * size
