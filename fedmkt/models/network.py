"""A tabular network: embeddings of categories, scaled numbers, a residual multilayer perceptron.

    h_0 = relu(W_0 [embeddings, numbers] + b_0),   h_i = h_{i-1} + relu(W_i h_{i-1} + b_i),
    score = w h_last + b + the sum over categories of a direct effect.

With width 0 the numbers stand for h_last: the score is linear in them, with one effect a category.

Codes come from `network_inputs`, which gives every declared value its code and refuses the others.

Guarantee: the score of a row depends on that row alone. Nothing is normalised over a batch, so the
gradient of a customer is a function of this customer's rows, which clipping rests on.
Not guaranteed: the last bits of a score. Matrix libraries round differently with other rows beside
a row. Nor that a network is private: that depends on the sums it was made from.

Sources: direct effects beside a deep part, Cheng et al. 2016, arXiv:1606.07792; embeddings, Guo and
Berkhahn 2016, arXiv:1604.06737; residual connections, He et al. 2015, arXiv:1512.03385.
"""

from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkInputs, NetworkWeights
from fedmkt.models.tasks import task_named
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace


class Network(NetworkWeights):
    """A network that computes: scores of rows, and what their gradients are made of."""

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
        looked_up = [torch.cat([outer, one], dim=1) for one in torch.split(before, sizes, dim=1)]
        tables = [
            EmbeddingTrace(codes, one, size)
            for codes, one, (size, _) in zip(
                passed.codes, looked_up, self.shape.tables, strict=True
            )
        ]
        return (*tables, *map(LinearTrace, passed.taken, slopes))

    def mean_slope(self, inputs: NetworkInputs, target: NDArray[np.uint8]) -> NumberArray:
        """Return the gradient of the rows' mean loss, shape (shape.length,); 0 without rows.

        Not private: it is exact.
        """
        if not len(target):
            return np.zeros(self.shape.length, dtype=np.float32)
        parts = [_summed(trace) for trace in self.traces(inputs, target)]
        return torch.cat(parts).div_(len(target)).numpy()

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


def _summed(trace: Trace) -> torch.Tensor:
    """Return the sum of a layer's gradients over all rows, shape (its parameters,)."""
    slopes = trace.slopes
    if isinstance(trace, EmbeddingTrace):
        table = torch.zeros((trace.size, slopes.shape[1]))
        return table.index_add_(0, trace.codes, slopes).ravel()
    return torch.cat([(slopes.T @ trace.inputs).ravel(), slopes.sum(0)])
