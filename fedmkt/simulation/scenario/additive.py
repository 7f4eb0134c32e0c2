"""The additive family: one horizontal training a trial, with its pooled and single twins.

Guarantee: with protocol `full` the training is the deployed one, over keys, contract, masks and
ledgers in a folder of its own; only its noise follows from the seed. Twins carry no noise.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.contract.permissions import MINIMUM_MEMBERS
from fedmkt.core.errors import ScenarioPartMissing, SettingInvalid, TrainingDiverged
from fedmkt.horizontal.plan import planned_releases
from fedmkt.horizontal.survey import public_binning
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.scenario.lean import train_lean
from fedmkt.simulation.scenario.parts import LinkPart, ParticipationPart
from fedmkt.simulation.scenario.rows import DIVERGED, Method, Row, Ruler, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.world import Terms, build_world

MOST_ALONE = 20
DATASET = "customers"
PURPOSE = "study"
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)
_LARGEST_CAP = 100.0
# Rough seconds on one core: a world, a member of it, a row and a lean partner in a round, and the
# masks of two members in a round. They order trials; the estimate mends itself by what trials take.
_WORLD_S, _MEMBER_S, _ROW_S, _PARTNER_S, _PAIR_S = 0.3, 0.1, 1e-6, 3e-4, 1e-4


def check_additive(setting: Setting) -> None:
    """Refuse what this family cannot simulate. Raises: ScenarioPartMissing, SettingInvalid."""
    for key, value, plain in (
        ("participation", setting.participation, ParticipationPart()),
        ("link", setting.link, LinkPart()),
    ):
        if value != plain:
            changed = {k: v for k, v in value.model_dump().items() if v != getattr(plain, k)}
            name, given = next(iter(changed.items()))
            known = "its default, with model.family = additive"
            raise ScenarioPartMissing(key=f"{key}.{name}", value=given, known=known)
    partners = setting.partition.partners
    if setting.protocol == "full" and partners < MINIMUM_MEMBERS:
        problem = f"protocol = full sums over {MINIMUM_MEMBERS} partners or more; say lean"
        raise SettingInvalid(setting=f"partition.partners = {partners}", problem=problem)


def seconds_of(setting: Setting) -> float:
    """Return about how long a trial takes on one core."""
    assert isinstance(setting.model, AdditiveSettings)
    partners, rounds = setting.partition.partners, setting.model.rounds
    rows = setting.data.rows or 30_000
    work = rounds * rows * _ROW_S * (2 + 2 * len(setting.compare))
    if setting.protocol == "lean":
        return work + rounds * partners * _PARTNER_S
    return work + _WORLD_S + partners * _MEMBER_S + partners**2 * rounds * _PAIR_S


def run_additive(task: Task) -> list[Row]:
    """Train the joint model and its twins. Raises: what a run raises but TrainingDiverged."""
    started = time.monotonic()
    rows = _joint(task)
    task.seconds["joint"] = time.monotonic() - started
    started = time.monotonic()
    for method, partner, parts in _twins(task):
        rows += _twin(task, method, partner, parts)
    task.seconds["twins"] = time.monotonic() - started
    return rows


@dataclass
class _Rounds:
    """Measures every round of one training."""

    ruler: Ruler
    method: Method
    partner: str | None = None
    spent: tuple[float | None, ...] = ()
    rows: list[Row] = field(default_factory=list)

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:  # noqa: ARG002
        """Measure the round."""
        auc, loss = self.ruler.measured(model)
        epsilon = self.spent[number - 1] if self.spent else None
        row = Row(self.method, number, self.partner, auc=auc, log_loss=loss, epsilon=epsilon)
        self.rows.append(row)

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Horizontal trainings count rounds."""

    def diverged(self, number: int) -> None:
        """Write down the round in which the training left the finite numbers."""
        self.rows.append(Row(self.method, number, self.partner, status=DIVERGED))


