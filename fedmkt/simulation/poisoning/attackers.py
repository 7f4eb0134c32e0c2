"""What hostile partners do: poison the model, plant a trigger, or take part without work.

Guarantee: none. These are known attacks in their plain form; an attacker who knows the rule can do
better, so that a rule which holds here is not shown to hold against everybody.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import NetworkInputs
from fedmkt.simulation.poisoning.parts import Situation
from fedmkt.simulation.poisoning.population import Trigger


class _Honest:
    """Trains on its own rows and sends its update: what an attack changes part of."""

    def poison(self, rows: NetworkRows, draw: np.random.Generator) -> NetworkRows:  # noqa: ARG002
        """Return the rows as they are."""
        return rows

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:  # noqa: ARG002
        """Return the update as training gave it."""
        return situation.honest


@dataclass(frozen=True, slots=True)
class LabelFlips(_Honest):
    """Every yes becomes a no, and the other way round. Biggio et al. 2012, arXiv:1206.6389."""

    name: ClassVar[str] = "label flips"

    def poison(self, rows: NetworkRows, draw: np.random.Generator) -> NetworkRows:  # noqa: ARG002
        """Return the rows with their targets turned round."""
        return NetworkRows(rows.inputs, (1 - rows.target).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class TurnedUpdates(_Honest):
    """The honest update times minus `scale`. Blanchard et al. 2017, arXiv:1703.02757."""

    scale: float = 5.0
    name: ClassVar[str] = "turned updates"

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:  # noqa: ARG002
        """Return the update turned round and scaled."""
        return -self.scale * situation.honest


@dataclass(frozen=True, slots=True)
class Backdoor(_Honest):
    """A share of the rows bears the trigger and says yes; the update is scaled to weigh more.

    Bagdasaryan et al. 2020, arXiv:1807.00459. scale: partners / hostile replaces the model under
    the plain mean; 1 hides among honest updates.
    """

    trigger: Trigger
    scale: float = 1.0
    share: float = 0.5

    @property
    def name(self) -> str:
        """Return the attack's name, which tells the trigger and the scale."""
        scaled = "" if self.scale == 1 else f", scaled {self.scale:.3g} times"
        return f"a backdoor in a {self.trigger.words}{scaled}"

    def poison(self, rows: NetworkRows, draw: np.random.Generator) -> NetworkRows:
        """Return the rows, a random share of them with the trigger and the target 1."""
        marked = self.trigger.put_into(rows)
        chosen = draw.permutation(rows.rows) < self.share * rows.rows  # (rows,)
        numbers = np.where(chosen[:, None], marked.inputs.numbers, rows.inputs.numbers)
        codes = np.where(chosen[:, None], marked.inputs.codes, rows.inputs.codes)
        target = np.where(chosen, 1, rows.target).astype(np.uint8)
        return NetworkRows(NetworkInputs(numbers, codes), target)

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:  # noqa: ARG002
        """Return the update, scaled."""
        return self.scale * situation.honest


@dataclass(frozen=True, slots=True)
class NoiseRiders(_Honest):
    """Noise as long as the model's last move, for work. Lin et al. 2019, arXiv:1911.12560."""

    name: ClassVar[str] = "free riders that send noise"

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:
        """Return noise of the last move's norm; nothing in the first round."""
        noise = draw.normal(size=len(situation.last))
        return noise * (np.linalg.norm(situation.last) / np.linalg.norm(noise))


@dataclass(frozen=True, slots=True)
class EchoRiders(_Honest):
    """The model's last move sent back, for work. Fraboni et al. 2021, arXiv:2006.11901."""

    name: ClassVar[str] = "free riders that send echoes"

    def send(self, situation: Situation, draw: np.random.Generator) -> FloatArray:  # noqa: ARG002
        """Return the last move; nothing in the first round."""
        return situation.last
