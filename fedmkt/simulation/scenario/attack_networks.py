"""Attacks on networks as trials: membership, canaries, gradient inversion.

Guarantee: with all protections on, a step is the deployed one and sums are masked and opened by the
deployed state machines; a protection that is off is left out of them and nothing else is changed.
The same seed gives the same figures.
Not guaranteed: privacy; noise follows from the seed.
"""

from collections.abc import Sequence
from functools import cache
from itertools import count

import numpy as np

from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import FloatArray, NoiselessUpdate, PrivateUpdate
from fedmkt.data import bundled
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import NetworkShape, shape_from_schema
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.library import one_thread
from fedmkt.privacy.dp_sgd.noise import add_gaussian, on_grid
from fedmkt.privacy.dp_sgd.poisson import IndexArray
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.privacy.dp_sgd.traces import Trace
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.attacks.canaries import audit
from fedmkt.simulation.attacks.collusion import run_sum
from fedmkt.simulation.attacks.inversion import attack_inversion
from fedmkt.simulation.attacks.membership import attack_membership
from fedmkt.simulation.attacks.network_canaries import (
    AuditedNetwork,
    gradient_places,
    made_up_rows,
)
from fedmkt.simulation.attacks.network_members import private_trainer
from fedmkt.simulation.attacks.network_training import (
    UNCLIPPED,
    Descent,
    Step,
    train_plainly,
)
from fedmkt.simulation.attacks.result import AttackResult, mean_result
from fedmkt.simulation.poisoning.population import rows_of
from fedmkt.simulation.scenario.attack_parts import Measured, Off, each_level, levels, stated
from fedmkt.simulation.scenario.attack_schema_networks import (
    CanariesPart,
    InversionPart,
    MembershipPart,
    NoisedPart,
)
from fedmkt.simulation.scenario.customers import draws

_TRAINING = levels(("noise",), ("clipping",), ("noise", "clipping"))
_UPDATES = levels(
    ("noise",), ("masks",), ("masks", "noise"), ("clipping",), ("masks", "noise", "clipping")
)

_OTHERS = 1_000
"""Rows that the model which an update is attacked at was trained on."""


@one_thread()
def run_membership(part: MembershipPart, seed: int) -> tuple[Measured, ...]:
    """Return what shadow models tell of who was in a training, for each defence."""
    shape, rows = adult_rows(part.width)
    terms = _terms(part, shape)
    pool = rows.taken(_some(rows, part.customers, seed))
    epsilon = epsilon_of([terms.event], part.delta)

    def attack(level: Off) -> tuple[AttackResult, ...]:
        numbers, source = count(), ReproducibleNoise(seed)
        trainer = private_trainer(
            pool,
            shape,
            Descent(part.learning_rate),
            terms,
            lambda: source.key_stream(f"membership {level.words} {next(numbers)}"),
            step=step_of(level),
        )
        found = attack_membership(
            trainer,
            customers=pool.rows,
            models=part.models,
            draw=draws(seed, "attack"),
            defence=level.words,
        )
        return (found.at_low, found.auc)

    return (*each_level(_TRAINING, attack), stated("membership inference (LiRA)", epsilon))


@one_thread()
def run_canaries(part: CanariesPart, seed: int) -> tuple[Measured, ...]:
    """Return the lower bound on epsilon that canaries give, for each defence."""
    shape, rows = adult_rows(part.width)
    terms, draw = _terms(part, shape), draws(seed, "canaries")
    some = rows.taken(_some(rows, part.customers, seed))
    epsilon = epsilon_of([terms.event], part.delta)
    places = gradient_places(shape, part.canaries, draw)
    made_up, coins = made_up_rows(shape, 1, draw), draw.random(part.canaries) < 0.5

    def attack(level: Off) -> tuple[AttackResult, ...]:
        audited = AuditedNetwork(
            shape=shape,
            terms=terms,
            descent=Descent(part.learning_rate),
            epsilon=epsilon,
            delta=part.delta,
            rows=some,
            kind="gradients",
            places=places,
            made_up=made_up,
            stream=ReproducibleNoise(seed).key_stream(f"canaries {level.words}"),
            step=step_of(level),
        )
        return (audit(audited, coins, defence=level.words).result,)

    return (*each_level(_TRAINING, attack), stated("canary audit", epsilon))


