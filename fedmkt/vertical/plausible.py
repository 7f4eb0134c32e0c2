"""Whether sums that came back can come from honest residuals and honest noise.

The label owner decrypts, so it could return anything, and a partner's effects and then its scores
would follow: totals chosen as digits spell out the partner's columns in the scores. So a partner
checks before it steps: no bin's sum passes what its rows and the noise allow, the bins of every
feature add up to one total, and nothing stands where there are no rows.

Guarantee: honest sums are refused with probability at most 2^-40 a call. Discrete Gaussians are
sub-Gaussian, and so are their sums: the noise of k of them passes t = sigma sqrt(k) sqrt(2 ln(2 m
2^40)) with probability at most 2^-40 / m (arXiv:2004.00010, section 3), for each of m tests.
Not guaranteed: that an owner reads nothing by chosen totals. Small digits look like honest sums and
pass; where levels are fine, they are enough to spell out columns. What keeps them out of the scores
are coarse levels: a vector then says no more than one of F (levels - 1) + 1 totals can, for F
features, and the number of vectors is capped.
"""

import math

import numpy as np

from fedmkt.core.errors import TotalsImplausible
from fedmkt.core.stages import IntArray
from fedmkt.privacy.mechanisms import TAIL_BITS
from fedmkt.vertical.party import PartyModel


def check_totals(values: IntArray, party: PartyModel, *, limit: int, sigma: float) -> None:
    """Refuse sums that honest residuals and noise do not give.

    Args: values: (public total,) in grid units, as the owner returned them. limit: the most a
        residual can be (`residuals.residual_limit`). sigma: scale of the noise, 0 for none.
    Raises: TotalsImplausible.
    Guarantee: that of the module.
    """
    public, firsts = party.merging.public, party.merging.firsts
    features = len(public.features)
    tail = sigma * _tail(tests=public.total + features * (features - 1) // 2)
    bounds = np.zeros(public.total)
    bounds[firsts] = party.counts * limit
    _check_bins(party, values, bounds + tail)
    if features:
        _check_blocks(party, values[firsts], tail)


def _check_bins(party: PartyModel, values: IntArray, bounds: np.ndarray) -> None:
    """Refuse a sum past its bound. bounds: (public total,)."""
    outside = (values > bounds) | (values < -bounds)  # abs() of the least integer is negative
    empty = np.ones(len(values), dtype=bool)
    empty[party.merging.firsts] = False
    if (outside & empty).any():
        problem = "a bin without rows has a sum that noise does not explain"
        raise TotalsImplausible(round=party.round + 1, problem=problem)
    if outside.any():
        problem = "a bin's sum passes what its rows and the noise allow"
        raise TotalsImplausible(round=party.round + 1, problem=problem)


def _check_blocks(party: PartyModel, sums: IntArray, tail: float) -> None:
    """Refuse features whose sums do not agree. sums: (groups,), each within its bound."""
    totals = np.add.reduceat(sums, party.binning.offsets).astype(np.float64)
    terms = np.array([feature.bins for feature in party.binning.features])
    apart = np.abs(totals[:, None] - totals[None, :])
    if (apart > tail * np.sqrt(terms[:, None] + terms[None, :])).any():
        problem = "the features' sums do not add up to one total"
        raise TotalsImplausible(round=party.round + 1, problem=problem)


def _tail(*, tests: int) -> float:
    """Return how many standard deviations noise passes with 2^-40 over all `tests`."""
    return math.sqrt(2 * (math.log(2 * max(tests, 1)) + TAIL_BITS * math.log(2)))
