"""The sum over customers of their gradients, each scaled to an L2 norm of at most `clip_norm`.

Guarantee: adding or removing one customer, with all rows, moves the sum by at most
`clip_norm (1 + terms.FLOAT_MARGIN)` in L2 norm, whatever the customer's rows hold, as long as the
traces of the others stay what they are. A customer with a gradient that is not finite adds nothing.
Not guaranteed: that a row's traces do not depend on its neighbours in the last bits. Matrix
libraries choose how they round by the number of rows; this moves a sum by far less than the noise
and is in no proof here.

Norms come in closed form (`row_norms`), without any customer's gradient. Then one product of
matrices is the sum, slopes scaled by min(1, clip_norm / norm) (`weighted_sum`).
Source: the mechanism, Abadi et al. 2016, arXiv:1607.00133, section 3.1.

FLOAT_MARGIN. With exact numbers a customer moves the sum by at most clip_norm; what a sum is off
by, with and without the customer, comes on top. Parts of a batch are added in single precision as
long as the errors proven for them add up to no more than SINGLE_MARGIN clip_norm. They follow from
the rows' norms: about 2,200 gradients of the clip norm or longer, or more that are shorter. All
else is double precision: traces are float32, so squares neither overflow nor vanish, and norms are
off by less than 2^-36 of themselves. A sum of n products is off by at most n 2^-53 times the sum of
their absolute values, in any order (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
section 3.1); with n < 2^12 rows at once, 2^20 rows and so fewer than 2^11 parts to add (one that
parts no customer is shorter by at most 63 rows), 2^20 customers with absolute values of at most
16 clip_norm (rows that cancel, see `row_norms`), by less than
(2^12 + 2^11 + 8) 2^-53 2^24 clip_norm; slopes and weights are rounded too, that is in the 8. With
and without a customer: below 2^-15 clip_norm, with what underflows in single precision, and
2 SINGLE_MARGIN clip_norm more.
"""

from collections.abc import Sequence

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.poisson import LARGEST_BATCH, IndexArray
from fedmkt.privacy.dp_sgd.row_norms import customer_norms, row_norms, row_norms_single
from fedmkt.privacy.dp_sgd.terms import SINGLE_MARGIN
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace
from fedmkt.privacy.dp_sgd.weighted_sum import (
    ROWS_AT_ONCE,
    add_double,
    add_single,
    length_of,
    roundings,
    single_is_single,
)

ROWS_A_CUSTOMER = 64
_ROWS_AT_ONCE = 2**10  # in double precision, so that a part stays in the processor's cache
_ROWS_OF_MANY = 2**11  # in single precision where there are more than one part takes


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
    total = torch.zeros(sum(length_of(trace) for trace in traces), dtype=torch.float64)
    allowed = SINGLE_MARGIN * clip_norm if single_is_single(traces, clip_norm) else 0.0
    start = 0
    while start < rows:
        end = _end(start, rows, customers, single=allowed > 0)
        part = [_part(trace, start, end) for trace in traces]
        whose = None if customers is None else customers[start:end]
        weights, error = _single_weights(part, whose, clip_norm) if allowed else (None, 0.0)
        if error > allowed:
            allowed = 0.0
            continue
        # Privacy: what single precision is off by, over all parts, stays what is allowed.
        if weights is not None:
            allowed -= error
            add_single(total, part, weights)
        else:
            add_double(total, part, _weights(part, row_norms(part), whose, clip_norm))
        start = end
    return total.numpy()


def _part(trace: Trace, start: int, end: int) -> Trace:
    """Return these rows of a trace."""
    slopes = trace.slopes[start:end]
    if isinstance(trace, EmbeddingTrace):
        return EmbeddingTrace(trace.codes[start:end], slopes, trace.size)
    return LinearTrace(trace.inputs[start:end], slopes)


def _weights(
    part: Sequence[Trace], apart: torch.Tensor, customers: IndexArray | None, clip_norm: float
) -> torch.Tensor:
    """Return what each row's gradient is multiplied by, shape (rows,). apart: the rows' norms."""
    norms = apart if customers is None else customer_norms(part, apart, customers)
    # Privacy: a norm that is not finite bounds nothing, so such a customer has no weight.
    weights = (clip_norm / norms).clamp_(max=1.0)
    return torch.where(norms.isfinite(), weights, 0.0)


def _single_weights(
    part: Sequence[Trace], customers: IndexArray | None, clip_norm: float
) -> tuple[torch.Tensor | None, float]:
    """Return the rows' weights and by what a sum in single precision is off; None if unknown."""
    apart = row_norms_single(part)
    if apart is None:
        return None, 0.0
    weights = _weights(part, apart, customers, clip_norm)
    return weights, float(weights.dot(apart)) * roundings(len(apart)) * 2.0**-24


def _end(start: int, rows: int, customers: IndexArray | None, *, single: bool) -> int:
    """Return where the part from row `start` on ends, so that it parts no customer."""
    if not single:
        most = _ROWS_AT_ONCE
    else:
        most = ROWS_AT_ONCE if rows - start <= ROWS_AT_ONCE else _ROWS_OF_MANY
    end = min(start + most, rows)
    if customers is not None and end < rows:
        end = int(np.searchsorted(customers, customers[end]))
    return end


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
