"""A network's score written a second time, from its docstring, for one row and any number type."""

import numpy as np
import torch
from hypothesis import strategies as st

from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.data.scaling import NumberScale
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape


def score(
    shape: NetworkShape, vector: torch.Tensor, numbers: torch.Tensor, codes: torch.Tensor
) -> torch.Tensor:
    """Return the score of one row, differentiable in `vector`."""
    start, direct, parts = 0, torch.zeros((), dtype=vector.dtype), []
    for place, (size, columns) in enumerate(shape.tables):
        table = vector[start : start + size * columns].reshape(size, columns)
        start += size * columns
        looked_up = torch.index_select(table, 0, codes[place : place + 1])[0]
        direct = direct + looked_up[0]
        parts.append(looked_up[1:])
    hidden = torch.cat([*parts, numbers])
    for place, (rows, columns) in enumerate(shape.layers):
        weight = vector[start : start + rows * columns].reshape(rows, columns)
        bias = vector[start + rows * columns : start + rows * (columns + 1)]
        start += rows * (columns + 1)
        if place == len(shape.layers) - 1:
            return direct + (weight @ hidden + bias)[0]
        output = torch.relu(weight @ hidden + bias)
        hidden = hidden + output if place else output
    raise AssertionError("a network has an output")


def row_gradients(network: Network, inputs: NetworkInputs, target: np.ndarray) -> np.ndarray:
    """Return the gradient of each row's log loss in double precision, shape (rows, parameters)."""

    def loss(vector, numbers, codes, yes):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            score(network.shape, vector, numbers, codes), yes
        )

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))
    return each(
        torch.from_numpy(network.parameters).double(),
        torch.from_numpy(inputs.numbers).double(),
        torch.from_numpy(inputs.codes.astype(np.int64)),
        torch.from_numpy(target.astype(np.float64)),
    ).numpy()


@st.composite
def shapes(draw) -> NetworkShape:
    """Draw small networks: with and without numbers, categories, layers and blocks."""
    numbers = draw(st.integers(0, 3))
    sizes = draw(st.lists(st.integers(2, 5), min_size=0 if numbers else 1, max_size=3))
    width = draw(st.sampled_from([0, 1, 4]))
    return small_shape(numbers, sizes, width, draw(st.integers(0, 2)) if width else 0)


def small_shape(numbers: int, sizes: list[int], width: int, blocks: int) -> NetworkShape:
    """Return a network of so many numbers and of categories of these sizes."""
    scales = tuple(
        NumberScale(f"number {n}", 0.0, 1.0 + n, nullable=bool(n % 2)) for n in range(numbers)
    )
    categories = tuple(
        FeatureBins(f"category {n}", tuple(str(code) for code in range(size)), (), ordered=False)
        for n, size in enumerate(sizes)
    )
    return NetworkShape(scales, Binning(categories), width, blocks)


def random_network(shape: NetworkShape, seed: int) -> Network:
    """Return a network whose parameters are all in use."""
    vector = np.random.default_rng(seed).normal(0, 0.7, shape.length)
    return Network(shape, vector.astype(np.float32))


def random_rows(shape: NetworkShape, rows: int, seed: int) -> tuple[NetworkInputs, np.ndarray]:
    """Return so many rows that fit the network, and their targets."""
    draw = np.random.default_rng(seed)
    codes = np.empty((rows, len(shape.tables)), dtype=np.uint16)
    for place, (size, _) in enumerate(shape.tables):
        codes[:, place] = draw.integers(0, size, rows)
    numbers = draw.uniform(-1, 1, (rows, shape.numbers)).astype(np.float32)
    return NetworkInputs(numbers, codes), draw.integers(0, 2, rows).astype(np.uint8)