@one_thread()
def run_inversion(part: InversionPart, seed: int) -> tuple[Measured, ...]:
    """Return how much of a partner's rows is read back from an update, for each defence."""
    shape, rows = adult_rows(part.width)
    terms = DpSgdTerms(part.clip_norm, part.noise_multiplier, 1.0, 1, shape.length)
    attacked = part.batches * part.partners * part.rows
    order = _some(rows, attacked + _OTHERS, seed)
    batches = order[:attacked].reshape(part.batches, part.partners, part.rows)
    others, descent = rows.taken(order[attacked:]), Descent(seed=seed)
    network = train_plainly(others, shape, descent, steps=part.trained_steps)

    def one(level: Off, number: int) -> AttackResult:
        source = ReproducibleNoise(seed).stream(f"inversion {level.words} {number}")
        own = [rows.taken(places) for places in batches[number]]
        seen = [
            step_of(level)(
                network.traces(each.inputs, each.target), terms, source.key_stream(str(place))
            )
            for place, each in enumerate(own)
        ]
        values = _opened(level, seen) if level.has("masks") else seen[0].values
        return attack_inversion(
            np.asarray(values * terms.grid.unit, dtype=np.float64),
            network,
            own[0].inputs,
            draws(seed, f"guesses {number}"),
            defence=level.words,
            # Of a sum, rows of any partner may be read; this partner's are looked for among them.
            guesses=part.rows * (part.partners if level.has("masks") else 1),
            others=others.inputs,
        )

    def attack(level: Off) -> tuple[AttackResult, ...]:
        return (mean_result([one(level, number) for number in range(part.batches)]),)

    return each_level(_UPDATES, attack)


def step_of(level: Off) -> Step:
    """Return the step with what is off left out; the deployed one where nothing is."""
    if level.has("noise") and level.has("clipping"):
        return noised_sum

    def step(traces: Sequence[Trace], terms: DpSgdTerms, stream: KeyStream) -> PrivateUpdate:
        clip_norm = terms.clip_norm if level.has("clipping") else UNCLIPPED
        exact = on_grid(clipped_sum(traces, clip_norm=clip_norm), terms.grid)
        if not level.has("noise"):
            return PrivateUpdate(exact.values, sigma=0.0, trust="none")
        return add_gaussian(
            exact,
            noise_multiplier=terms.noise_multiplier,
            shares=1,
            trust="local",
            stream=stream,
        )

    return step


@cache
def adult_rows(width: int) -> tuple[NetworkShape, NetworkRows]:
    """Return a network's shape and all rows of Adult's training table."""
    schema = bundled.schema("adult")
    features = [column.name for column in schema.columns if column.use == "feature"]
    shape = shape_from_schema(schema, features, width=width)
    found = rows_of(bundled.load("adult_train"), schema, "income", shape)
    return shape, NetworkRows(found.inputs, found.target)


def _opened(level: Off, seen: list[PrivateUpdate]) -> FloatArray:
    """Return what a secure sum over the partners opens, (parameters,)."""
    noised = level.has("noise")
    updates = {
        f"p{place:02}": one if noised else NoiselessUpdate(one.values)
        for place, one in enumerate(seen)
    }
    return run_sum(updates).total.astype(np.float64)


def _terms(part: NoisedPart, shape: NetworkShape) -> DpSgdTerms:
    return DpSgdTerms(
        part.clip_norm, part.noise_multiplier, part.sampling_rate, part.steps, shape.length
    )


def _some(rows: NetworkRows, customers: int, seed: int) -> IndexArray:
    return draws(seed, "customers").permutation(rows.rows)[:customers]
