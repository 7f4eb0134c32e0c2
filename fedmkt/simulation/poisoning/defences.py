"""The rules a study compares: the plain mean, which is no defence, and those that resist.

Guarantee: each is a rule of `horizontal.robust`, whose docstrings say what it bears.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.robust import (
    Combined,
    bounded_mean,
    krum,
    median,
    multi_krum,
    trimmed_mean,
)
from fedmkt.simulation.poisoning.parts import Rule, Training

PLAIN = "mean"


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the rules are told: how many partners may be faulty, and the bound of a norm.

    The bound is the median norm over a training with nobody hostile. A coordinator would take it
    from a rehearsal on public data.
    """

    faulty: int
    l2_bound: float


def assume(faulty: int, rehearsal: Training) -> Assumed:
    """Return what the rules are told after a training with nobody hostile."""
    return Assumed(faulty, float(np.median(np.concatenate(rehearsal.norms))))


def plain_mean(updates: FloatArray) -> Combined:
    """Return the mean of all updates, whatever they hold: one that is not finite spoils it."""
    return Combined(updates.mean(axis=0), tuple(range(len(updates))), ())


DEFENCES: dict[str, Callable[[FloatArray, Assumed], Combined]] = {
    "bounded mean": lambda updates, told: bounded_mean(updates, l2_bound=told.l2_bound),
    "median": lambda updates, _: median(updates),
    "trimmed mean": lambda updates, told: trimmed_mean(updates, faulty=told.faulty),
    "Krum": lambda updates, told: krum(updates, faulty=told.faulty),
    "multi-Krum": lambda updates, told: multi_krum(
        updates, faulty=told.faulty, keep=len(updates) - told.faulty
    ),
}


def rule_named(name: str, told: Assumed) -> Rule:
    """Return a rule with what it is told. Raises: KeyError."""
    if name == PLAIN:
        return plain_mean
    join = DEFENCES[name]
    return lambda updates: join(updates, told)
