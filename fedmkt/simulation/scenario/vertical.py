"""Vertical scenarios: what each partner's columns add to what the label owner knows by itself.

Guarantee: all models of a trial are measured on the same test customers, whom no party had in a
training. A customer whom a model's partners do not all know is scored by the owner's own model, as
a deployment would do. With protocol `full` every joint training is the deployed one, over identity
keys, contract, alignment and protected inner products; each pays for its own noise. Split networks
are trained in one place only (`vertical_split`).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import ColumnConstant, OneClassOnly, TrainingDiverged
from fedmkt.core.stages import FloatArray
from fedmkt.data.tables import positives
from fedmkt.evaluation.metrics import auc, log_loss
from fedmkt.models.tasks import Propensity
from fedmkt.simulation.scenario.rows import DIVERGED, Method, Row, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical_customers import Known, SharedCustomers, columns_of
from fedmkt.simulation.scenario.vertical_models import AdditiveModels, Fitted, VerticalModels
from fedmkt.simulation.scenario.vertical_part import SplitModel
from fedmkt.simulation.scenario.vertical_training import Trainer

_TASK = Propensity()
# Rough seconds on one core: a world, a customer's blinded identifier, and a customer in a round.
_WORLD_S, _ALIGNED_S, _ROW_S = 0.5, 5e-4, 5e-6


def seconds_of_vertical(setting: Setting) -> float:
    """Return about how long a trial takes on one core."""
    partners, model = len(columns_of(setting)) - 1, setting.model
    rows = setting.data.rows or 30_000
    trainings = partners + 1 if partners > 1 else 1
    steps = model.rounds
    if isinstance(model, SplitModel):
        steps *= model.local_steps
    work = (trainings + 1) * rows * steps * _ROW_S
    if setting.protocol == "lean":
        return work
    return work + trainings * (_WORLD_S + rows * _ALIGNED_S * partners)


def run_vertical(task: Task) -> list[Row]:
    """Train the owner's model alone, with each partner and with all, and measure them.

    Where the owner's own model diverges, so does the trial: all others are measured beside it.
    Raises: what a run raises but TrainingDiverged.
    """
    assert isinstance(task.customers, SharedCustomers), "the family's own way of dealing out"
    started, owner = time.monotonic(), task.customers.owner
    try:
        rows = list(_Trial(task, task.customers).rows())
    except TrainingDiverged as error:
        last = _round(error)
        rows = [
            Row("alone", last, owner, status=DIVERGED),
            Row("federated", last, status=DIVERGED),
        ]
    except ColumnConstant as error:
        raise ColumnConstant(**error.fields | {"advice": _advice(task.setting)}) from None
    task.seconds["joint"] = time.monotonic() - started
    return rows


def _advice(setting: Setting) -> str:
    """Return what to do about a column with too few customers in all bins but one."""
    if setting.data.kind == "generated":
        return "Raise data.generator.rows."
    return "Leave it out of vertical.columns, or train on more customers (data.rows)."


@dataclass
class _Ruler:
    """Measures scores of the test customers."""

    customers: SharedCustomers
    target: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.target = positives(
            self.customers.public.frame, self.customers.schema, self.customers.target
        )

    def measured(self, scores: FloatArray) -> tuple[float, float]:
        """Return AUC and mean log loss. Raises: OneClassOnly."""
        return auc(self.target, scores), log_loss(self.target, _TASK.mean(scores))

    def auc_among(self, scores: FloatArray, known: Known) -> float | None:
        """Return the AUC among some test customers, None where they are of one class."""
        try:
            return auc(self.target[known], scores[known])
        except OneClassOnly:
            return None


@dataclass
class _Trial:
    """One trial's models and what was measured of them."""

    task: Task
    customers: SharedCustomers
    models: VerticalModels = field(init=False)
    ruler: _Ruler = field(init=False)
    own: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.models = _models_of(self.task, self.customers)
        self.ruler = _Ruler(self.customers)
        self.own = self.models.alone()

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the trial."""
        everybody, compare = self.customers.partners, self.task.setting.compare
        together = self._trained("federated", everybody)
        shares = self._shares(everybody, together[1])
        for name in everybody:
            row = together[0] if len(everybody) == 1 else self._trained("pair", (name,))[0]
            yield self._of_party(replace(row, method="pair", partner=name), shares)
        if "alone" in compare:
            yield self._of_party(self._alone(), shares)
        if "pooled" in compare:
            yield self._trained("pooled", everybody)[0]
        if self.customers.truth is not None:
            yield Row("truth", self.models.rounds, auc=self.customers.truth.bayes_auc)
        yield together[0]

    def _alone(self) -> Row:
        found, loss = self.ruler.measured(self.own)
        return Row("alone", self.models.rounds, self.customers.owner, auc=found, log_loss=loss)

    def _trained(
        self, method: Method, partners: tuple[str, ...]
    ) -> tuple[Row, Mapping[str, FloatArray]]:
        """Return the row of the owner with some partners, and the score's parts; none diverged."""
        pooled = method == "pooled"
        run = "-".join((self.task.run, *(partners if method == "pair" else (method,))))
        deployed = self.task.setting.protocol == "full" and not pooled
        folder = self.task.folder / run if deployed else None
        try:
            fitted = self.models.together(partners, noised=not pooled, run=run, folder=folder)
        except TrainingDiverged as error:
            return Row(method, _round(error), status=DIVERGED), {}
        return self._measured(method, partners, fitted), fitted.parts

    def _measured(self, method: Method, partners: tuple[str, ...], fitted: Fitted) -> Row:
        known, sent = self._known(partners), fitted.sent
        scores = np.where(known, fitted.scores, self.own)
        found, loss = self.ruler.measured(scores)
        before = self.ruler.auc_among(self.own, known)
        after = self.ruler.auc_among(scores, known)
        return Row(
            method,
            self.models.rounds,
            auc=found,
            log_loss=loss,
            epsilon=fitted.epsilon,
            bytes_up=sent.bytes_up if sent else None,
            bytes_down=sent.bytes_down if sent else None,
            exchanges=sent.exchanges if sent else None,
            gain=found - self.ruler.measured(self.own)[0],
            shared_auc=after,
            shared_gain=None if before is None or after is None else after - before,
        )

    def _of_party(self, row: Row, shares: dict[str, float]) -> Row:
        """Return a party's row with its share in the joint score, measured and true."""
        truth = self.customers.truth
        name = str(row.partner)
        true = None if truth is None else truth.shares[name]
        return replace(row, share=shares.get(name), true_share=true)

    def _shares(
        self, partners: tuple[str, ...], parts: Mapping[str, FloatArray]
    ) -> dict[str, float]:
        """Return cov(part, score) / var(score) of each part, over customers whom all know."""
        known = self._known(partners)
        if not parts or known.sum() < 2:
            return {}
        among = {name: part[known] for name, part in parts.items()}
        score = np.sum(list(among.values()), axis=0)
        spread = float(np.var(score))
        if not spread:
            return {}
        return {
            name: float(np.mean((part - part.mean()) * (score - score.mean()))) / spread
            for name, part in among.items()
        }

    def _known(self, partners: tuple[str, ...]) -> Known:
        masks = np.array([self.customers.known[name] for name in partners])
        return np.asarray(masks.all(axis=0))


def _round(error: TrainingDiverged) -> int:
    return int(str(error.fields["round"]))


def _models_of(task: Task, customers: SharedCustomers) -> VerticalModels:
    """Return the family that the trial trains. Raises: ExtraMissing."""
    if isinstance(task.setting.model, SplitModel):
        # The extra's library: whoever simulates no network does without it.
        from fedmkt.simulation.scenario.vertical_split import SplitModels

        return SplitModels(task.setting, customers, task.seed)
    return AdditiveModels(Trainer(task.setting, customers, task.seed))
