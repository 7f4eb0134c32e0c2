"""Attacks on split trainings as trials: labels from gradients, columns from activations.

Guarantee: the training is that of `fedmkt.simulation.attacks.adult_split`; a protection that is off
is left out of it and nothing else is changed: customers, first networks and who is known are the
same at all levels. The same seed gives the same figures.
Not guaranteed: privacy; noise follows from the seed.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data import bundled
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.privacy.dp_sgd.library import one_thread
from fedmkt.simulation.attacks.adult_split import (
    SplitCustomers,
    attack_column,
    attack_labels,
    split_customers,
    train_customers,
)
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_parts import Measured, Off, each_level, levels, stated
from fedmkt.simulation.scenario.attack_schema_split import (
    FeatureInversionPart,
    LabelInferencePart,
    SplitPart,
)
from fedmkt.simulation.scenario.attack_words import LEARNT, MODEL
from fedmkt.simulation.scenario.customers import draws
from fedmkt.vertical.residuals import training_rows

_GRADIENTS = levels(("random labels",), ("noise",), ("random labels", "noise", "clipping"))
_ACTIVATIONS = levels(("noise",))
_UNBOUNDED = 1e3
"""A bound on gradients that none reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """A trial's customers, whom the attacker knows, and what the owner's columns reach alone."""

    customers: SplitCustomers = field(repr=False)
    known: IntArray = field(repr=False)  # places among the rows trained on
    alone: float
    trained_on: int

    def model(self, scores: FloatArray, name: str, defence: str) -> AttackResult:
        """Return how well the customers held out are ranked; by chance: by the owner alone."""
        held = slice(self.trained_on, None)
        found = auc_interval(self.customers.labels[held], scores[held])
        return AttackResult(
            name=name,
            defence=defence,
            figure=MODEL,
            unit="share of pairs",
            value=found.value,
            low=found.low,
            high=found.high,
            chance=self.alone,
            least=0.0,
            most=1.0,
        )


@one_thread()
def run_label_inference(part: LabelInferencePart, seed: int) -> tuple[Measured, ...]:
    """Return how well a partner tells labels from gradients, and the model, for each defence.

    Raises: TrainingDiverged.
    """
    world = _world(part, part.settings, seed)

    def attack(level: Off) -> tuple[AttackResult, ...]:
        epsilon = part.epsilon if level.has("random labels") else None
        settings = part.settings.model_copy(
            update={
                "gradient_bound": part.gradient_bound if level.has("clipping") else _UNBOUNDED,
                "gradient_noise": part.gradient_noise if level.has("noise") else 0.0,
            }
        )
        twin = train_customers(world.customers, settings, seed=seed, epsilon=epsilon)
        # The one that learns is the measure: a choice among them by few labels misses it at times,
        # and by all of them would find something where there is nothing.
        *others, learnt = (
            replace(one, figure=f"AUC of {one.name}", name="label inference")
            for one in attack_labels(
                twin, world.customers, world.known, partner=part.partner, defence=level.words
            )
        )
        assert learnt.figure == LEARNT
        return (learnt, world.model(twin.scores, learnt.name, level.words), *others)

    return (*each_level(_GRADIENTS, attack), stated("label inference", part.epsilon))


@one_thread()
def run_feature_inversion(part: FeatureInversionPart, seed: int) -> tuple[Measured, ...]:
    """Return how much of partners' columns the owner reads, and the model, for each defence.

    Raises: TrainingDiverged.
    """
    bounded = part.settings.model_copy(update={"activation_bound": part.activation_bound})
    world = _world(part, bounded, seed)

    def attack(level: Off) -> tuple[AttackResult, ...]:
        noise = part.activation_noise if level.has("noise") else 0.0
        settings = bounded.model_copy(update={"activation_noise": noise})
        twin = train_customers(world.customers, settings, seed=seed)
        found = [
            replace(
                attack_column(
                    twin, world.customers, world.known, column=column, defence=level.words
                ),
                figure=f"values of {column} guessed right",
            )
            for column in part.columns
        ]
        return (*found, world.model(twin.scores, "feature inversion", level.words))

    return each_level(_ACTIVATIONS, attack)


def _world(part: SplitPart, settings: SplitSettings, seed: int) -> _World:
    frame = bundled.load("adult_train")
    order = draws(seed, "customers").permutation(frame.height)[: part.customers]
    customers = split_customers(frame[order.tolist()])
    rows = training_rows(part.customers, settings.holdout)
    known = np.sort(draws(seed, "known").choice(rows, part.known, replace=False))
    alone = train_customers(customers.owners, settings, seed=seed).scores
    reached = auc_interval(customers.labels[rows:], alone[rows:])
    return _World(customers, known, reached.value, rows)
