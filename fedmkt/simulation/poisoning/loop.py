"""A plain federated training: partners take steps of SGD, a rule joins their updates.

It has no messages, no masks and no noise: it is the arithmetic of a round alone, so that many
trainings can be compared. What a deployment adds changes no mean by more than rounding.

Guarantee: equal arguments give equal results on one machine. An honest partner draws the same rows
whatever rule joins the updates and whatever others send, so that trainings differ by these alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.network_settings import ServerSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.server_steps import advance, initial
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkShape, first_parameters
from fedmkt.privacy.dp_sgd.library import one_thread
from fedmkt.simulation.poisoning.parts import Attack, Rule, Situation, Terms, Training
from fedmkt.simulation.poisoning.population import Population

FARTHEST = 1e6
"""An honest update with a greater entry ends a training: it diverged."""


@one_thread()
@np.errstate(over="ignore", invalid="ignore")  # what is not finite is looked for and ends it
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
        updates = _local_updates(population, state.parameters, terms, (seed, number))
        # Such numbers lose all meaning some rounds before they stop being finite.
        if not (np.abs(np.delete(updates, hostile, axis=0)) < FARTHEST).all():
            break
        if attack is not None:
            for place in hostile:
                draw = np.random.default_rng((seed, number, place, 1))
                updates[place] = attack.send(Situation(updates[place], last), draw)
        combined = rule(updates)
        try:
            state = advance(state, combined.update)
        except TrainingDiverged:
            break
        last = combined.update
        models.append(state.parameters)
        norms.append(np.linalg.norm(updates, axis=1))
        taken += len(set(combined.taken) & set(hostile))
    share = taken / max(1, len(models) * len(hostile))
    return Training(tuple(models), tuple(norms), share)


def _local_updates(
    population: Population, parameters: NDArray[np.float32], terms: Terms, seed: Sequence[int]
) -> FloatArray:
    """Return every partner's update, shape (partners, parameters)."""
    return np.stack(
        [
            local_update(population.shape, parameters, own, terms, (*seed, place))
            for place, own in enumerate(population.partners)
        ]
    )


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
    rows: NetworkRows,
    terms: Terms,
    seed: Sequence[int],
) -> FloatArray:
    """Return parameters after a partner's steps of SGD minus before, shape (parameters,)."""
    # Not `round_update`: that draws each customer at a rate and sends a weight, which rules divide
    # out again. Here a batch has one stated size, as where the rules and attacks come from.
    draw, moved = np.random.default_rng(seed), parameters.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # who calls looks at what comes out
        for _ in range(terms.steps):
            batch = rows.taken(draw.integers(0, rows.rows, terms.batch))
            network = Network(shape, moved.astype(np.float32))
            moved -= terms.rate * network.mean_slope(batch.inputs, batch.target)
        return moved - parameters
