"""A tabular network: embeddings of categories, scaled numbers, a residual multilayer perceptron.

    h_0 = relu(W_0 [embeddings, numbers] + b_0),   h_i = h_{i-1} + relu(W_i h_{i-1} + b_i),
    score = w h_last + b + the sum over categories of a direct effect.

With width 0 the numbers stand for h_last: the score is linear in them, with one effect a category.

Codes come from `network_inputs`, which gives every declared value its code and refuses the others.

Guarantee: the score of a row depends on that row alone. Nothing is normalised over a batch, so the
gradient of a customer is a function of this customer's rows, which clipping rests on.
Not guaranteed: the last bits of a score. Matrix libraries round differently with other rows beside
a row. Nor that a network is private: that depends on the sums it was made from.

Parameters are one float32 vector in this order: the table of each category (size, 1 + dim) in
the order of the features, its first column being the direct effect; then the linear layers from the
input to the output, each with its weight (out, in) row by row and then its bias (out,).

Sources: direct effects beside a deep part, Cheng et al. 2016, arXiv:1606.07792; embeddings, Guo and
Berkhahn 2016, arXiv:1604.06737; residual connections, He et al. 2015, arXiv:1512.03385; starting
weights, He et al. 2015, arXiv:1502.01852, section 2.2.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import MessageInvalid, SettingInvalid
from fedmkt.core.stages import CodeArray, FloatArray
from fedmkt.data.binning import Binning, FeatureBins, binning_from_schema, encode
from fedmkt.data.scaling import NumberArray, NumberScale, scale_numbers, scales_from_schema
from fedmkt.models.tasks import task_named
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace

LARGEST_DIM = 16
LARGEST_WIDTH = 4096
LARGEST_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The inputs and the layers of a network; public, made from the schema alone.

    scales: the numbers. categories: the bins of the categories. width: of the hidden layers, 0 for
    the linear model. blocks: residual layers after the first. task: names the link and the loss.
    Raises: SettingInvalid.
    """

    scales: tuple[NumberScale, ...]
    categories: Binning
    width: int = 0
    blocks: int = 0
    task: str = "propensity"

    def __post_init__(self) -> None:
        """Refuse what is no network. Raises: SettingInvalid."""
        for name, value, most in (
            ("width", self.width, LARGEST_WIDTH),
            ("blocks", self.blocks, LARGEST_BLOCKS if self.width else 0),
        ):
            if not 0 <= value <= most:
                problem = f"it must be between 0 and {most}"
                raise SettingInvalid(setting=f"the network's {name} {value}", problem=problem)
        task_named(self.task)

    @property
    def numbers(self) -> int:
        """Return how many inputs the numbers become."""
        return sum(scale.columns for scale in self.scales)

    @property
    def tables(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each category's table: (size, 1 + dim)."""
        return tuple((one.bins, 1 + self._dim(one)) for one in self.categories.features)

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Return the shape of each linear layer's weight: (out, in)."""
        if not self.width:
            return ((1, self.numbers),)
        first = (self.width, sum(columns - 1 for _, columns in self.tables) + self.numbers)
        return (first, *[(self.width, self.width)] * self.blocks, (1, self.width))

    @property
    def length(self) -> int:
        """Return the number of parameters."""
        tables = sum(size * columns for size, columns in self.tables)
        return tables + sum(rows * (columns + 1) for rows, columns in self.layers)

    def _dim(self, feature: FeatureBins) -> int:
        """Return half the number of bins, rounded up and at most 16: the embedding's size."""
        return min(LARGEST_DIM, (feature.bins + 1) // 2) if self.width else 0


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInputs:
    """Rows as a network takes them. numbers: (rows, shape.numbers); codes: (rows, categories)."""

    numbers: NumberArray = field(repr=False)
    codes: CodeArray = field(repr=False)


def shape_from_schema(
    schema: TableSchema, features: Sequence[str], *, width: int = 0, blocks: int = 0
) -> NetworkShape:
    """Return the network of these declared features; no row is looked at.

    Raises: SettingInvalid, also for an undeclared feature.
    """
    binning = binning_from_schema(schema, features, max_bins=2)
    categories = Binning(tuple(one for one in binning.features if not one.ordered))
    return NetworkShape(scales_from_schema(schema, features), categories, width, blocks)


def network_inputs(frame: pl.DataFrame, shape: NetworkShape, *, dataset: str) -> NetworkInputs:
    """Return the inputs of a table's rows. Raises: ColumnMissing, SchemaViolated."""
    codes = encode(frame, shape.categories, dataset=dataset)
    return NetworkInputs(scale_numbers(frame, shape.scales), codes)


def first_parameters(shape: NetworkShape, seed: int) -> NumberArray:
    """Return the parameters a training starts from; they follow from `seed`, on every machine.

    Weights before a relu are uniform in +-sqrt(6 / in), embeddings in +-0.1; direct effects, biases
    and the output are 0, so every score is 0. Nothing private: whoever knows the seed knows them.
    """
    parts: list[NumberArray] = []
    stream = hashlib.shake_256(f"fedmkt first parameters {seed}".encode()).digest(4 * shape.length)
    draws = np.frombuffer(stream, dtype="<u4") / 2.0**31 - 1.0  # (length,), in [-1, 1)
    for size, columns in shape.tables:
        table = draws[: size * columns].reshape(size, columns) * 0.1
        table[:, 0] = 0.0
        parts.append(table.ravel().astype(np.float32))
        draws = draws[size * columns :]
    for rows, columns in shape.layers[:-1]:
        weight = draws[: rows * columns] * math.sqrt(6 / max(columns, 1))
        parts += [weight.astype(np.float32), np.zeros(rows, dtype=np.float32)]
        draws = draws[rows * (columns + 1) :]
    parts.append(np.zeros(shape.layers[-1][1] + 1, dtype=np.float32))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network: its public shape and its parameters (shape.length,), in the module's order.

    Raises: MessageInvalid for parameters of another length or type.
    """

    shape: NetworkShape
    parameters: NumberArray = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a vector that is not this network's. Raises: MessageInvalid."""
        if self.parameters.dtype != np.float32 or self.parameters.shape != (self.shape.length,):
            problem = f"it needs {self.shape.length} float32 parameters"
            raise MessageInvalid(kind="network", problem=problem)

    def scores(self, inputs: NetworkInputs) -> FloatArray:
        """Return the score of each row, shape (rows,), in log-odds."""
        return self._forward(inputs).scores.numpy().astype(np.float64)

    def probabilities(self, inputs: NetworkInputs) -> FloatArray:
        """Return the expected target of each row, shape (rows,)."""
        return task_named(self.shape.task).mean(self.scores(inputs))

    def traces(self, inputs: NetworkInputs, target: NDArray[np.uint8]) -> tuple[Trace, ...]:
        """Return the traces of each row's loss, in the order of the parameters.

        A slope at the score is minus the task's residual, so it is bounded whatever the score.
        """
        passed = self._forward(inputs)
        residuals = task_named(self.shape.task).residuals(
            target, passed.scores.numpy().astype(np.float64)
        )
        outer = torch.from_numpy(-residuals).to(torch.float32)[:, None]
        slopes, before = self._backward(passed, outer)
        sizes = [columns - 1 for _, columns in self.shape.tables]
        looked_up = [torch.cat([outer, one], dim=1) for one in before.split(sizes, dim=1)]
        tables = [
            EmbeddingTrace(codes, one, size)
            for codes, one, (size, _) in zip(
                passed.codes, looked_up, self.shape.tables, strict=True
            )
        ]
        return (*tables, *map(LinearTrace, passed.taken, slopes))

    def _forward(self, inputs: NetworkInputs) -> "_Passed":
        """Return what the layers took and gave."""
        numbers = torch.from_numpy(inputs.numbers)
        codes = torch.from_numpy(inputs.codes.T.astype(np.int64))
        tables, layers = self._pieces()
        looked_up = [
            torch.index_select(table, 0, column)
            for column, table in zip(codes, tables, strict=True)
        ]
        parts = [*(vectors[:, 1:] for vectors in looked_up), numbers]
        hidden = torch.cat(parts, dim=1) if looked_up else numbers
        taken, bent = [hidden], []
        for weight, bias in layers[:-1]:
            bent.append(torch.addmm(bias, hidden, weight.T).relu_())
            hidden = hidden + bent[-1] if len(bent) > 1 else bent[-1]
            taken.append(hidden)
        weight, bias = layers[-1]
        scores = torch.addmm(bias, hidden, weight.T)[:, 0]
        for vectors in looked_up:
            scores = scores + vectors[:, 0]
        return _Passed(list(codes), taken, bent, scores)

    def _backward(
        self, passed: "_Passed", outer: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the slopes of each linear layer's outputs, and of the looked-up inputs.

        Args: outer: (rows, 1), the slopes of the scores. By the chain rule, written out: a layer
        costs one product and one pass over its slopes.
        """
        _, layers = self._pieces()
        slopes = [outer]
        looked_up = sum(columns - 1 for _, columns in self.shape.tables)
        if not passed.bent:
            return slopes, outer.new_empty(len(outer), looked_up)
        after = outer * layers[-1][0]  # (rows, width), by the last hidden layer
        for (weight, _), bent in zip(layers[-2:0:-1], passed.bent[:0:-1], strict=True):
            slopes.append(_unbent(after, bent))
            after = torch.addmm(after, slopes[-1], weight)
        slopes.append(_unbent(after, passed.bent[0]))
        return slopes[::-1], slopes[-1] @ layers[0][0][:, :looked_up]

    def _pieces(self) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return the tables, and the weight and bias of each layer, as views of the parameters."""
        shape = self.shape
        lengths = [size * columns for size, columns in shape.tables]
        for rows, columns in shape.layers:
            lengths += [rows * columns, rows]
        whole = torch.from_numpy(self.parameters)
        bounds = accumulate(lengths, initial=0)
        pieces = [whole[start:end] for start, end in pairwise(bounds)]
        count = len(shape.tables)
        tables = [piece.view(one) for piece, one in zip(pieces[:count], shape.tables, strict=True)]
        weights, biases = pieces[count::2], pieces[count + 1 :: 2]
        return tables, [
            (weight.view(one), bias)
            for weight, bias, one in zip(weights, biases, shape.layers, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Passed:
    """What a batch left in the layers. codes: of each category, (rows,). taken: the inputs of each
    linear layer. bent: the outputs of all but the last after relu. scores: (rows,).
    """

    codes: list[torch.Tensor] = field(repr=False)
    taken: list[torch.Tensor] = field(repr=False)
    bent: list[torch.Tensor] = field(repr=False)
    scores: torch.Tensor = field(repr=False)


def _unbent(slopes: torch.Tensor, bent: torch.Tensor) -> torch.Tensor:
    """Return slopes by what relu took, from slopes by what it gave."""
    through: torch.Tensor = torch.ops.aten.threshold_backward(slopes, bent, 0)
    return through
