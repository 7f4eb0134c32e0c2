"""Gradient inversion: the rows that one update was made of, read back from it.

A row's gradient in a linear layer is the product of its slope and its input, and the slope alone in
the bias, so a unit that one row alone moves gives that row's whole input: weight gradient over bias
gradient. The first layer's input holds embeddings and numbers; each embedding is one of a public
table, so an input that was read rightly fits the tables exactly, and one mixed of several rows does
not. No step is drawn, nothing is optimised.

Guarantee: what is found was in the update; the attack knows the model, the update and the size of
the batch. Not guaranteed: that another attack does not find more; optimisation can separate rows
that share all their units.
Source: Geiping et al. 2020, arXiv:2003.14053, proposition 3.1; several rows, Boenisch et al. 2023,
arXiv:2112.02918.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape
from fedmkt.simulation.attacks.network_canaries import made_up_rows
from fedmkt.simulation.attacks.result import AttackResult, clopper_pearson, series


class Reader(Protocol):
    """Reads the rows an update was made of."""

    def __call__(self, update: FloatArray, network: Network, *, rows: int) -> NetworkInputs:
        """Return so many rows. update: (parameters,). Raises: SettingInvalid."""
        ...


CLOSE = 0.01
"""Scaled numbers, in [-1, 1], that are nearer than this count as read."""


@dataclass(frozen=True, slots=True)
class _FirstLayer:
    """Where the first linear layer lies among the parameters, and the public embeddings."""

    start: int
    outs: int
    ins: int
    tables: tuple[FloatArray, ...] = field(repr=False)  # (size, dim) each


def read_rows(update: FloatArray, network: Network, *, rows: int) -> NetworkInputs:
    """Return the `rows` inputs that fit best as those an update (parameters,) was made of.

    Raises: SettingInvalid for a network without a hidden layer, or no row.
    """
    if not network.shape.width or rows < 1:
        raise SettingInvalid(setting="gradient inversion", problem="it needs a hidden layer, a row")
    layer = _first_layer(network)
    weights = layer.outs * layer.ins
    weight = update[layer.start : layer.start + weights].reshape(layer.outs, layer.ins)
    bias = update[layer.start + weights : layer.start + weights + layer.outs]
    moved = np.flatnonzero(np.abs(bias) > 1e-12)
    inputs = np.zeros((rows, layer.ins))
    if moved.size:
        read = weight[moved] / bias[moved, None]
        inputs = _distinct(read[np.argsort(_misfits(read, layer), kind="stable")], rows)
    codes, _ = _codes(inputs, layer)
    embedded = sum(table.shape[1] for table in layer.tables)
    numbers = np.clip(inputs[:, embedded:], -1, 1).astype(np.float32)
    return NetworkInputs(numbers, codes.astype(np.uint16))


def attack_inversion(
    update: FloatArray,
    network: Network,
    truth: NetworkInputs,
    draw: np.random.Generator,
    *,
    defence: str,
    read: Reader | None = None,
    guesses: int | None = None,
    others: NetworkInputs | None = None,
) -> AttackResult:
    """Read an update back and count the cells of `truth` that were read right.

    Args: update: (parameters,), what the coordinator sees. truth: the rows of the partner.
        read: another way to read an update than `read_rows`. guesses: how many rows are read, of
        which the best fit to `truth` count; as many as there are in it, unless told otherwise.
        others: rows of other people to guess with, where somebody has such; made up otherwise.
    Returns: the share of cells (categories equal, numbers within `CLOSE`) that are right, rows
        being matched as they fit best, with Clopper and Pearson's 95% interval over cells. By
        chance: the same for as many rows drawn at random.
    """
    rows = len(truth.codes)
    guesses = rows if guesses is None else guesses
    guessed = (read or read_rows)(update, network, rows=guesses)
    right = _right_cells(guessed, truth)
    random = [
        _right_cells(_guess(network.shape, guesses, others, draw), truth).mean() for _ in range(50)
    ]
    low, high = clopper_pearson(int(right.sum()), right.size)
    return AttackResult(
        name="gradient inversion",
        defence=defence,
        figure="cells read back right",
        unit="share of cells",
        value=float(right.mean()),
        low=low,
        high=high,
        chance=float(np.mean(random)),
        series=(series("rows", np.arange(1.0, rows + 1), right.mean(axis=1)),),
        least=0.0,
        most=1.0,
    )


def _guess(
    shape: NetworkShape, count: int, others: NetworkInputs | None, draw: np.random.Generator
) -> NetworkInputs:
    """Return so many rows that have nothing to do with the update."""
    if others is None:
        return made_up_rows(shape, count, draw).inputs
    places = draw.integers(0, len(others.codes), count)
    return NetworkInputs(others.numbers[places], others.codes[places])


def _right_cells(guessed: NetworkInputs, truth: NetworkInputs) -> FloatArray:
    """Return 1 for each cell that is right, (rows, cells), guesses matched as they fit best."""
    codes = guessed.codes[None] == truth.codes[:, None]
    numbers = np.abs(guessed.numbers[None] - truth.numbers[:, None]) < CLOSE
    cells = np.concatenate([codes, numbers], axis=2)  # (true rows, guesses, cells)
    matched = linear_sum_assignment(-cells.mean(axis=2))
    return np.asarray(cells[matched], dtype=np.float64)


def _first_layer(network: Network) -> _FirstLayer:
    shape: NetworkShape = network.shape
    start, tables = 0, []
    for size, columns in shape.tables:
        table = network.parameters[start : start + size * columns].reshape(size, columns)
        tables.append(table[:, 1:].astype(np.float64))  # without the direct effect
        start += size * columns
    outs, ins = shape.layers[0]
    return _FirstLayer(start, outs, ins, tuple(tables))


def _codes(inputs: FloatArray, layer: _FirstLayer) -> tuple[FloatArray, FloatArray]:
    """Return the nearest code of each category (rows, categories), and how far off they are."""
    codes, off, start = np.zeros((len(inputs), len(layer.tables))), np.zeros(len(inputs)), 0
    for place, table in enumerate(layer.tables):
        block = inputs[:, start : start + table.shape[1]]
        far = np.linalg.norm(block[:, None] - table[None], axis=2)
        codes[:, place] = far.argmin(axis=1)
        off += far.min(axis=1)
        start += table.shape[1]
    return codes, off


def _misfits(inputs: FloatArray, layer: _FirstLayer) -> FloatArray:
    """Return how far inputs are from any that a row can give, shape (rows,)."""
    _, off = _codes(inputs, layer)
    embedded = sum(table.shape[1] for table in layer.tables)
    beyond = np.maximum(np.abs(inputs[:, embedded:]) - 1, 0)
    return np.asarray(off + beyond.sum(axis=1), dtype=np.float64)


def _distinct(inputs: FloatArray, rows: int) -> FloatArray:
    """Return the first `rows` inputs that differ, filled up with zeros."""
    kept: list[FloatArray] = []
    for one in inputs:
        if all(np.abs(one - other).max() > CLOSE / 10 for other in kept):
            kept.append(one)
        if len(kept) == rows:
            break
    return np.array([*kept, *[np.zeros(inputs.shape[1])] * (rows - len(kept))])
