"""Attacks on the sums of an additive training as trials: inspection, and collusion.

Guarantee: sums, noise, masks and opening are those of a node and of a coordinator; a protection
that is off is left out. The same seed gives the same figures: noise follows from it; masks and
keys, drawn anew each time, are in none of them.
Not guaranteed: privacy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from fedmkt.core.stages import Examples, IntArray, LocalUpdate, PrivateUpdate
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.horizontal.local_update import LARGEST_SUM, local_sums
from fedmkt.models.additive import zero_model
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.mechanisms import ReproducibleNoise, add_noise, without_noise
from fedmkt.simulation.attacks.collusion import Update, attack_collusion, remaining_noise, run_sum
from fedmkt.simulation.attacks.inspection import Property, attack_inspection, read_property
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.partitions.value_groups import PRESETS
from fedmkt.simulation.scenario.attack_parts import (
    NOTHING_OFF,
    Measured,
    Off,
    each_level,
    levels,
)
from fedmkt.simulation.scenario.attack_schema_sums import (
    CollusionPart,
    InspectionPart,
    SumsPart,
)
from fedmkt.simulation.scenario.customers import draws

_LEVELS = levels(("noise",), ("masks",), ("masks", "noise"))
_COUNT_WEIGHT = 0.2
_COPIES = 20
"""How often sums are noised for the spread of what is left: a single one has few entries."""
_BY = "occupation"


@dataclass(frozen=True, slots=True)
class _Sums:
    """Each partner's opening sums without noise, and the noise that keeps them to epsilon."""

    exact: Mapping[str, LocalUpdate] = field(repr=False)
    multiplier: float
    seed: int

    def updates(self, level: Off, *, shares: int = 1) -> dict[str, Update]:
        """Return what partners put into the secure sum."""
        if not level.has("noise"):
            return {name: without_noise(one) for name, one in self.exact.items()}
        return dict(self.noised(shares))

    def noised(self, shares: int = 1) -> dict[str, PrivateUpdate]:
        """Return the sums with noise: each with the whole, or with one of so many shares of it."""
        source = ReproducibleNoise(self.seed)
        return {
            name: add_noise(
                one,
                noise_multiplier=self.multiplier,
                shares=shares,
                trust="local" if shares == 1 else "distributed",
                source=source.stream(name),
            )
            for name, one in self.exact.items()
        }

    def repeated(self, copies: int) -> "_Sums":
        """Return the same sums so many times over, each with noise of its own."""
        exact = {
            name: LocalUpdate(np.tile(one.values, copies), one.l2_bound)
            for name, one in self.exact.items()
        }
        return _Sums(exact, self.multiplier, self.seed)

    @property
    def values(self) -> dict[str, IntArray]:
        """Return the sums without noise."""
        return {name: one.values for name, one in self.exact.items()}


def run_inspection(part: InspectionPart, seed: int) -> tuple[Measured, ...]:
    """Return how far what is read of partners is from what holds, for each defence.

    Raises: SettingInvalid for a feature that the model does not have.
    """
    binning, rows, groups = _adult(part.max_bins)
    order = draws(seed, "customers").permutation(rows.rows)
    parts = {
        name: _at(rows, order[groups[order] == place][: part.rows])
        for place, name in enumerate(PRESETS["adult_by_occupation"].groups)
    }
    sums = _sums_of(part, binning, parts, seed)

    def read(values: IntArray) -> Property:
        return read_property(values, binning, part.feature, count_weight=_COUNT_WEIGHT)

    truth = {name: read(values) for name, values in sums.values.items()}

    def attack(level: Off) -> tuple[AttackResult, ...]:
        updates = sums.updates(level)
        if level.has("masks"):
            seen = dict.fromkeys(updates, read(run_sum(updates).total))
        else:
            seen = {name: read(one.values) for name, one in updates.items()}
        return (attack_inspection(seen, truth, defence=level.words),)

    return each_level(_LEVELS, attack)


def run_collusion(part: CollusionPart, seed: int) -> tuple[Measured, ...]:
    """Return what colluding partners learn of another's sums, and how much noise they leave."""
    binning, rows, _ = _adult(part.max_bins)
    order = draws(seed, "customers").permutation(rows.rows)
    dealt = order[: part.rows * part.partners].reshape(part.partners, -1)
    parts = {f"p{place:02}": _at(rows, own) for place, own in enumerate(dealt)}
    sums = _sums_of(part, binning, parts, seed)
    colluding = part.partners - 2 if part.colluding is None else part.colluding

    def learnt(level: Off, count: int, more: str = "") -> AttackResult:
        return attack_collusion(
            sums.updates(level),
            count if level.has("masks") else 0,
            exact=sums.values,
            masks=level.has("masks"),
            largest=LARGEST_SUM,
            defence=level.words + more,
        )

    def attack(level: Off) -> tuple[AttackResult, ...]:
        return (learnt(level, colluding),)

    alone, last = ", all but one collude", part.partners - 1
    return (
        *each_level(_LEVELS, attack),
        Measured("part", learnt(Off(("noise",), "part"), last, alone)),
        Measured("part", learnt(NOTHING_OFF, last, alone)),
        *_noise_left(part, sums),
    )


def _noise_left(part: CollusionPart, sums: _Sums) -> tuple[Measured, ...]:
    """Return the shared noise that is left when as many collude as may, and when all but one do."""
    often = sums.repeated(_COPIES)
    shares = often.noised(part.partners - part.may_collude)
    bound = next(iter(sums.exact.values())).l2_bound

    def left(colluding: int) -> AttackResult:
        return remaining_noise(
            shares, often.values, colluding, l2_bound=bound, stated=sums.multiplier
        )

    return (
        Measured("on", left(part.may_collude)),
        Measured("part", left(part.partners - 1)),
    )


def _sums_of(part: SumsPart, binning: Binning, parts: Mapping[str, Examples], seed: int) -> _Sums:
    exact = {
        name: local_sums(own, zero_model(binning), count_weight=_COUNT_WEIGHT)
        for name, own in parts.items()
    }
    multiplier = noise_multiplier_for(epsilon=part.epsilon, delta=part.delta, releases=1)
    return _Sums(exact, multiplier, seed)


@cache
def _adult(max_bins: int) -> tuple[Binning, Examples, IntArray]:
    """Return Adult's training rows in bins, and the group of occupations that each belongs to."""
    schema, frame = bundled.schema("adult"), bundled.load("adult_train")
    features = [
        column.name for column in schema.columns if column.use == "feature" and column.name != _BY
    ]
    binning = binning_from_schema(schema, features, max_bins=max_bins)
    target = (frame["income"] == schema.target_positive).to_numpy().astype(np.uint8)
    preset = PRESETS["adult_by_occupation"]
    place = {value: at for at, values in enumerate(preset.values) for value in values}
    groups = frame[preset.column].replace_strict(place).to_numpy().astype(np.int64)
    return binning, Examples(encode(frame, binning, dataset="adult"), target), groups


def _at(rows: Examples, places: IntArray) -> Examples:
    return Examples(rows.codes[places], rows.target[places])
