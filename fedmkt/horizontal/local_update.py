"""A partner's sums over its customers: exact integers on a grid, bounded for each customer.

Guarantee: adding or removing one customer (one row) moves `LocalUpdate.values` by at most
`LocalUpdate.l2_bound` in L2 norm, whatever the row, its target and the model say.
Proof: a row lands in exactly one bin of each of the F features. There it adds its residual, an
integer of size at most R, and in the opening sum the fixed count weight W to one more entry; so it
moves at most F entries by at most R and F entries by exactly W: sqrt(F (R^2 + W^2)). Rounding to
the grid comes before summing and integer sums are exact, so no rounding error adds to the bound.
R is the task's residual bound on the grid; in the opening sum, whose model (public) gives every row
score 0, the task's smaller opening bound.
Not guaranteed: privacy. The sums are exact and stay at the node until noise is added.
"""

import math

import numpy as np

from fedmkt.core.errors import RangeExceeded
from fedmkt.core.stages import CodeArray, Examples, FloatArray, IntArray, LocalUpdate
from fedmkt.data.binning import Binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.tasks import Task

GRID = 2**26
ROWS_AT_ONCE = 2**18
MOST_CUSTOMERS = 2**27
LARGEST_SUM = MOST_CUSTOMERS * GRID
"""No sum passes 2**53 grid units, so none is rounded and none comes near the ring's end."""


def local_sums(
    examples: Examples, model: AdditiveModel, *, count_weight: float | None
) -> LocalUpdate:
    """Sum residuals (and, in the opening sum, weighted counts) over customers, bin by bin.

    Args: examples: one row a customer. model: the public model of this round. count_weight: what a
        customer adds to a count, in units of a residual of 1; None leaves the counts out.
    Returns: values of shape (total,), the residual sums, or (2 total,), residual sums followed by
        count sums, in grid units.
    Raises: RangeExceeded (more than `MOST_CUSTOMERS`, or a code outside its feature's bins).
    Guarantee: that of the module. Memory is bounded by `ROWS_AT_ONCE` rows.
    """
    # Privacy: looks at the public model alone, so the bound is known before data are touched.
    opening = count_weight is not None and model.is_zero
    bound = residual_units(model.link, opening=opening)
    weight = 0 if count_weight is None else weight_units(count_weight)
    check_customers(examples)
    residuals = np.zeros(model.binning.total, dtype=np.int64)
    counts = np.zeros(model.binning.total, dtype=np.int64)
    for start in range(0, examples.rows, ROWS_AT_ONCE):
        codes = examples.codes[start : start + ROWS_AT_ONCE]
        _check_codes(codes, model.binning)
        raw = model.link.residuals(
            examples.target[start : start + ROWS_AT_ONCE], model.scores(codes)
        )
        # Privacy: rounded and clipped for each customer before summing; the bound rests on it.
        units = np.clip(np.rint(raw * GRID), -bound, bound)
        residuals += _block_sums(codes, units, model.binning)
        if weight:
            counts += _block_sums(codes, None, model.binning)
    values = np.concatenate([residuals, counts * weight]) if weight else residuals
    return LocalUpdate(
        values, bound_over(len(model.binning.features), residual=bound, weight=weight)
    )


def residual_units(task: Task, *, opening: bool) -> int:
    """Return the most one residual can be in the opening or a later sum, in grid units."""
    return math.ceil((task.opening_bound if opening else task.residual_bound) * GRID)


def check_customers(examples: Examples) -> None:
    """Refuse a table of more than `MOST_CUSTOMERS`. Raises: RangeExceeded.

    Privacy: the limit is one public number. One that moved with the job would tell the number of
    customers by what it lets pass.
    """
    if examples.rows > MOST_CUSTOMERS:
        raise RangeExceeded(problem=f"a table has more than {MOST_CUSTOMERS:,} customers")


def weight_units(count_weight: float) -> int:
    """Return what one customer adds to a count, in grid units, at least 1."""
    return max(1, round(count_weight * GRID))


def bound_over(features: int, *, residual: int, weight: int) -> float:
    """Return the proof's bound sqrt(F (R^2 + W^2)) in grid units, rounded up to a whole unit."""
    return float(math.isqrt(features * (residual**2 + weight**2) - 1) + 1)


def _block_sums(codes: CodeArray, units: FloatArray | None, binning: Binning) -> IntArray:
    """Sum `units` (rows,) (or ones) over the bins of each feature, shape (total,)."""
    # Whole numbers below 2^53 add up exactly in float64, which is what bincount sums in.
    blocks = [
        np.bincount(codes[:, place], units, feature.bins)
        for place, feature in enumerate(binning.features)
    ]
    return np.concatenate(blocks).astype(np.int64)


def _check_codes(codes: CodeArray, binning: Binning) -> None:
    """Refuse codes that would add a customer to another feature's bins. Raises: RangeExceeded."""
    bins = [feature.bins for feature in binning.features]
    if codes.shape[1] != len(bins) or (codes.max(axis=0) >= bins).any():
        raise RangeExceeded(problem="a bin code lies outside its feature's bins")
