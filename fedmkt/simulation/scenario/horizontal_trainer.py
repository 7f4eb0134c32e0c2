"""What a family of models has to offer to be trained over partners that know the same columns.

Guarantee: none by itself; each family states its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import polars as pl

from fedmkt.contract.job import HorizontalJob, PrivacySettings
from fedmkt.coordinator.summed_training import Outcome, Watcher
from fedmkt.models.kept import AnyModel
from fedmkt.privacy.events import Event
from fedmkt.simulation.scenario.horizontal_rounds import Rounds
from fedmkt.simulation.scenario.rows import Task
from fedmkt.simulation.world import World

DATASET = "customers"
PURPOSE = "study"
Parts = Mapping[str, pl.DataFrame]
Present = Callable[[int], Sequence[str]]
JobT = TypeVar("JobT", bound=HorizontalJob)


class Trainer(ABC, Generic[JobT]):
    """One family of models, as a trial trains it."""

    @abstractmethod
    def job(self, task: Task, members: Sequence[str], privacy: PrivacySettings) -> JobT:
        """Return the trial's job; a private one as yet with any noise."""

    @abstractmethod
    def calibrated(self, task: Task, job: JobT) -> JobT:
        """Return the job with the noise that its epsilon needs. Raises: EpsilonInvalid."""

    @abstractmethod
    def events(self, task: Task, job: JobT) -> tuple[Sequence[Event], int]:
        """Return what the job costs a customer in order, and how much of it before round 1."""

    @abstractmethod
    def sizes(self, task: Task, job: JobT) -> tuple[int, int]:
        """Return the bytes of a round's question to a partner, and of its answer."""

    @abstractmethod
    def lean(
        self,
        task: Task,
        job: JobT,
        parts: Parts,
        *,
        seed: int,
        watcher: Rounds,
        present: Present | None,
    ) -> None:
        """Train without keys, masks and ledgers.

        Raises: TrainingDiverged, NobodyLeft, UpdatesTooFew.
        """

    @abstractmethod
    def full(self, world: World, job: JobT, run: str, watcher: Watcher) -> Outcome[AnyModel]:
        """Train as deployed. Raises: TrainingDiverged."""


def stated(task: Task, members: Sequence[str], privacy: PrivacySettings) -> dict[str, Any]:
    """Return what the trial's job says, whatever its model."""
    return {
        "name": "trial",
        "requester": members[0],
        "purpose": PURPOSE,
        "dataset": DATASET,
        "members": tuple(members),
        "target": task.customers.target,
        "features": task.customers.features,
        "privacy": privacy,
    }
