"""Inspection of updates: what a partner's sums say about the partner, and what the masked sum says.

The opening sums of an additive training hold, for each bin of each feature, how many customers are
in it and the sum of (target - 1/2): so how a feature is distributed, and how frequent the target
is. Seen by itself, a partner's update gives both away exactly. Of masked updates only the sum over
all partners is seen, so what can be said of each partner is what holds for all of them together.

Guarantee: the reading is exact; noise in the sums is noise in what is read.
Not guaranteed: that a sum hides a partner that most of its customers come from.
Source: property inference, Ganju et al. 2018, doi:10.1145/3243734.3243834; in collaborative
training, Melis et al. 2019, arXiv:1805.04049.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import GRID, weight_units
from fedmkt.simulation.attacks.result import AttackResult, Series, series

DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Property:
    """What opening sums say of whose they are.

    prevalence: share of customers with the target. shares: (bins,), of each bin of a feature.
    """

    prevalence: float
    shares: FloatArray


def read_property(
    values: IntArray, binning: Binning, feature: str, *, count_weight: float
) -> Property:
    """Return what opening sums (2 total,), as `local_sums` makes them, say of a feature.

    Raises: SettingInvalid for a feature that is not in `binning`.
    """
    if feature not in binning.names:
        raise SettingInvalid(setting=f"feature {feature}", problem="the model has no such feature")
    place = binning.names.index(feature)
    start = binning.offsets[place]
    block = slice(start, start + binning.features[place].bins)
    residuals = values[: binning.total][block] / GRID
    counts = np.maximum(values[binning.total :][block] / weight_units(count_weight), 0.0)
    customers = max(float(counts.sum()), 1.0)
    prevalence = float(np.clip(residuals.sum() / customers + 0.5, 0, 1))
    return Property(prevalence, counts / customers)


def attack_inspection(
    seen: Mapping[str, Property], truth: Mapping[str, Property], *, defence: str
) -> AttackResult:
    """Tell how far what was seen of each partner is from what holds for it.

    Args: seen, truth: by partner; under masks the same is seen of all.
    Returns: the mean distance over partners: half the sum of differences of a feature's shares
        (total variation) and the difference of prevalence, the larger of both. Its interval is
        that of a bootstrap over partners, 95%, with a fixed seed; wide with few partners. By
        chance: the distance of a partner from the mean of all.
    """
    names = sorted(truth)
    far = np.array([distance(seen[name], truth[name]) for name in names])
    everybody = Property(
        float(np.mean([truth[name].prevalence for name in names])),
        np.mean([truth[name].shares for name in names], axis=0),
    )
    chance = float(np.mean([distance(everybody, truth[name]) for name in names]))
    draws = np.random.default_rng(0).integers(0, len(far), (DRAWS, len(far)))
    low, high = np.quantile(far[draws].mean(axis=1), (0.025, 0.975))
    return AttackResult(
        name="inspection of updates",
        defence=defence,
        figure="distance of what is read from what is so",
        unit="share of customers",
        value=float(far.mean()),
        low=float(low),
        high=float(high),
        chance=chance,
        series=_series(seen, truth),
        least=0.0,
        most=1.0,
    )


def distance(one: Property, other: Property) -> float:
    """Return the larger of the total variation of the shares and the gap in prevalence."""
    shares = float(np.abs(one.shares - other.shares).sum() / 2)
    return max(shares, abs(one.prevalence - other.prevalence))


def _series(seen: Mapping[str, Property], truth: Mapping[str, Property]) -> tuple[Series, ...]:
    found: list[Series] = []
    for name in sorted(truth):
        bins = np.arange(float(len(truth[name].shares)))
        found.append(series(f"seen {name}", bins, seen[name].shares))
        found.append(series(f"true {name}", bins, truth[name].shares))
    return tuple(found)
