"""What a trial gives: a row a round, measured on the test rows, and how long its parts took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.core.stages import Examples
from fedmkt.data.tables import positives
from fedmkt.evaluation.metrics import auc, log_loss
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel
from fedmkt.models.network_shape import NetworkInputs, network_inputs
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.scenario.customers import Customers
from fedmkt.simulation.scenario.schema import Setting

Method = Literal["federated", "pooled", "alone", "pair", "truth"]
TRAINED, DIVERGED, TOO_FEW = "trained", "diverged", "too few partners"
FAILED = "failed: "


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one model of a trial.

    partner: whose model, where it was trained alone. status: `trained`, or `diverged` where the
    training left the finite numbers in this round, which is then its last, or `too few partners`
    where fewer answered in it than the quorum, or than a robust rule needs, or `failed: CODE` where
    the trial could not be simulated, in round 0. epsilon: what all rounds so far cost a customer,
    None without noise. clock_s: simulated seconds since the first round began. bytes and exchanges:
    of the whole training, in its last row; None where nothing was sent.
    Of vertical trials alone: gain: in AUC over the label owner alone. shared_auc, shared_gain: the
    same among test customers whom all parties of the model know. share, true_share: of a party's
    part in the variance of the joint score, and of the true one.
    """

    method: Method
    round: int
    partner: str | None = None
    status: str = TRAINED
    auc: float | None = None
    log_loss: float | None = None
    epsilon: float | None = None
    clock_s: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    exchanges: int | None = None
    gain: float | None = None
    shared_auc: float | None = None
    shared_gain: float | None = None
    share: float | None = None
    true_share: float | None = None


def failed_row(code: str) -> Row:
    """Return the only row of a trial that could not be simulated. code: the error's."""
    return Row("federated", 0, status=f"{FAILED}{code}")


@dataclass(frozen=True, slots=True)
class Task:
    """A trial with its customers, ready to be trained.

    run: what runs are called; noise follows from it and from the seed. folder: an empty one that
    is removed afterwards. parts: each partner's training rows. seconds: filled by the family.
    """

    setting: Setting
    seed: int
    run: str
    customers: Customers
    parts: Mapping[str, pl.DataFrame]
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Ruler:
    """Measures models on the test rows, which are encoded once."""

    public: PublicTable
    _examples: Examples | None = None
    _of: object = None
    _rows: "tuple[NetworkInputs, NDArray[np.uint8]] | None" = None

    def measured(self, model: AnyModel) -> tuple[float, float]:
        """Return AUC and mean log loss. Raises: OneClassOnly, ExtraMissing."""
        if isinstance(model, AdditiveModel):
            return self._additive(model)
        # The extra's library: whoever simulates no network does without it.
        from fedmkt.models.network import Network

        if self._rows is None:
            frame, schema, target = self.public.frame, self.public.schema, self.public.target
            inputs = network_inputs(frame, model.shape, dataset="the public table")
            self._rows = inputs, positives(frame, schema, target)
        inputs, target_values = self._rows
        network = Network(model.shape, model.parameters)
        chances = network.probabilities(inputs)
        return auc(target_values, network.scores(inputs)), log_loss(target_values, chances)

    def _additive(self, model: AdditiveModel) -> tuple[float, float]:
        if self._examples is None or self._of != model.binning:
            self._examples, self._of = self.public.examples(model.binning), model.binning
        codes, target = self._examples.codes, self._examples.target
        return auc(target, model.scores(codes)), log_loss(target, model.probabilities(codes))
