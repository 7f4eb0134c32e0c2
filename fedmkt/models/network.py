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
        with torch.no_grad():
            scores, _ = self._forward(inputs)
        return scores.numpy().astype(np.float64)

    def probabilities(self, inputs: NetworkInputs) -> FloatArray:
        """Return the expected target of each row, shape (rows,)."""
        return task_named(self.shape.task).mean(self.scores(inputs))

    def traces(self, inputs: NetworkInputs, target: NDArray[np.uint8]) -> tuple[Trace, ...]:
        """Return the traces of each row's loss, in the order of the parameters.

        A slope at the score is minus the task's residual, so it is bounded whatever the score.
        """
        scores, passed = self._forward(inputs)
        residuals = task_named(self.shape.task).residuals(
            target, scores.detach().numpy().astype(np.float64)
        )
        outer = torch.from_numpy(-residuals).to(torch.float32)
        slopes = torch.autograd.grad(scores, [output for _, output in passed], outer)
        return tuple(
            LinearTrace(taken.detach(), slope)
            if taken.is_floating_point()
            else EmbeddingTrace(taken, slope, size)
            for (taken, _), slope, size in zip(passed, slopes, self._sizes(), strict=True)
        )

    def mean_slope(self, inputs: NetworkInputs, target: NDArray[np.uint8]) -> NumberArray:
        """Return the gradient of the rows' mean loss, shape (shape.length,); 0 without rows.

        Not private: it is exact.
        """
        if not len(target):
            return np.zeros(self.shape.length, dtype=np.float32)
        parts = [_summed(trace) for trace in self.traces(inputs, target)]
        return torch.cat(parts).div_(len(target)).numpy()

    def _forward(
        self, inputs: NetworkInputs
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return the scores (rows,), and what each layer took and gave, in order."""
        numbers = torch.from_numpy(inputs.numbers)
        codes = torch.from_numpy(inputs.codes.T.astype(np.int64))
        tables, layers = self._pieces()
        passed = [
            (column, torch.index_select(table, 0, column).requires_grad_(torch.is_grad_enabled()))
            for column, table in zip(codes, tables, strict=True)
        ]
        looked_up = [vectors for _, vectors in passed]
        parts = [*(vectors[:, 1:] for vectors in looked_up), numbers]
        hidden = torch.cat(parts, dim=1) if looked_up else numbers
        for place, (weight, bias) in enumerate(layers[:-1]):
            output = _linear(hidden, weight, bias)
            passed.append((hidden, output))
            bent = torch.relu(output)
            hidden = hidden + bent if place else bent
        output = _linear(hidden, *layers[-1])
        passed.append((hidden, output))
        return output[:, 0] + sum(vectors[:, 0] for vectors in looked_up), passed

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

    def _sizes(self) -> list[int]:
        """Return the size of each category's table, and 0 for each linear layer."""
        return [size for size, _ in self.shape.tables] + [0] * len(self.shape.layers)


def _linear(taken: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return a layer's outputs (rows, out); their slopes can be asked for."""
    output = torch.addmm(bias, taken, weight.T)
    return output if output.requires_grad else output.requires_grad_(torch.is_grad_enabled())


def _summed(trace: Trace) -> torch.Tensor:
    """Return the sum of a layer's gradients over all rows, shape (its parameters,)."""
    slopes = trace.slopes
    if isinstance(trace, EmbeddingTrace):
        table = torch.zeros((trace.size, slopes.shape[1]))
        return table.index_add_(0, trace.codes, slopes).ravel()
    return torch.cat([(slopes.T @ trace.inputs).ravel(), slopes.sum(0)])
