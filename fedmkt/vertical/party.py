"""One party's part of a vertical model: its state, its step, and what it adds to a score.

Guarantee: `step` is the Newton step of `models.newton_step` on this party's features alone, with
its own exact counts, which never leave it. `levels_of` moves a score by whole steps: each feature
by at most `limit`, in at most `levels` different ways.
Not guaranteed: that shown scores hide columns. Whoever sees a party's scores over several rounds
tells customers with different columns apart (`columns_guess` measures it); levels and limit bound
what one round can say, not what it does say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.vertical_jobs import MOST_PARTIES
from fedmkt.core.errors import RangeExceeded, TrainingDiverged
from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.newton_step import (
    Block,
    Penalties,
    centred,
    change_of,
    intercept_change,
)
from fedmkt.models.tasks import task_named
from fedmkt.vertical.residuals import GRID, bin_sums
from fedmkt.vertical.small_bins import Merging, merge_small_bins

LevelArray = NDArray[np.int32]
LARGEST_TOTAL = 2**31 - 1
_TASK = task_named("propensity")


class StepSettings(Penalties, Protocol):
    """Settings that state penalties and the share of the Newton step taken in each round."""

    @property
    def step(self) -> tuple[float, ...]:
        """Return the shares; the last one repeats."""
        ...


@dataclass(frozen=True, slots=True)
class PartyModel:
    """Where one party stands.

    merging: which public bins it joined. counts: (groups,) training rows, exact. customers: number
    of training rows. effects: (groups,), centred in each feature's plain mean, in log-odds.
    offset: its part's own constant, in log-odds. round: steps made.
    """

    merging: Merging = field(repr=False)
    counts: FloatArray = field(repr=False)
    customers: int
    effects: FloatArray = field(repr=False)
    offset: float = 0.0
    round: int = 0

    @property
    def binning(self) -> Binning:
        """Return the groups as bins."""
        return self.merging.binning

    @property
    def model(self) -> AdditiveModel:
        """Return the part as a model over the public bins, its offset as the intercept."""
        return AdditiveModel(self.merging.public, self.offset, self.effects[self.merging.members])

    def to_json(self) -> dict[str, object]:
        """Return plain values for this party's own store. Counts are exact: they stay there."""
        return {
            "merging": self.merging.to_json(),
            "counts": [float(count) for count in self.counts],
            "customers": self.customers,
            "effects": [float(effect) for effect in self.effects],
            "offset": self.offset,
            "round": self.round,
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "PartyModel":
        """Return the state that `to_json` wrote; it trusts its own store."""
        return PartyModel(
            merging=Merging.from_json(cast("dict[str, object]", value["merging"])),
            counts=np.array(value["counts"], dtype=np.float64),
            customers=int(cast("int", value["customers"])),
            effects=np.array(value["effects"], dtype=np.float64),
            offset=float(cast("float", value["offset"])),
            round=int(cast("int", value["round"])),
        )


def begin(codes: CodeArray, public: Binning, *, least: int, dataset: str) -> PartyModel:
    """Return a party's state before the first round.

    Args: codes: (training rows, features) of `public` bins. least: smaller bins are merged.
    Raises: ColumnConstant.
    """
    merging = merge_small_bins(codes, public, least=least, dataset=dataset)
    sums = bin_sums(np.ones(len(codes), dtype=np.int64), merging.stand_ins(codes), public)
    counts = sums[merging.firsts].astype(np.float64)
    return PartyModel(merging, counts, len(codes), np.zeros(merging.binning.total))


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused by name at the end
def step(
    party: PartyModel, sums: IntArray, *, noise: float | FloatArray, settings: StepSettings
) -> PartyModel:
    """Make one step from this party's sums of residuals.

    Args: sums: (public total,) in grid units, each group's at its first bin. noise: standard
        deviation of the noise in one of them, in grid units, or one for each group.
    Raises: TrainingDiverged.
    """
    assert sums.shape == (party.merging.public.total,)
    if not party.binning.features:
        return replace(party, round=party.round + 1)
    change = change_of(
        Block(party.binning, party.counts, party.customers, party.effects),
        sums[party.merging.firsts] / GRID,
        noise=noise / GRID,
        curvature=_TASK.curvature_bound,
        settings=settings,
    )
    moved = party.effects + step_share(settings, party.round) * change
    effects, taken = centred(moved, party.binning)
    if not np.isfinite(effects).all():
        raise TrainingDiverged(round=party.round + 1)
    return replace(party, effects=effects, offset=party.offset + taken, round=party.round + 1)


def intercept_step(
    intercept: float, total: int, *, customers: int, round_index: int, settings: StepSettings
) -> float:
    """Return the owner's intercept after a round.

    Args: total: the sum of all residuals, noised as every other sum, in grid units. customers:
        number of training rows.
    """
    opening = round_index == 0
    change = intercept_change(_TASK, total / GRID, customers, opening=opening)
    return intercept + (change if opening else step_share(settings, round_index) * change)


def levels_of(model: AdditiveModel, codes: CodeArray, *, limit: float, levels: int) -> LevelArray:
    """Return a part's score of each row as a whole number of steps, shape (rows,).

    Args: model: a party's part over public bins. codes: (rows, features) of the same bins.
    Raises: RangeExceeded (more features and levels than a sum of parties can hold in 32 bits).
    Guarantee: each feature adds at most (levels - 1) / 2 steps either way, the offset at most as
        much as all features together, which is the same for every row.
    """
    features, half = len(model.binning.features), (levels - 1) // 2
    if 2 * features * half * MOST_PARTIES > LARGEST_TOTAL:
        raise RangeExceeded(problem=f"{features} features of {levels} levels pass 32 bits")
    offset, units = _in_steps(model, limit=limit, levels=levels)
    total = np.full(codes.shape[0], offset, dtype=np.int32)
    for place, (start, feature) in enumerate(
        zip(model.binning.offsets, model.binning.features, strict=True)
    ):
        total += units[start : start + feature.bins][codes[:, place]]
    return total


def as_shown(model: AdditiveModel, *, limit: float, levels: int) -> AdditiveModel:
    """Return the part as it counts in a shown score: clipped and rounded to whole steps.

    Its score of a row is `levels_of` the row times the step's size.
    """
    offset, units = _in_steps(model, limit=limit, levels=levels)
    size = step_size(limit=limit, levels=levels)
    return replace(model, intercept=offset * size, effects=units.astype(np.float64) * size)


def _in_steps(model: AdditiveModel, *, limit: float, levels: int) -> tuple[int, LevelArray]:
    """Return the offset and the effects (total,) of a part in whole steps."""
    features, half = len(model.binning.features), (levels - 1) // 2
    size = step_size(limit=limit, levels=levels)
    offset = int(np.clip(np.rint(model.intercept / size), -half * features, half * features))
    # Privacy: clipped and rounded for each feature, so that none can carry digits of the others.
    return offset, np.clip(np.rint(model.effects / size), -half, half).astype(np.int32)


def step_size(*, limit: float, levels: int) -> float:
    """Return the size of one step of a shown score, in log-odds."""
    return 2 * limit / (levels - 1)


def step_share(settings: StepSettings, round_index: int) -> float:
    """Return the share of the Newton step taken in round `round_index`."""
    return settings.step[min(round_index, len(settings.step) - 1)]
