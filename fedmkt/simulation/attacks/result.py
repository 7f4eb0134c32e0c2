"""What an attack found: one figure with its interval, what it would be by chance, and its series.

Guarantee: none by itself. How an interval was made stands with the attack that returns it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student

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
    95% interval. chance: what guessing gives. series: what a plot needs. least, most: between which
    the figure lies whatever happens.
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
    least: float = -math.inf
    most: float = math.inf

    def series_named(self, name: str) -> Series:
        """Return the series of that name. Raises: KeyError."""
        for one in self.series:
            if one.name == name:
                return one
        raise KeyError(name)


def interval_words(result: AttackResult) -> str:
    """Return an interval, three decimals; one without an upper limit says so."""
    if math.isinf(result.high):
        return f"{result.low:.3f} and above"
    return f"{result.low:.3f} to {result.high:.3f}"


def mean_result(results: Sequence[AttackResult]) -> AttackResult:
    """Return the mean of the same attack run several times: by batch, or by seed.

    Its 95% interval is Student's over the runs; of runs that all give the same, the widest of
    theirs. Series with the same x are averaged; otherwise the first run's stand for all.
    """
    first, values = results[0], [one.value for one in results]
    if len(set(values)) == 1:
        low, high = min(one.low for one in results), max(one.high for one in results)
        return replace(first, low=low, high=high, chance=_mean(one.chance for one in results))
    mean = _mean(values)
    error = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return replace(
        first,
        value=mean,
        low=max(first.least, mean - half),
        high=min(first.most, mean + half),
        chance=_mean(one.chance for one in results),
        series=_mean_series([one.series for one in results]),
    )


def _mean_series(runs: Sequence[tuple[Series, ...]]) -> tuple[Series, ...]:
    """Return the means of curves over the same x; the first run's, where these differ."""
    if any([one.x for one in run] != [one.x for one in runs[0]] for run in runs):
        return runs[0]
    return tuple(
        series(same[0].name, same[0].x, np.mean([one.y for one in same], axis=0))
        for same in zip(*runs, strict=True)
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


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
