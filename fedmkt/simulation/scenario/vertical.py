"""Vertical scenarios: what each partner's columns add to what the label owner knows by itself.

Guarantee: all models of a trial are measured on the same test customers, whom no party had in a
training. A customer whom a model's partners do not all know is scored by the owner's own model, as
a deployment would do. With protocol `full` every joint training is the deployed one, over identity
keys, contract, alignment and protected inner products; each pays for its own noise.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.vertical_jobs import MOST_PARTIES, VerticalSettings
from fedmkt.core.errors import OneClassOnly, ScenarioPartMissing, SettingInvalid, TrainingDiverged
from fedmkt.core.stages import CodeArray, FloatArray
from fedmkt.data.binning import encode
from fedmkt.data.tables import positives
from fedmkt.evaluation.metrics import auc, log_loss
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.tasks import Propensity
from fedmkt.simulation.scenario.customers import source_of
from fedmkt.simulation.scenario.parts import LinkPart, ParticipationPart
from fedmkt.simulation.scenario.rows import DIVERGED, Method, Row, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.vertical_customers import Known, SharedCustomers, columns_of
from fedmkt.simulation.scenario.vertical_training import (
    Joint,
    Models,
    Trainer,
    vertical_settings,
)
from fedmkt.simulation.world import COORDINATOR

KIND = "vertical"
_TASK = Propensity()
# Rough seconds on one core: a world, a customer's blinded identifier, and a customer in a round.
_WORLD_S, _ALIGNED_S, _ROW_S = 0.5, 5e-4, 5e-6


def check_vertical(setting: Setting) -> None:
    """Refuse what cannot be simulated. Raises: ScenarioPartMissing, SettingInvalid."""
    if not isinstance(setting.model, AdditiveSettings):
        raise ScenarioPartMissing(key="model.family", value="network", known="additive, vertically")
    for key, value, plain in (
        ("participation", setting.participation, ParticipationPart()),
        ("link", setting.link, LinkPart()),
    ):
        if value != plain:
            problem = "it is not simulated where partition.kind = vertical"
            raise SettingInvalid(setting=f"[{key}]", problem=problem)
    _check_model(setting.model)
    _check_privacy(setting)


def seconds_of_vertical(setting: Setting) -> float:
    """Return about how long a trial takes on one core."""
    settings, partners = vertical_settings(setting), len(columns_of(setting)) - 1
    rows = setting.data.rows or 30_000
    trainings = partners + 1 if partners > 1 else 1
    work = (trainings + 1) * rows * settings.rounds * _ROW_S
    if setting.protocol == "lean":
        return work
    return work + trainings * (_WORLD_S + rows * _ALIGNED_S * partners)


def run_vertical(task: Task) -> list[Row]:
    """Train the owner's model alone, with each partner and with all, and measure them.

    Raises: what a run raises but TrainingDiverged.
    """
    assert isinstance(task.customers, SharedCustomers), "the family's own way of dealing out"
    started = time.monotonic()
    trial = _Trial(task, task.customers)
    rows = list(trial.rows())
    task.seconds["joint"] = time.monotonic() - started
    return rows


@dataclass
class _Ruler:
    """Measures models on the test customers, whose codes are made once."""

    trainer: Trainer
    target: NDArray[np.uint8] = field(init=False)
    _codes: dict[str, CodeArray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        customers = self.trainer.customers
        frame = customers.public.frame
        self.target = positives(frame, customers.schema, customers.target)
        for name in customers.columns:
            binning = self.trainer.binning(name)
            self._codes[name] = encode(frame, binning, dataset="the test customers")

    def part(self, party: str, model: AdditiveModel) -> FloatArray:
        """Return what a party's part adds to each test customer's score, (test rows,)."""
        return model.scores(self._codes[party])

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
    trainer: Trainer = field(init=False)
    ruler: _Ruler = field(init=False)
    own: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.trainer = Trainer(self.task.setting, self.customers, self.task.seed)
        self.ruler = _Ruler(self.trainer)
        self.own = self.ruler.part(self.customers.owner, self.trainer.alone())

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
            rounds = self._settings.rounds
            yield Row("truth", rounds, auc=self.customers.truth.bayes_auc)
        yield together[0]

    @property
    def _settings(self) -> VerticalSettings:
        return vertical_settings(self.task.setting)

    def _alone(self) -> Row:
        found, loss = self.ruler.measured(self.own)
        owner = self.customers.owner
        return Row("alone", self._settings.rounds, owner, auc=found, log_loss=loss)

    def _trained(self, method: Method, partners: tuple[str, ...]) -> tuple[Row, Models]:
        """Return the row and the models of the owner with some partners; no models diverged."""
        pooled = method == "pooled"
        job = self.trainer.job(partners, noised=not pooled)
        run = "-".join((self.task.run, *(partners if method == "pair" else (method,))))
        try:
            if self.task.setting.protocol == "full" and not pooled:
                joint = self.trainer.as_deployed(job, run, self.task.folder / run)
            else:
                joint = self.trainer.in_one_place(job, run)
        except TrainingDiverged as error:
            return Row(method, int(str(error.fields["round"])), status=DIVERGED), {}
        row = self._measured(method, partners, joint)
        return replace(row, epsilon=self.trainer.spent(job)), joint.models

    def _measured(self, method: Method, partners: tuple[str, ...], joint: Joint) -> Row:
        known = self._known(partners)
        scores = np.where(known, self._score(joint.models), self.own)
        found, loss = self.ruler.measured(scores)
        before = self.ruler.auc_among(self.own, known)
        after = self.ruler.auc_among(scores, known)
        sent = joint.outcome
        return Row(
            method,
            self._settings.rounds,
            auc=found,
            log_loss=loss,
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

    def _shares(self, partners: tuple[str, ...], models: Models) -> dict[str, float]:
        """Return cov(part, score) / var(score) of each part, over customers whom all know."""
        known = self._known(partners)
        if not models or known.sum() < 2:
            return {}
        parts = {name: self.ruler.part(name, model)[known] for name, model in models.items()}
        score = np.sum(list(parts.values()), axis=0)
        spread = float(np.var(score))
        if not spread:
            return {}
        return {
            name: float(np.mean((part - part.mean()) * (score - score.mean()))) / spread
            for name, part in parts.items()
        }

    def _score(self, models: Models) -> FloatArray:
        parts = [self.ruler.part(name, model) for name, model in models.items()]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float64)

    def _known(self, partners: tuple[str, ...]) -> Known:
        masks = np.array([self.customers.known[name] for name in partners])
        return np.asarray(masks.all(axis=0))


def _check_model(model: AdditiveSettings) -> None:
    most = VerticalSettings.model_fields["rounds"].metadata
    largest = next(rule.le for rule in most if hasattr(rule, "le"))
    if model.rounds > largest:
        problem = f"a vertical training has {largest} rounds at most"
        raise SettingInvalid(setting=f"model.rounds = {model.rounds}", problem=problem)
    if model.surveys:
        problem = "vertical trainings take declared edges"
        raise SettingInvalid(setting=f"model.edges = {model.edges}", problem=problem)


def check_parties(setting: Setting) -> None:
    """Refuse parties and customers that cannot be. Raises: ScenarioPartMissing, SettingInvalid."""
    if setting.data.kind != "generated":
        source_of(setting.data)
    columns = columns_of(setting)
    count, partition = len(columns), setting.partition
    if not 2 <= count <= MOST_PARTIES:
        problem = f"2 to {MOST_PARTIES} parties are needed, not {count}"
        raise SettingInvalid(setting="[vertical]", problem=problem)
    if "partners" in partition.model_fields_set and partition.partners != count:
        problem = f"[vertical] names {count} parties; leave it out"
        name = f"partition.partners = {partition.partners}"
        raise SettingInvalid(setting=name, problem=problem)
    if COORDINATOR in columns:
        raise SettingInvalid(setting=f"the party {COORDINATOR}", problem="the name is taken")
    if setting.data.features:
        problem = "where partition.kind = vertical, vertical.columns says who has which"
        raise SettingInvalid(setting="data.features", problem=problem)


def _check_privacy(setting: Setting) -> None:
    mode, trust = setting.vertical.mode, setting.privacy.trust
    if trust == "distributed":
        problem = "in a vertical training the label owner alone adds noise; say local"
        raise SettingInvalid(setting="privacy.trust = distributed", problem=problem)
    if mode == "label_private" and trust == "none":
        problem = "randomised labels need privacy.trust = local and privacy.epsilon"
        raise SettingInvalid(setting=f"vertical.mode = {mode}", problem=problem)
    if mode == "label_private" and setting.protocol == "full":
        problem = (
            "an alignment's order, drawn anew each time, says whose label is flipped, so the same "
            "seed would not give the same results; say protocol = lean"
        )
        raise SettingInvalid(setting=f"vertical.mode = {mode}", problem=problem)
