"""The norm of each row's gradient, and of each customer's, in closed form.

No gradient is written out. A row's gradient in a linear layer is the outer product of slopes g and
inputs a, and g for the bias: its square norm is |g|^2 (|a|^2 + 1). In an embedding it is |g|^2.
Over rows r, s of one customer the sum of outer products has the square norm sum over r, s of
(g_r . g_s)(a_r . a_s + 1), an embedding's that of (g_r . g_s) over those r, s that look up the same
vector.

Guarantee: `row_norms` is off by less than 2^-36 of a norm, `row_norms_single` by less than 9 u of
it, u = 2^-24, or 2^-26 of a clip norm of at least 2^-10 where that is more. What is not finite has
a norm that is not, or none at all in single precision.
Not guaranteed: exact norms of customers whose rows cancel. They are taken to be at least 1/16 of
the sum of the rows' norms, so that rounding stays small beside them.

Proof. In double precision squares of float32 neither overflow nor vanish. In single precision 8
squares at most are added, in any order: 8 roundings, so |g|^2 and |a|^2 are each off by 8 u of
themselves, their product by 16 u and a norm by 8 u; all else is double. An overflow gives an
infinite norm and so none. Underflow takes less than 2^-126 from each square: |a|^2 stands beside 1,
|g|^2 is multiplied by at most 2^20 + 1 and with fewer than 2^32 columns a norm loses less than
2^((-126 + 32 + 21) / 2) < 2^-36.
Sources: Goodfellow 2015, arXiv:1510.01799; several rows, Lee and Kifer 2021, arXiv:2009.03106,
section 4.
"""

from collections.abc import Sequence

import numpy as np

from fedmkt.core.stages import FloatArray
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.poisson import IndexArray
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, Trace

LARGEST_INPUT = 2.0**10  # L2 norm of a row's inputs, in single precision
LARGEST_NORM = 2.0**60  # of a row's gradient, in single precision: its weight is a normal float32
_ADDED = 8
_CANCELLED = 1 / 16


def row_norms(part: Sequence[Trace]) -> torch.Tensor:
    """Return the norm of each row's gradient, shape (rows,), in double precision."""
    square = torch.zeros(len(part[0].slopes), dtype=torch.float64)
    for one in part:
        slopes = torch.linalg.vector_norm(one.slopes.double(), dim=1).square_()
        if not isinstance(one, EmbeddingTrace):
            slopes *= torch.linalg.vector_norm(one.inputs.double(), dim=1).square_().add_(1)
        square += slopes
    return square.sqrt_()


def row_norms_single(part: Sequence[Trace]) -> torch.Tensor | None:
    """Return what `row_norms` does, nearly and faster; None for rows the proof leaves out."""
    square = np.zeros(len(part[0].slopes))
    longest = 0.0
    with np.errstate(all="ignore"):
        for one in part:
            slopes = _squares(one.slopes)
            if not isinstance(one, EmbeddingTrace):
                inputs = _squares(one.inputs)
                longest = max(longest, float(inputs.max()))
                slopes *= inputs + 1
            square += slopes
    # Privacy: a comparison with what is not a number is false, so such rows are left out.
    if longest <= LARGEST_INPUT**2 and square.max() <= LARGEST_NORM**2:
        return torch.from_numpy(np.sqrt(square))
    return None


def _squares(values: torch.Tensor) -> FloatArray:
    """Return the square norm of each row, shape (rows,); at most 8 squares in single precision."""
    lanes = values.shape[1] // _ADDED
    rest = values[:, lanes * _ADDED :].numpy()
    square: FloatArray = np.einsum("rc,rc->r", rest, rest).astype(np.float64)
    if lanes:
        # (rows, 8, lanes): neighbours are in different sums, so that a processor adds many at once
        folded = values[:, : lanes * _ADDED].view(len(values), _ADDED, lanes).numpy()
        squares = np.einsum("rkl,rkl->rl", folded, folded).astype(np.float64)
        square += squares @ np.ones(lanes)
    return square


def _products(part: Sequence[Trace], left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the inner product of the gradients of rows left[i] and right[i], shape (pairs,)."""
    total = torch.zeros(len(left), dtype=torch.float64)
    for one in part:
        slopes = _dots(one.slopes, left, right)
        if isinstance(one, EmbeddingTrace):
            total += slopes * (one.codes[left] == one.codes[right])
        else:
            total += slopes * (_dots(one.inputs, left, right) + 1)
    return total


def _dots(values: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the inner products of rows left[i] and right[i] of `values`, shape (pairs,)."""
    double = values.double()
    return (double.index_select(0, left) * double.index_select(0, right)).sum(1)


def customer_norms(
    part: Sequence[Trace], apart: torch.Tensor, customers: IndexArray
) -> torch.Tensor:
    """Return for each row its customer's norm, taken large enough, shape (rows,).

    Args: apart: (rows,), the norm of each row's gradient. customers: (rows,), ascending.
    """
    _, *found = np.unique(customers, return_inverse=True, return_counts=True)
    place, counts = (torch.from_numpy(one) for one in found)
    partners = counts[place]  # (rows,), itself among them
    left = torch.arange(len(place)).repeat_interleave(partners)
    before = partners.cumsum(0) - partners
    firsts = (counts.cumsum(0) - counts)[place]
    right = torch.arange(len(left)) + (firsts - before).repeat_interleave(partners)
    nobody = torch.zeros(len(counts), dtype=torch.float64)
    square = nobody.index_add(0, place[left], _products(part, left, right))
    together = nobody.index_add(0, place, apart)
    return torch.maximum(square.clamp(min=0.0).sqrt(), together * _CANCELLED)[place]
