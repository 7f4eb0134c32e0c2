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
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkInputs, NetworkShape, NetworkWeights
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
        slopes, looked_up = self._backward(passed, self._outer(passed, target))
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
        total = np.zeros(self.shape.length, dtype=np.float32)
        if not len(target):
            return total
        passed = self._forward(inputs)
        slopes, looked_up = self._backward(passed, self._outer(passed, target))
        tables, layers = _cut(total, self.shape)
        for table, codes, one in zip(tables, passed.codes, looked_up, strict=True):
            table.index_add_(0, codes, one)
        for (weight, bias), taken, one in zip(layers, passed.taken, slopes, strict=True):
            torch.mm(one.T, taken, out=weight)
            torch.sum(one, 0, out=bias)
        total /= np.float32(len(target))
        return total

    def _outer(self, passed: "_Passed", target: NDArray[np.uint8]) -> torch.Tensor:
        """Return the slopes of the rows' losses by their scores, shape (rows, 1)."""
        residuals = task_named(self.shape.task).residuals(
            target, passed.scores.numpy().astype(np.float64)
        )
        return torch.from_numpy(-residuals.astype(np.float32))[:, None]

    def _forward(self, inputs: NetworkInputs) -> "_Passed":
        """Return what the layers took and gave."""
        hidden = torch.from_numpy(inputs.numbers)
        codes = list(torch.from_numpy(inputs.codes.T.astype(np.int64)))
        tables, layers = self._pieces
        direct: tuple[torch.Tensor, ...] = ()
        if codes:
            found = [
                torch.index_select(table, 0, column)
                for column, table in zip(codes, tables, strict=True)
            ]
            vectors = torch.cat(found, dim=1)
            effects, rest = map(torch.from_numpy, self.shape.looked_up)
            direct = torch.index_select(vectors, 1, effects).unbind(1)
            hidden = torch.cat([torch.index_select(vectors, 1, rest), hidden], dim=1)
        taken, bent = [hidden], []
        for weight, bias in layers[:-1]:
            bent.append(torch.addmm(bias, hidden, weight.T).relu_())
            hidden = hidden + bent[-1] if len(bent) > 1 else bent[-1]
            taken.append(hidden)
        weight, bias = layers[-1]
        scores = torch.addmm(bias, hidden, weight.T)[:, 0]
        for effect in direct:
            scores = scores + effect
        return _Passed(codes, taken, bent, scores)

    def _backward(
        self, passed: "_Passed", outer: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the slopes of each linear layer's outputs, and of each looked-up vector.

        Args: outer: (rows, 1), the slopes of the scores. By the chain rule, written out: a layer
        costs one product and one pass over its slopes.
        """
        _, layers = self._pieces
        widths = [columns for _, columns in self.shape.tables]
        slopes, before = [outer], outer.new_empty(len(outer), sum(widths) - len(widths))
        if passed.bent:
            after = outer * layers[-1][0]  # (rows, width), by the last hidden layer
            for (weight, _), bent in zip(layers[-2:0:-1], passed.bent[:0:-1], strict=True):
                slopes.append(_unbent(after, bent))
                after = torch.addmm(after, slopes[-1], weight)
            slopes.append(_unbent(after, passed.bent[0]))
            before = slopes[-1] @ layers[0][0][:, : before.shape[1]]
        if not widths:
            return slopes[::-1], []
        embedded = torch.split(before, [columns - 1 for columns in widths], dim=1)
        vectors = torch.cat([part for one in embedded for part in (outer, one)], dim=1)
        return slopes[::-1], list(torch.split(vectors, widths, dim=1))

    @cached_property
    def _pieces(self) -> "_Pieces":
        """Return the parameters, cut."""
        return _cut(self.parameters, self.shape)


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


_Pieces = tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]


def _cut(whole: NumberArray, shape: NetworkShape) -> _Pieces:
    """Return the tables, and the weight and bias of each layer, as views of one vector."""
    # numpy's views cost a tenth of torch's, and there are many in every step.
    pieces = [torch.from_numpy(whole[place].reshape(one)) for place, one in shape.pieces]
    count = len(shape.tables)
    return pieces[:count], list(zip(pieces[count::2], pieces[count + 1 :: 2], strict=True))
