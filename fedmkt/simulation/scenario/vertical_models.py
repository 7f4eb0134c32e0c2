"""What a vertical trial measures of a family of models, and the additive one.

Guarantee: all scores are of the trial's test customers, in their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.core.stages import CodeArray, FloatArray
from fedmkt.data.binning import encode
from fedmkt.models.additive import AdditiveModel
from fedmkt.simulation.scenario.vertical_training import Trainer, vertical_settings

TEST = "the test customers"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training gave.

    scores: (test rows,), log-odds, as if all its members knew everybody. epsilon: what it costs a
    label, None without noise. parts: what each member adds to the scores, (test rows,) each, empty
    where a score is no sum of parts. sent: by the deployed run, None in one place.
    """

    scores: FloatArray = field(repr=False)
    epsilon: float | None
    parts: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)
    sent: SharedOutcome | None = None


class VerticalModels(Protocol):
    """A family's trainings in one trial."""

    @property
    def rounds(self) -> int:
        """Return the rounds of a training."""

    def alone(self) -> FloatArray:
        """Return the scores of the owner's own model, (test rows,). Raises: TrainingDiverged."""

    def together(
        self, partners: tuple[str, ...], *, noised: bool, run: str, folder: Path | None
    ) -> Fitted:
        """Train the owner with partners; over their homes where there is a folder for them.

        Raises: what a run raises, TrainingDiverged among it; PartitionImpossible.
        """


@dataclass
class AdditiveModels:
    """Additive models; the codes of the test customers are made once."""

    trainer: Trainer
    _codes: dict[str, CodeArray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the test customers' codes."""
        customers = self.trainer.customers
        for name in customers.columns:
            binning = self.trainer.binning(name)
            self._codes[name] = encode(customers.public.frame, binning, dataset=TEST)

    @property
    def rounds(self) -> int:
        """Return the rounds of a training."""
        return vertical_settings(self.trainer.setting).rounds

    def alone(self) -> FloatArray:
        """Return the scores of the owner's own model, (test rows,)."""
        return self._part(self.trainer.customers.owner, self.trainer.alone())

    def together(
        self, partners: tuple[str, ...], *, noised: bool, run: str, folder: Path | None
    ) -> Fitted:
        """Train the owner with partners. Raises: as `VerticalModels`."""
        job = self.trainer.job(partners, noised=noised)
        if folder is None:
            joint = self.trainer.in_one_place(job, run)
        else:
            joint = self.trainer.as_deployed(job, run, folder)
        parts = {name: self._part(name, model) for name, model in joint.models.items()}
        scores = np.asarray(np.sum(list(parts.values()), axis=0), dtype=np.float64)
        return Fitted(scores, self.trainer.spent(job), parts, joint.outcome)

    def _part(self, party: str, model: AdditiveModel) -> FloatArray:
        return model.scores(self._codes[party])
