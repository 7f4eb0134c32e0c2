"""What an attack found: one figure with its interval, what it would be by chance, and its series.

Guarantee: none by itself. How an interval was made stands with the attack that returns it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Series:
    """Points of a curve, or of a cloud: x and y of the same length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack against one defence.

    name: of the attack. defence: in words. figure: the name of `value`, in `unit`. low, high: its
    95% interval. chance: what guessing gives. series: what a plot needs.
    """

    name: str
    defence: str
    figure: str
    unit: str
    value: float
    low: float
    high: float
    chance: float
    series: tuple[Series, ...] = ()

    def series_named(self, name: str) -> Series:
        """Return the series of that name. Raises: KeyError."""
        for one in self.series:
            if one.name == name:
                return one
        raise KeyError(name)


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """Return the exact 95% limits of a share: `hits` of `trials` independent trials.

    Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(0.975, hits + 1, trials - hits))
    return low, high


def series(name: str, x: Sequence[float] | NDArray[np.float64], y: object) -> Series:
    """Return points as plain numbers."""
    return Series(
        name,
        tuple(float(value) for value in np.asarray(x).ravel()),
        tuple(float(value) for value in np.asarray(y, dtype=np.float64).ravel()),
    )
