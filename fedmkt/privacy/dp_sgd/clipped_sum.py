"""The sum over customers of their gradients, each scaled to an L2 norm of at most `clip_norm`.

Guarantee: adding or removing one customer, with all rows, moves the sum by at most
`clip_norm (1 + terms.FLOAT_MARGIN)` in L2 norm, whatever the customer's rows hold, as long as the
traces of the others stay what they are. A customer with a gradient that is not finite adds nothing.
Not guaranteed: that a row's traces do not depend on its neighbours in the last bits. Matrix
libraries choose how they round by the number of rows; this moves a sum by far less than the noise
and is in no proof here.

Norms in closed form, without any customer's gradient. A row's gradient in a linear layer is the
outer product of slopes g and inputs a, and g for the bias: its square norm is |g|^2 (|a|^2 + 1).
In an embedding it is |g|^2. Over rows r, s of one customer the sum of outer products has the square
norm sum over r, s of (g_r . g_s)(a_r . a_s + 1), an embedding's that of (g_r . g_s) over those r, s
that look up the same vector. Then one product of matrices is the sum, slopes scaled by
min(1, clip_norm / norm).
Sources: Goodfellow 2015, arXiv:1510.01799; several rows, Lee and Kifer 2021, arXiv:2009.03106,
section 4; the mechanism, Abadi et al. 2016, arXiv:1607.00133, section 3.1.

FLOAT_MARGIN. Traces are float32, everything here is float64: squares neither overflow nor vanish,
and norms are off by less than 2^-36 of themselves. Where the rows of a customer cancel, the norm is
taken to be at least 1/16 of the sum of the rows' norms, so that rounding stays small beside it. A
sum of n products is off by at most n 2^-53 times the sum of their absolute values, in any order
(Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1); with n <= 2^10 rows at
once, 2^20 rows and so fewer than 2^11 parts to add (one that parts no customer is shorter by
at most 63 rows), 2^20 customers with absolute values of at most 16 clip_norm, by less than
(2^12 + 8) 2^-53 2^24 clip_norm; slopes and weights are rounded too, that is in the 8. With and
without a customer: below 2^-15 clip_norm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.poisson import LARGEST_BATCH, IndexArray
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace

ROWS_A_CUSTOMER = 64
_ROWS_AT_ONCE = 2**10  # what a part takes in double precision stays in the processor's cache
_CANCELLED = 1 / 16


def clipped_sum(
    traces: Sequence[Trace], *, clip_norm: float, customers: IndexArray | None = None
) -> FloatArray:
    """Return the sum of the customers' clipped gradients, shape (parameters,), trace after trace.

    Args: traces: of all layers, over the same rows. customers: (rows,), whose each row is, those of
        one customer together and ascending; None where every row is another customer.
    Guarantee: that of the module.
    Raises: SettingInvalid for a clip norm that is not above 0, customers out of order, more than 64
        rows of one or more than 2^20 rows.
    """
    rows = len(traces[0].slopes)
    _check(clip_norm, rows, customers)
    total = torch.zeros(sum(_length(trace) for trace in traces), dtype=torch.float64)
    for start, end in _slices(rows, customers):
        part = [_part(trace, start, end) for trace in traces]
        if customers is None:
            norms = _square_norms(part).sqrt()
        else:
            norms = _customer_norms(part, customers[start:end])
        # Privacy: a norm that is not finite bounds nothing, so such a customer has no weight.
        weights = torch.where(norms.isfinite(), (clip_norm / norms).clamp(max=1.0), 0.0)
        _add(total, part, weights)
    return total.numpy()


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A trace of some rows in double precision. taken: inputs, or the codes of an embedding."""

    taken: torch.Tensor
    slopes: torch.Tensor
    size: int  # of an embedding's table; 0 for a linear layer


def _part(trace: Trace, start: int, end: int) -> _Part:
    """Return a copy of these rows in double precision."""
    slopes = trace.slopes[start:end].to(torch.float64, copy=True)
    if isinstance(trace, EmbeddingTrace):
        return _Part(trace.codes[start:end], slopes, trace.size)
    return _Part(trace.inputs[start:end].double(), slopes, 0)


