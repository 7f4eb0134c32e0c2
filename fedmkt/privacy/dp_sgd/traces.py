"""What one pass over a batch leaves behind: all that a sum of clipped gradients needs.

A network is a set of layers that multiply (linear) or look up (embedding). What stands between them
(activations, residual connections, concatenation) has no parameters: it only passes slopes on.

Guarantee: none by itself. The gradient of a row is the outer product of its slopes and its inputs
in a linear layer, and its slopes at its code in an embedding; whoever makes traces sees to that.
"""

from dataclasses import dataclass, field

from fedmkt.privacy.dp_sgd.library import torch


@dataclass(frozen=True, slots=True, eq=False)
class LinearTrace:
    """A linear layer with bias. Its parameters: weight (out, in) row by row, then bias (out,).

    inputs: (rows, in). slopes: (rows, out), of a row's loss by the layer's outputs.
    """

    inputs: torch.Tensor = field(repr=False)
    slopes: torch.Tensor = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingTrace:
    """A table of vectors, looked up once a row. Its parameters: table (size, dim) row by row.

    codes: (rows,) int64, each below `size`. slopes: (rows, dim), of a row's loss by its vector.
    """

    codes: torch.Tensor = field(repr=False)
    slopes: torch.Tensor = field(repr=False)
    size: int


Trace = LinearTrace | EmbeddingTrace
