"""What a demonstration leaves to report on: its runs, their worlds and the models beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedmkt.contract.job import Job, NetworkJob
from fedmkt.coordinator.summed_training import Outcome
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.world import World


@dataclass(frozen=True, slots=True)
class Trained:
    """One finished run: its model's name, its job, its outcome, where it ran, and each round.

    rounds: number, loss and AUC on public rows. measuring_s: seconds of the run that measuring
    them took.
    """

    name: str
    job: Job | NetworkJob
    outcome: Outcome[AnyModel]
    world: World
    rounds: tuple[tuple[int, float, float], ...]
    measuring_s: float

    @property
    def wall_s(self) -> float:
        """Return the seconds the run took by itself."""
        return self.outcome.wall_s - self.measuring_s


@dataclass(frozen=True, slots=True)
class Twin:
    """A model trained without any exchange: by one partner alone, or (None) on pooled rows."""

    partner: str | None
    model: AdditiveModel
    rounds: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Study:
    """Everything a report is drawn from. worlds: one a draw of the noise, the first one first."""

    seed: int | None
    public: PublicTable
    rows: Mapping[str, int]
    trained: Mapping[str, list[Trained]]
    worlds: tuple[World, ...]
    twins: tuple[Twin, ...]
