"""What all seeds of an attack say, as its page and its plots ask for it.

Guarantee: means over seeds are those of `mean_result`; nothing else is computed.
"""

from dataclasses import dataclass

from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_parts import Measured
from fedmkt.simulation.scenario.attack_schema import AttackPart


@dataclass(frozen=True, slots=True)
class Found:
    """An attack's figures by seed, and their means over seeds in the same order."""

    attack: AttackPart
    seeds: tuple[tuple[Measured, ...], ...]
    means: tuple[Measured, ...]

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the names of all figures, the main one first."""
        return tuple(dict.fromkeys(one.result.figure for one in self.means))

    def of(self, figure: str) -> tuple[Measured, ...]:
        """Return a figure for each defence."""
        return tuple(one for one in self.means if one.result.figure == figure)

    def results(self, figure: str) -> tuple[AttackResult, ...]:
        """Return the same without the defences' roles."""
        return tuple(one.result for one in self.of(figure))

    @property
    def main(self) -> tuple[Measured, ...]:
        """Return the main figure for each defence."""
        return self.of(self.figures[0])
