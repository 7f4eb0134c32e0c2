"""A plain federated training: partners take steps of SGD, a rule joins their updates.

It has no messages, no masks and no noise: it is the arithmetic of a round alone, so that many
trainings can be compared. What a deployment adds changes no mean by more than rounding.

Guarantee: equal arguments give equal results on one machine. An honest partner draws the same rows
whatever rule joins the updates and whatever others send, so that trainings differ by these alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.robust import Combined
from fedmkt.horizontal.server_steps import ServerSettings, advance, initial
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkShape, first_parameters
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, Trace
from fedmkt.simulation.poisoning.population import Population, Rows

FARTHEST = 1e6
"""An honest update with a greater entry ends a training: it diverged."""
Rule = Callable[[FloatArray], Combined]
"""From updates (partners, parameters) to one; `horizontal.robust` has them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long and how fast a training goes. steps: of each partner a round. batch: rows a step.

    Raises: SettingInvalid.
    """

    rounds: int = 15
    steps: int = 10
    batch: int = 32
    rate: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a training that never steps. Raises: SettingInvalid."""
        for name in ("rounds", "steps", "batch", "rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise SettingInvalid(setting=f"the training's {name}", problem="must be above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What a hostile partner knows when it sends.

    honest: (parameters,), its update had it trained on `rows`. last: (parameters,), what the rule
    made of the last round, seen as the difference of two models; zeros in the first round.
    """

    honest: FloatArray = field(repr=False)
    last: FloatArray = field(repr=False)


class Attack(Protocol):
    """The seam for attacks: what a hostile partner trains on, and what it sends."""

    @property
    def name(self) -> str:
        """Return the attack's name in tables and plots."""
        ...

    def poison(self, rows: Rows, draw: np.random.Generator) -> Rows:
        """Return the rows that a hostile partner trains on."""
        ...

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:
        """Return what a hostile partner sends, shape (parameters,)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training's course.

    models: the parameters after each round, each (parameters,); fewer than the terms' rounds where
    the training diverged and stopped. norms: of each round's updates (partners,). hostile_taken:
    the share of hostile updates that the rule made its results from.
    """

    models: tuple[NDArray[np.float32], ...] = field(repr=False)
    norms: tuple[FloatArray, ...] = field(repr=False)
    hostile_taken: float


def train(
    population: Population,
    terms: Terms,
    rule: Rule,
    *,
    seed: int,
    attack: Attack | None = None,
    hostile: Sequence[int] = (),
) -> Training:
    """Return the course of a training in which the partners at `hostile` follow `attack`.

    A training that diverges ends with its last finite model. Raises: UpdatesTooFew by the rule.
    """
    if attack is not None:
        population = _poisoned(population, attack, hostile, seed)
    state = initial(ServerSettings(), first_parameters(population.shape, seed))
    last = np.zeros_like(state.exact)
    models, norms, taken = [], [], 0
    for number in range(terms.rounds):
        updates = np.stack(
            [
                local_update(population.shape, state.parameters, own, terms, (seed, place, number))
                for place, own in enumerate(population.partners)
            ]
        )
        # Such numbers lose all meaning some rounds before they stop being finite.
        if not (np.abs(np.delete(updates, hostile, axis=0)) < FARTHEST).all():
            break
        if attack is not None:
            for place in hostile:
                draw = np.random.default_rng((seed, place, number, 1))
                updates[place] = attack.send(Situation(updates[place], last), draw)
        combined = rule(updates)
        last = combined.update
        state = advance(state, last)
        models.append(state.parameters)
        norms.append(np.linalg.norm(updates, axis=1))
        taken += len(set(combined.taken) & set(hostile))
    share = taken / max(1, len(models) * len(hostile))
    return Training(tuple(models), tuple(norms), share)


def _poisoned(
    population: Population, attack: Attack, hostile: Sequence[int], seed: int
) -> Population:
    """Return the population with what the hostile partners train on."""
    rows = list(population.partners)
    for place in hostile:
        rows[place] = attack.poison(rows[place], np.random.default_rng((seed, place)))
    return replace(population, partners=tuple(rows))


def local_update(
    shape: NetworkShape,
    parameters: NDArray[np.float32],
    rows: Rows,
    terms: Terms,
    seed: Sequence[int],
) -> FloatArray:
    """Return parameters after a partner's steps of SGD minus before, shape (parameters,)."""
    draw, moved = np.random.default_rng(seed), parameters.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # who calls looks at what comes out
        for _ in range(terms.steps):
            batch = rows.at(draw.integers(0, len(rows), terms.batch))
            moved -= terms.rate * mean_slope(Network(shape, moved.astype(np.float32)), batch)
        return moved - parameters


def mean_slope(network: Network, rows: Rows) -> FloatArray:
    """Return the gradient of the rows' mean loss, shape (parameters,). Exact, so not private."""
    traces = network.traces(rows.inputs, rows.target)
    return np.concatenate([_summed(trace) for trace in traces]) / len(rows)


def _summed(trace: Trace) -> FloatArray:
    """Return the sum over rows of a layer's gradients, in the order of its parameters."""
    slopes = trace.slopes.numpy().astype(np.float64)
    if isinstance(trace, EmbeddingTrace):
        table = np.zeros((trace.size, slopes.shape[1]))
        np.add.at(table, trace.codes.numpy(), slopes)
        return table.ravel()
    weight = slopes.T @ trace.inputs.numpy().astype(np.float64)
    return np.concatenate([weight.ravel(), slopes.sum(axis=0)])
