"""What the peers of `federated_networks.py` train: its rows and network, in plain PyTorch.

Needs numpy and torch alone. The network is that of `fedmkt.models.network` without residual layers:
embeddings with a direct effect in their first column, one hidden layer, one output.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Task:
    """Rows of all partners one after the other, `rows_each` each, and what is done with them."""

    numbers: torch.Tensor
    codes: torch.Tensor
    target: torch.Tensor
    partners: int
    rows_each: int
    rounds: int
    batch: int
    learning_rate: float
    seed: int
    start: torch.Tensor
    tables: list[list[int]]
    layers: list[list[int]]
    test: tuple[torch.Tensor, torch.Tensor]

    def rows_of(self, partner: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        own = slice(partner * self.rows_each, (partner + 1) * self.rows_each)
        return self.numbers[own], self.codes[own], self.target[own]

    def network(self, parameters: torch.Tensor | None = None) -> "Net":
        return Net(self.tables, self.layers, self.start if parameters is None else parameters)


@cache
def task_at(path: str) -> Task:
    """Read a task, once a process."""
    with np.load(path) as file:
        settings = json.loads(str(file["settings"]))
        arrays = {name: torch.from_numpy(file[name]) for name in file if name != "settings"}
    return Task(
        numbers=arrays["numbers"],
        codes=arrays["codes"],
        target=arrays["target"],
        start=arrays["start"],
        test=(arrays["test_numbers"], arrays["test_codes"]),
        **settings,
    )


class Net(nn.Module):
    """The network; its parameters stand in the order of `fedmkt`'s vector."""

    def __init__(self, tables: list[list[int]], layers: list[list[int]], start: torch.Tensor):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(*one) for one in tables)
        self.layers = nn.ModuleList(nn.Linear(taken, given) for given, taken in layers)
        nn.utils.vector_to_parameters(start.clone(), self.parameters())

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        vectors = [table(codes[:, place]) for place, table in enumerate(self.tables)]
        hidden = torch.cat([*(one[:, 1:] for one in vectors), numbers], dim=1)
        hidden = torch.relu(self.layers[0](hidden))
        direct = torch.stack([one[:, 0] for one in vectors]).sum(0)
        return self.layers[1](hidden)[:, 0] + direct


def batches(rows: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Return the places of each batch of an epoch over shuffled rows."""
    draw = torch.Generator().manual_seed(seed)
    return iter(torch.randperm(rows, generator=draw).split(size))


def train_epoch(net: Net, task: Task, partner: int, round_number: int) -> None:
    """Train one epoch over a partner's rows."""
    numbers, codes, target = task.rows_of(partner)
    optimizer = torch.optim.SGD(net.parameters(), lr=task.learning_rate)
    loss = nn.BCEWithLogitsLoss()
    seed = (task.seed * task.rounds + round_number) * task.partners + partner
    for places in batches(task.rows_each, task.batch, seed):
        optimizer.zero_grad()
        loss(net(numbers[places], codes[places]), target[places]).backward()
        optimizer.step()


def write_result(path: str, net: Net, task: Task, rounds_s: float, own_s: float) -> None:
    """Write the parameters, the scores of the test rows, and the seconds of all rounds.

    own_s: of the processor, where one process does all; else not a number.
    """
    with torch.no_grad():
        scores = net(*task.test)
        parameters = nn.utils.parameters_to_vector(net.parameters())
    spent = {"rounds_s": rounds_s, "own_s": own_s}
    np.savez(path, parameters=parameters.numpy(), scores=scores.numpy(), **spent)


def paths() -> tuple[str, str]:
    """Return where the task lies and where the result goes, from the command line."""
    return sys.argv[1], sys.argv[2]
