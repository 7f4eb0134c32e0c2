"""Sums of gradients, each times its row's weight, in single or in double precision.

Guarantee: of rows with `row_norms_single` and weights min(1, clip_norm / norm) made from these, as
`single_is_single` wants them, `add_single` adds a sum that is off by at most `roundings` u,
u = 2^-24, times the sum over rows of weight times norm, in L2 norm over all parameters, and by
2^-38 `clip_norm` more over all parts of 2^20 rows. That is so whatever the rows hold; the norms'
own errors are in it. `add_double` is off by what the proof of `clipped_sum` says.
Not guaranteed: the last bits. In which order a matrix library adds is in no proof here, nor that it
adds the same rows in the same way twice.

Proof for single precision. Row r has slopes g, inputs a, weight w and norm n. The norm is off by
less than 9 u of itself, and so is w. Rounding w and w g takes 2 roundings; a product over `length`
rows, in any order, with fused steps or without, `length`; adding up 8 products, then `count` / 8
such sums, then the rows left over, at most 7 + count / 8. So a coordinate is off by at most
k u / (1 - k u) times the sum over r of |w g a|, k = length + count / 8 + 18 (Higham 2002, "Accuracy
and Stability of Numerical Algorithms", lemmas 3.1 and 3.3 and section 3.1), which is below k + 1
times u for k < 2^11. A vector of absolute values is as long as the vector itself: by the triangle
inequality the error is at most that times the sum of w n, over all layers at once. Embeddings are
added in double precision.
Overflow: w n is at most about clip_norm <= 2^20, so no sum passes 2^33. Underflow, gradual or to 0:
a weighted slope is off by 2^-126 more and multiplied by an input of at most 2^10; each product and
each sum is off by 2^-126 more. With 2^20 rows and fewer than 2^32 parameters that is below
2^16 2^20 2^11 2^-126 = 2^-79, and clip_norm >= 2^-10.
"""

import os
from collections.abc import Sequence

from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace

ROWS_AT_ONCE = 2560  # a batch of 2,048 expected customers is one part
CLIP_NORMS = (2.0**-10, 2.0**20)
_BLOCK = 52  # rows in a product, at most
_ADDED = 8  # products are added in such groups


def roundings(rows: int) -> int:
    """Return by how many u a sum of so many rows is off: k + 1 of the proof."""
    count, length = _blocks(rows)
    return max(length, rows - count * length) + -(-count // _ADDED) + 19


def single_is_single(traces: Sequence[Trace], clip_norm: float) -> bool:
    """Return whether traces, clip norm and libraries are those of the proof.

    Torch and oneDNN can be told to round the factors of float32 products to fewer bits.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)  # newer than torch 2.8
    precision = getattr(settings, "fp32_precision", None) or torch.get_float32_matmul_precision()
    modes = [os.environ.get(f"{name}_DEFAULT_FPMATH_MODE") for name in ("ONEDNN", "DNNL")]
    values = [one.slopes for one in traces]
    values += [one.inputs for one in traces if isinstance(one, LinearTrace)]
    least, most = CLIP_NORMS
    return (
        least <= clip_norm <= most
        and precision in ("none", "ieee", "highest")
        and all(mode is None or mode.upper() == "STRICT" for mode in modes)
        and all(one.dtype == torch.float32 for one in values)
    )


def length_of(trace: Trace) -> int:
    """Return the number of a layer's parameters."""
    columns = trace.slopes.shape[1]
    if isinstance(trace, LinearTrace):
        return columns * (trace.inputs.shape[1] + 1)
    return trace.size * columns


def add_single(total: torch.Tensor, part: Sequence[Trace], weights: torch.Tensor) -> None:
    """Add the rows' gradients times their weights (rows,) to `total` in place.

    Linear layers are multiplied in single precision, their sums added in double.
    """
    single = weights.float()[:, None]
    start = 0
    for one in part:
        if isinstance(one, EmbeddingTrace):
            _look_up(total, start, one.codes, one.slopes.double() * weights[:, None], one.size)
        else:
            slopes = one.slopes * single
            columns, inputs = slopes.shape[1], one.inputs.shape[1]
            middle, end = start + columns * inputs, start + columns * (inputs + 1)
            weight = total[start:middle].view(columns, inputs)
            if inputs < columns:  # long rows are written faster
                weight.add_(_product(one.inputs, slopes).T)
            else:
                weight.add_(_product(slopes, one.inputs))
            total[middle:end].add_(_product(torch.ones_like(single), slopes)[0])
        start += length_of(one)


def add_double(total: torch.Tensor, part: Sequence[Trace], weights: torch.Tensor) -> None:
    """Add the rows' gradients times their weights (rows,) to `total` in place, in double precision.

    Rows with a weight of 0 may hold anything.
    """
    # Privacy: 0 times a value that is not finite is not 0.
    counted = None if weights.all() else weights.nonzero()[:, 0]
    scale = _rows(weights, counted)[:, None]
    start = 0
    for one in part:
        slopes = _rows(one.slopes, counted).to(torch.float64, copy=True).mul_(scale)
        if isinstance(one, EmbeddingTrace):
            _look_up(total, start, _rows(one.codes, counted), slopes, one.size)
        else:
            inputs = _rows(one.inputs, counted).double()
            columns = slopes.shape[1]
            middle = start + columns * inputs.shape[1]
            total[start:middle].view(columns, -1).addmm_(slopes.T, inputs)
            total[middle : middle + columns].add_(slopes.sum(0))
        start += length_of(one)


def _rows(values: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    return values if counted is None else values[counted]


def _look_up(
    total: torch.Tensor, start: int, codes: torch.Tensor, slopes: torch.Tensor, size: int
) -> None:
    """Add each row's slopes, in double precision, to the vector of its code."""
    columns = slopes.shape[1]
    total[start : start + size * columns].view(size, columns).index_add_(0, codes, slopes)


def _blocks(rows: int) -> tuple[int, int]:
    """Return into how many products so many rows are cut, and how many rows are in each."""
    count = -(-rows // _BLOCK)
    if count > _ADDED:
        count = -(-count // _ADDED) * _ADDED
    return count, rows // max(count, 1)


def _product(slopes: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return the sum over rows of slopes times inputs, shape (out, in), as in the proof."""
    count, length = _blocks(len(slopes))
    if count == 1:
        return slopes.T @ inputs
    whole = count * length
    sums = torch.bmm(
        slopes[:whole].view(count, length, -1).transpose(1, 2),
        inputs[:whole].view(count, length, -1),
    )
    added = sums.view(-1, min(count, _ADDED), sums[0].numel()).sum(1).sum(0).view(sums[0].shape)
    return added.add_(slopes[whole:].T @ inputs[whole:]) if whole < len(slopes) else added
