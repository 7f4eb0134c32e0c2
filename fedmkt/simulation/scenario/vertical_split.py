"""Split networks of a vertical trial, trained in one place by every step of the protocol.

Guarantee: the same seed gives the same networks. Labels that are randomised are so before anything
is made of them, and are all that a training costs a label.
Not guaranteed: privacy. Whoever runs this holds everybody's columns; what activations tell of them
no epsilon bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray
from fedmkt.data.tables import positives
from fedmkt.models.network_shape import NetworkInputs, network_inputs, shape_from_schema
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.dp_sgd.library import one_thread
from fedmkt.privacy.events import RandomisedResponseEvent
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical_customers import SharedCustomers
from fedmkt.simulation.scenario.vertical_models import TEST, Fitted
from fedmkt.simulation.scenario.vertical_part import SplitModel
from fedmkt.simulation.scenario.vertical_training import shared_rows
from fedmkt.simulation.scenario.vertical_world import dataset_of
from fedmkt.vertical.split_network import activations, owner_scores
from fedmkt.vertical.split_noise import noised
from fedmkt.vertical.split_twin import SplitColumns, SplitTwin, first_networks, train_split

_NOISELESS = {"activation_noise": 0.0, "gradient_noise": 0.0}


@dataclass
class SplitModels:
    """Split networks; the test customers' inputs are made once. seed: the trial's."""

    setting: Setting
    customers: SharedCustomers
    seed: int
    settings: SplitModel = field(init=False)
    _tests: dict[str, NetworkInputs] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the test customers' inputs."""
        assert isinstance(self.setting.model, SplitModel), "the family's own check"
        self.settings = self.setting.model
        for name in self.customers.columns:
            frame = self.customers.public.frame
            self._tests[name] = self._columns(name, frame, TEST).inputs

    @property
    def rounds(self) -> int:
        """Return the rounds of a training."""
        return self.settings.rounds

    def alone(self) -> FloatArray:
        """Return the scores of the owner's network over its own columns, (test rows,).

        Raises: TrainingDiverged.
        """
        rows = np.arange(self.customers.training.height)
        noise = ReproducibleNoise(self.seed)
        members, settings = (self.customers.owner,), self.settings
        with one_thread():
            twin = self._trained(members, rows, self._target(rows), settings, noise.stream("alone"))
            return self._scores(members, twin, settings, noise.stream("alone, tested"))

    def together(
        self, partners: tuple[str, ...], *, noised: bool, run: str, folder: Path | None
    ) -> Fitted:
        """Train the owner with partners. Raises: TrainingDiverged, PartitionImpossible."""
        assert folder is None, "the family's own check"
        rows, asked = shared_rows(self.customers, partners), self.setting.privacy
        members, noise = (self.customers.owner, *partners), ReproducibleNoise(self.seed)
        epsilon, spent = asked.budget if noised else None, None
        settings = self.settings if noised else self.settings.model_copy(update=_NOISELESS)
        target: NDArray[np.uint8] | FloatArray = self._target(rows)
        if epsilon is not None:
            target = self.soft_labels(rows, epsilon, noise.stream(f"{run}/labels"))
            spent = epsilon_of([RandomisedResponseEvent(epsilon=epsilon)], asked.delta)
        with one_thread():
            twin = self._trained(members, rows, target, settings, noise.stream(f"{run}/shown"))
            scores = self._scores(members, twin, settings, noise.stream(f"{run}/tested"))
        return Fitted(scores, spent)

    def soft_labels(
        self, rows: NDArray[np.int64], epsilon: float, source: ReproducibleNoise
    ) -> FloatArray:
        """Return what is trained on in place of the labels of training rows, (rows,)."""
        drawn = randomise_labels(self._target(rows), epsilon=epsilon, source=source)
        return unbiased(drawn, epsilon)

    def _trained(
        self,
        members: Sequence[str],
        rows: NDArray[np.int64],
        target: NDArray[np.uint8] | FloatArray,
        settings: SplitModel,
        noise: ReproducibleNoise,
    ) -> SplitTwin:
        frame = self.customers.training[rows]
        parties = [self._columns(name, frame, dataset_of(name)) for name in members]
        secrets = [f"{self.seed} {name}".encode() for name in members]
        networks = first_networks(parties, settings, secrets)
        return train_split(parties, target, settings, networks=networks, noise=noise)

    def _scores(
        self,
        members: Sequence[str],
        twin: SplitTwin,
        settings: SplitModel,
        noise: ReproducibleNoise,
    ) -> FloatArray:
        """Return the scores of the test customers, by what partners would show of them."""
        owner, *partners = members
        sigma, seen = settings.activation_noise, []
        for name, part in zip(partners, twin.partners, strict=True):
            shown = activations(part, self._tests[name], settings)
            seen.append(noised(shown, sigma=sigma, source=noise))
        return owner_scores(twin.owner, self._tests[owner], seen, settings)

    def _columns(self, party: str, frame: pl.DataFrame, dataset: str) -> SplitColumns:
        shape = shape_from_schema(self.customers.schema, self.customers.columns[party], width=1)
        return SplitColumns(party, shape, network_inputs(frame, shape, dataset=dataset))

    def _target(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        frame = self.customers.training[rows]
        return positives(frame, self.customers.schema, self.customers.target)
