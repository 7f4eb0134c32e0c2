"""What a trial gives: a row a round, measured on the test rows, and how long its parts took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from fedmkt.core.stages import Examples
from fedmkt.evaluation.metrics import auc, log_loss
from fedmkt.models.additive import AdditiveModel
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.scenario.customers import Customers
from fedmkt.simulation.scenario.schema import Setting

Method = Literal["federated", "pooled", "alone", "pair", "truth"]
TRAINED, DIVERGED = "trained", "diverged"


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one model of a trial.

    partner: whose model, where it was trained alone. status: `trained`, or `diverged` where the
    training left the finite numbers in this round, which is then its last. epsilon: what all rounds
    so far cost a customer, None without noise. bytes and exchanges: of the whole training, in its
    last row; None where nothing was sent.
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
    bytes_up: int | None = None
    bytes_down: int | None = None
    exchanges: int | None = None
    gain: float | None = None
    shared_auc: float | None = None
    shared_gain: float | None = None
    share: float | None = None
    true_share: float | None = None


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
    """Measures additive models on the test rows, which are encoded once."""

    public: PublicTable
    _examples: Examples | None = None
    _of: object = None

    def measured(self, model: AdditiveModel) -> tuple[float, float]:
        """Return AUC and mean log loss. Raises: OneClassOnly."""
        if self._examples is None or self._of != model.binning:
            self._examples, self._of = self.public.examples(model.binning), model.binning
        codes, target = self._examples.codes, self._examples.target
        return auc(target, model.scores(codes)), log_loss(target, model.probabilities(codes))
