"""The parts of a study's training: its terms, the rule that joins updates, and who attacks.

Guarantee: none by itself; `loop` trains with these.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.robust import Combined

Rule = Callable[[FloatArray], Combined]
"""From updates (partners, parameters) to one; `horizontal.robust` has them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long and how fast a training goes. steps: of each partner a round. batch: rows a step.

    Raises: SettingInvalid.
    """

    rounds: int = 12
    steps: int = 6
    batch: int = 32
    rate: float = 0.3

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

    def poison(self, rows: NetworkRows, draw: np.random.Generator) -> NetworkRows:
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