def _square_norms(part: Sequence[_Part]) -> torch.Tensor:
    """Return the square norm of each row's gradient, shape (rows,)."""
    total = torch.zeros(len(part[0].slopes), dtype=torch.float64)
    for one in part:
        square = torch.linalg.vector_norm(one.slopes, dim=1).square_()
        if not one.size:
            square *= torch.linalg.vector_norm(one.taken, dim=1).square_().add_(1)
        total += square
    return total


def _products(part: Sequence[_Part], left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the inner product of the gradients of rows left[i] and right[i], shape (pairs,)."""
    total = torch.zeros(len(left), dtype=torch.float64)
    for one in part:
        slopes = _dots(one.slopes, left, right)
        if one.size:
            total += slopes * (one.taken[left] == one.taken[right])
        else:
            total += slopes * (_dots(one.taken, left, right) + 1)
    return total


def _dots(values: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the inner products of rows left[i] and right[i] of `values`, shape (pairs,)."""
    return (values.index_select(0, left) * values.index_select(0, right)).sum(1)


def _customer_norms(part: Sequence[_Part], customers: IndexArray) -> torch.Tensor:
    """Return for each row its customer's norm, taken large enough, shape (rows,)."""
    _, *found = np.unique(customers, return_inverse=True, return_counts=True)
    place, counts = (torch.from_numpy(one) for one in found)
    partners = counts[place]  # (rows,), itself among them
    left = torch.arange(len(place)).repeat_interleave(partners)
    before = partners.cumsum(0) - partners
    firsts = (counts.cumsum(0) - counts)[place]
    right = torch.arange(len(left)) + (firsts - before).repeat_interleave(partners)
    nobody = torch.zeros(len(counts), dtype=torch.float64)
    square = nobody.index_add(0, place[left], _products(part, left, right))
    apart = nobody.index_add(0, place, _square_norms(part).sqrt())
    return torch.maximum(square.clamp(min=0.0).sqrt(), apart * _CANCELLED)[place]


def _add(total: torch.Tensor, part: Sequence[_Part], weights: torch.Tensor) -> None:
    """Add the rows' gradients, each times its weight, to `total` in place; spoils the slopes."""
    counted = weights.nonzero()[:, 0]
    everybody = len(counted) == len(weights)
    start = 0
    for one in part:
        taken, slopes, scale = one.taken, one.slopes, weights
        if not everybody:
            # Privacy: 0 times a value that is not finite is not 0.
            taken, slopes, scale = taken[counted], slopes[counted], weights[counted]
        slopes *= scale[:, None]
        columns = slopes.shape[1]
        if one.size:
            end = start + one.size * columns
            total[start:end].view(one.size, columns).index_add_(0, taken, slopes)
        else:
            middle, end = start + columns * taken.shape[1], start + columns * (taken.shape[1] + 1)
            total[start:middle].view(columns, -1).addmm_(slopes.T, taken)
            total[middle:end].addmv_(slopes.T, torch.ones(len(slopes), dtype=torch.float64))
        start = end


def _length(trace: Trace) -> int:
    """Return the number of a layer's parameters."""
    columns = trace.slopes.shape[1]
    if isinstance(trace, LinearTrace):
        return columns * (trace.inputs.shape[1] + 1)
    return trace.size * columns


def _slices(rows: int, customers: IndexArray | None) -> Iterator[tuple[int, int]]:
    """Yield slices of at most 2^10 rows that part no customer."""
    start = 0
    while start < rows:
        end = min(start + _ROWS_AT_ONCE, rows)
        if customers is not None and end < rows:
            end = int(np.searchsorted(customers, customers[end]))
        yield start, end
        start = end


def _check(clip_norm: float, rows: int, customers: IndexArray | None) -> None:
    """Raise SettingInvalid for what the module's proof does not cover."""
    if not 0 < clip_norm < np.inf:
        raise SettingInvalid(setting=f"clip norm {clip_norm}", problem="it must be above 0")
    if rows > LARGEST_BATCH:
        raise SettingInvalid(setting="the batch", problem=f"it has more than {LARGEST_BATCH} rows")
    if customers is None:
        return
    if customers.shape != (rows,) or (np.diff(customers) < 0).any():
        raise SettingInvalid(setting="customers", problem="one a row is needed, ascending")
    if rows and np.unique(customers, return_counts=True)[1].max() > ROWS_A_CUSTOMER:
        problem = f"one has more than {ROWS_A_CUSTOMER} rows"
        raise SettingInvalid(setting="customers", problem=problem)
