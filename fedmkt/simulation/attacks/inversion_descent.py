"""Gradient inversion by descent: rows are moved until their gradient points where the update does.

Numbers are moved freely within their bounds, categories as weights over their values, which turn
into the likeliest value at the end. What is made smaller is 1 - cos(gradient, update), by Adam,
from several starts; the start that ends best counts.

Guarantee: none; whether the descent finds the rows depends on the model and the batch. The attacker
is given the rows' targets, as in the source, and the size of the batch.
Not guaranteed: speed. A start takes a backward pass through a gradient in each step.
Source: Geiping et al. 2020, arXiv:2003.14053, section 4.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.simulation.attacks.inversion import Reader

_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Descents:
    """How an update is matched: starts, steps of each, and the seed of the starts."""

    starts: int = 3
    steps: int = 300
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    """Rows on their way. numbers: (rows, numbers), before tanh; logits: (rows, size) a category."""

    numbers: torch.Tensor = field(repr=False)
    logits: tuple[torch.Tensor, ...] = field(repr=False)

    def inputs(self) -> NetworkInputs:
        """Return the rows as they stand."""
        with torch.no_grad():
            numbers = torch.tanh(self.numbers).numpy().astype(np.float32)
            codes = [one.argmax(1).numpy() for one in self.logits]
        stacked = np.stack(codes, axis=1) if codes else np.zeros((len(numbers), 0))
        return NetworkInputs(numbers, stacked.astype(np.uint16))


def matching_reader(target: NDArray[np.uint8], how: Descents) -> Reader:
    """Return a reader of updates that were made of rows with these targets, (rows,)."""

    def read(update: FloatArray, network: Network, *, rows: int) -> NetworkInputs:
        assert rows == len(target)
        draw = np.random.default_rng(how.seed)
        wanted = torch.from_numpy(update)
        wanted = wanted / wanted.norm().clamp(min=1e-30)
        yes = torch.from_numpy(target.astype(np.float64))
        found = [_descend(network, wanted, yes, how.steps, draw) for _ in range(how.starts)]
        return min(found, key=lambda one: one[0])[1].inputs()

    return read


def _descend(
    network: Network,
    wanted: torch.Tensor,
    yes: torch.Tensor,
    steps: int,
    draw: np.random.Generator,
) -> tuple[float, _Guess]:
    """Return where one start ends, and how far its gradient is then from the update."""
    guess = _start(network.shape, len(yes), draw)
    pieces = _pieces(network)
    mover = torch.optim.Adam([guess.numbers, *guess.logits], lr=_RATE)
    far = torch.zeros(())
    for _ in range(steps):
        mover.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            _scores(network.shape, pieces, guess), yes, reduction="sum"
        )
        slopes = torch.autograd.grad(loss, pieces, create_graph=True)
        gradient = torch.cat([one.reshape(-1) for one in slopes])
        far = 1 - (gradient @ wanted) / gradient.norm().clamp(min=1e-30)
        far.backward()
        mover.step()
    return float(far.detach()), guess


def _start(shape: NetworkShape, rows: int, draw: np.random.Generator) -> _Guess:
    numbers = torch.from_numpy(draw.normal(0, 0.3, (rows, shape.numbers))).requires_grad_()
    logits = [
        torch.from_numpy(draw.normal(0, 0.3, (rows, size))).requires_grad_()
        for size, _ in shape.tables
    ]
    return _Guess(numbers, tuple(logits))


def _pieces(network: Network) -> list[torch.Tensor]:
    """Return the tables, then weight and bias of each layer, in double precision."""
    shapes: list[tuple[int, ...]] = list(network.shape.tables)
    for outs, ins in network.shape.layers:
        shapes += [(outs, ins), (outs,)]
    ends = np.cumsum([0, *(int(np.prod(one)) for one in shapes)])
    whole = torch.from_numpy(network.parameters).double()
    return [
        whole[start:end].view(one).clone().requires_grad_()
        for (start, end), one in zip(pairwise(ends.tolist()), shapes, strict=True)
    ]


def _scores(shape: NetworkShape, pieces: list[torch.Tensor], guess: _Guess) -> torch.Tensor:
    """Return the score of each row (rows,), differentiable in parameters and rows."""
    tables, rest = pieces[: len(shape.tables)], pieces[len(shape.tables) :]
    looked_up = [
        torch.softmax(one, dim=1) @ table for one, table in zip(guess.logits, tables, strict=True)
    ]
    numbers = torch.tanh(guess.numbers)
    hidden = torch.cat([*(one[:, 1:] for one in looked_up), numbers], dim=1)
    layers = list(zip(rest[::2], rest[1::2], strict=True))
    for place, (weight, bias) in enumerate(layers[:-1]):
        bent = torch.relu(hidden @ weight.T + bias)
        hidden = hidden + bent if place else bent
    weight, bias = layers[-1]
    score = (hidden @ weight.T + bias)[:, 0]
    for one in looked_up:
        score = score + one[:, 0]
    return score
