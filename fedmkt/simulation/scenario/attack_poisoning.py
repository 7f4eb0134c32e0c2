"""Hostile partners as trials: each attack against the plain mean and the rules that resist.

Guarantee: that of `poisoning.study`; a trial is one seed of a study of Adult's customers.
"""

from functools import partial

from fedmkt.simulation.poisoning.adult import adult_partners, adult_trigger
from fedmkt.simulation.poisoning.attackers import (
    Backdoor,
    EchoRiders,
    LabelFlips,
    NoiseRiders,
    TurnedUpdates,
)
from fedmkt.simulation.poisoning.parts import Attack, Terms
from fedmkt.simulation.poisoning.study import Study, run_seed, setup
from fedmkt.simulation.scenario.attack_parts import Measured
from fedmkt.simulation.scenario.attack_pooling import rows_of_seed
from fedmkt.simulation.scenario.attack_schema_poisoning import (
    BackdoorPart,
    FreeRidersPart,
    PoisoningPart,
    TurnedUpdatesPart,
)


def run_poisoning(part: PoisoningPart, seed: int) -> tuple[Measured, ...]:
    """Return what the attack did to each rule. Raises: UpdatesTooFew."""
    attack = _attack(part)
    populate = partial(
        adult_partners, partners=part.partners, rows_each=part.rows_each, test_rows=part.test_rows
    )
    terms = Terms(rounds=part.rounds, steps=part.steps)
    study = Study(populate, terms, part.hostile, rules=tuple(part.rules))
    about = setup(study, attack, part.partners)
    return rows_of_seed(about.attack, about.figure, run_seed(study, attack, seed))


def _attack(part: PoisoningPart) -> Attack:
    match part:
        case TurnedUpdatesPart():
            return TurnedUpdates(part.scale)
        case BackdoorPart():
            return Backdoor(adult_trigger(part.trigger), scale=part.scale)
        case FreeRidersPart():
            return NoiseRiders() if part.send == "noise" else EchoRiders()
        case _:
            return LabelFlips()
