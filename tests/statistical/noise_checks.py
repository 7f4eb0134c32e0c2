"""Whether drawn noise has the scale and the shape it is claimed to have."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kstest


def variance_fits(values: NDArray[np.int64], sigma: float, *, false_alarm: float) -> bool:
    """Chi-square: the sum of squares over sigma^2 has as many degrees of freedom as samples."""
    statistic = float(((values / sigma) ** 2).sum())
    tail = min(chi2.cdf(statistic, len(values)), chi2.sf(statistic, len(values)))
    return bool(2 * tail > false_alarm)


def shape_fits(values: NDArray[np.int64], sigma: float, *, false_alarm: float) -> bool:
    """Kolmogorov and Smirnov against the normal; a grid step is at most 2^-28 of sigma here."""
    return bool(kstest(values / sigma, "norm").pvalue > false_alarm)
