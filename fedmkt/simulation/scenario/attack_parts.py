"""What the runners of attacks share: which protections are on, and what a trial gives.

Guarantee: none by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_schema import AttackPart

Role = Literal["off", "part", "on"]
"""Of a defence: all protections off, some, or none of them."""
STATED = "stated epsilon"
Protection = Literal["masks", "noise", "clipping", "random labels"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of an attack against one defence."""

    role: Role
    result: AttackResult


@dataclass(frozen=True, slots=True)
class Trial:
    """One attack with one seed. id: stands for what it computes."""

    id: str
    attack: AttackPart
    seed: int


@dataclass(frozen=True, slots=True)
class Off:
    """The protections that are off, out of those that concern an attack."""

    off: tuple[Protection, ...]
    role: Role

    @property
    def words(self) -> str:
        """Return the defence in words."""
        if self.role == "on":
            return "all on"
        *first, last = self.off
        return f"{', '.join(first)} and {last} off" if first else f"{last} off"

    def has(self, protection: Protection) -> bool:
        """Tell whether a protection is on."""
        return protection not in self.off


NOTHING_OFF = Off((), "on")


def levels(*off: tuple[Protection, ...]) -> tuple[Off, ...]:
    """Return the defences to compare: the last of `off` names all protections; then all on."""
    return (Off(off[-1], "off"), *(Off(one, "part") for one in off[:-1]), NOTHING_OFF)


Figures = Callable[[Off], tuple[AttackResult, ...]]


def each_level(found: tuple[Off, ...], attack: Figures) -> tuple[Measured, ...]:
    """Return an attack's figures against every defence."""
    return tuple(Measured(one.role, figure) for one in found for figure in attack(one))


def stated(name: str, epsilon: float) -> Measured:
    """Return the epsilon that an attack's protections come to where none is off."""
    result = AttackResult(name, "all on", STATED, "", epsilon, epsilon, epsilon, chance=0.0)
    return Measured("on", result)