def _joint(task: Task) -> list[Row]:
    job = _job(task)
    watcher = _Rounds(Ruler(task.customers.public), "federated", spent=_spent(task, job))
    try:
        if task.setting.protocol == "full":
            _in_full(task, job, watcher)
        else:
            train_lean(
                job,
                task.customers.schema,
                task.parts,
                run=task.run,
                seed=task.seed,
                watcher=watcher,
            )
    except TrainingDiverged as error:
        watcher.diverged(_round(error))
    return watcher.rows


def _in_full(task: Task, job: Job, watcher: _Rounds) -> None:
    """Train as deployed, and write what was sent into the last row."""
    world = build_world(task.folder, _terms(task, job), task.parts, noise_seed=task.seed)
    try:
        outcome = world.run(job, task.run, watcher)
    finally:
        world.close()
    watcher.rows[-1] = replace(
        watcher.rows[-1],
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        exchanges=outcome.exchanges,
    )


def _twins(task: Task) -> list[tuple[Method, str | None, Mapping[str, pl.DataFrame]]]:
    """Return the models to train beside the joint one: how, whose, and on which rows."""
    found: list[tuple[Method, str | None, Mapping[str, pl.DataFrame]]] = []
    if "pooled" in task.setting.compare:
        found.append(("pooled", None, task.parts))
    if "alone" in task.setting.compare and len(task.parts) <= MOST_ALONE:
        found += [("alone", name, {name: part}) for name, part in task.parts.items()]
    return found


def _twin(
    task: Task, method: Method, partner: str | None, parts: Mapping[str, pl.DataFrame]
) -> list[Row]:
    bare = PrivacySettings(trust="none", count_weight=1.0)
    job = _job(task).model_copy(update={"privacy": bare, "members": tuple(parts)})
    watcher = _Rounds(Ruler(task.customers.public), method, partner)
    try:
        train_lean(job, task.customers.schema, parts, run=task.run, seed=0, watcher=watcher)
    except TrainingDiverged as error:
        watcher.diverged(_round(error))
    return watcher.rows


def _round(error: TrainingDiverged) -> int:
    return int(str(error.fields["round"]))


def _spent(task: Task, job: Job) -> tuple[float | None, ...]:
    """Return what a customer has lost after each round; empty without noise."""
    if job.privacy.epsilon is None:
        return ()
    releases = planned_releases(job, public_binning(job, task.customers.schema))
    events = [release.event for release in releases]
    first = 1 + job.model.surveys
    return tuple(
        epsilon_of(events[:number], job.privacy.delta) for number in range(first, len(events) + 1)
    )


def _job(task: Task) -> Job:
    """Return the trial's job, its noise calibrated to its epsilon."""
    setting, customers = task.setting, task.customers
    model, asked = setting.model, setting.privacy
    assert isinstance(model, AdditiveSettings), "the table of families"
    privacy = PrivacySettings(trust="none", count_weight=1.0)
    if asked.epsilon is not None:
        privacy = PrivacySettings(
            trust=asked.trust,
            epsilon=asked.epsilon,
            delta=asked.delta,
            noise_multiplier=noise_multiplier_for(
                epsilon=asked.epsilon, delta=asked.delta, releases=model.releases
            ),
        )
    members = tuple(task.parts)
    return Job(
        name="trial",
        requester=members[0],
        purpose=PURPOSE,
        dataset=DATASET,
        members=members,
        target=customers.target,
        features=customers.features,
        model=model,
        privacy=privacy,
    )


def _terms(task: Task, job: Job) -> Terms:
    """Return a contract that allows this job and nothing dearer."""
    epsilon = job.privacy.epsilon
    dataset = Dataset(
        name=DATASET,
        population=DATASET,
        holders=job.members,
        uses={PURPOSE: (job.requester,)},
        modes=(job.privacy.trust,),
        minimum_audience=1,
        quality_floor=0.0,
        table=task.customers.schema,
    )
    # A filter admits less than is lost in the end, so its cap stands above the job's epsilon.
    most = None if epsilon is None else min(_LARGEST_CAP, 2 * epsilon + 2)
    cap = Cap(
        dataset=DATASET,
        delta=job.privacy.delta,
        period_epsilon=most,
        lifetime_epsilon=most,
        uses_lifetime=1,
    )
    return Terms("study", (dataset,), (cap,), _NEVER)
