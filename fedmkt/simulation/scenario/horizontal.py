"""A trial of partners that know the same of different customers, whatever the family of models.

Guarantee: with protocol `full` the training is the deployed one, over keys, contract, masks and
ledgers in a folder of its own; only its noise follows from the seed. Twins carry no noise. Who
takes part in a round follows from the seed and the round alone.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from fedmkt.contract.collaboration import Cap, Dataset
from fedmkt.contract.job import HorizontalJob, PrivacySettings
from fedmkt.contract.permissions import MINIMUM_MEMBERS
from fedmkt.core.errors import (
    NobodyLeft,
    PartitionImpossible,
    ScenarioPartMissing,
    SettingInvalid,
    TrainingDiverged,
    UpdatesTooFew,
)
from fedmkt.data.tables import positives
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.simulation.partitions.participation import RoundDraw, draw_round
from fedmkt.simulation.scenario.clock import clock_of
from fedmkt.simulation.scenario.horizontal_rounds import Rounds
from fedmkt.simulation.scenario.horizontal_trainer import DATASET, PURPOSE, JobT, Parts, Trainer
from fedmkt.simulation.scenario.parts import ParticipationPart
from fedmkt.simulation.scenario.rows import DIVERGED, TOO_FEW, Method, Row, Ruler, Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.world import Terms, build_world

MOST_ALONE = 20
NOISELESS = PrivacySettings(trust="none", count_weight=1.0)
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)
_LARGEST_CAP = 100.0
# Rough seconds on one core: a world, a member of it, and the masks of two members in a round. They
# order trials; the estimate mends itself by what trials take.
_WORLD_S, _MEMBER_S, _PAIR_S = 0.3, 0.1, 1e-4


def check_horizontal(setting: Setting) -> None:
    """Refuse what no family can simulate so. Raises: ScenarioPartMissing, SettingInvalid."""
    partners, takes_part = setting.partition.partners, setting.participation
    if setting.protocol == "full":
        for key, value in takes_part.model_dump().items():
            plain = ParticipationPart.model_fields[key].default
            if value != plain:
                known = f"{plain}; others with protocol = lean"
                raise ScenarioPartMissing(key=f"participation.{key}", value=value, known=known)
        if partners < MINIMUM_MEMBERS:
            problem = f"protocol = full sums over {MINIMUM_MEMBERS} partners or more; say lean"
            raise SettingInvalid(setting=f"partition.partners = {partners}", problem=problem)
    asked = takes_part.drawn.asked(partners)
    if takes_part.quorum > asked:
        problem = f"no round asks more than {asked} partners"
        raise SettingInvalid(setting=f"participation.quorum = {takes_part.quorum}", problem=problem)
    if setting.privacy.trust == "distributed" and takes_part != ParticipationPart():
        # Privacy: shares of noise are sized for those who are there.
        problem = "with it everybody takes part in every round; say trust = local"
        raise SettingInvalid(setting="privacy.trust = distributed", problem=problem)


def full_seconds(setting: Setting, rounds: int) -> float:
    """Return about how long the full protocol itself takes on one core."""
    if setting.protocol == "lean":
        return 0.0
    partners = setting.partition.partners
    return _WORLD_S + partners * _MEMBER_S + partners**2 * rounds * _PAIR_S


def run_horizontal(task: Task, trainer: Trainer[JobT]) -> list[Row]:
    """Train the joint model and its twins. Raises: what a run raises but TrainingDiverged."""
    started = time.monotonic()
    rows = _joint(task, trainer)
    task.seconds["joint"] = time.monotonic() - started
    started = time.monotonic()
    for method, partner, parts in _twins(task):
        rows += _twin(task, trainer, method, partner, parts)
    task.seconds["twins"] = time.monotonic() - started
    return rows


def _joint(task: Task, trainer: Trainer[JobT]) -> list[Row]:
    job = _job(task, trainer)
    draws = None if task.setting.participation == ParticipationPart() else _Draws(task)
    clock = clock_of(task.setting, tuple(task.parts), trainer.sizes(task, job), draws)
    watcher = Rounds(
        Ruler(task.customers.public), "federated", spent=_spent(task, trainer, job), clock=clock
    )
    try:
        if task.setting.protocol == "full":
            _in_full(task, trainer, job, watcher)
        else:
            present = None if draws is None else draws.answering
            trainer.lean(task, job, task.parts, seed=task.seed, watcher=watcher, present=present)
    except TrainingDiverged as error:
        watcher.ended(_round(error), DIVERGED)
    except NobodyLeft as error:
        watcher.ended(_round(error), TOO_FEW)
    except UpdatesTooFew:
        watcher.ended(len(watcher.rows) + 1, TOO_FEW)
    return watcher.rows


class _Draws:
    """Who takes part in each round of a trial; the same whoever asks."""

    def __init__(self, task: Task) -> None:
        self._names, self._seed = tuple(task.parts), task.seed
        self._settings = task.setting.participation.drawn

    def __call__(self, number: int) -> RoundDraw:
        """Return the draw of a round. Raises: NobodyLeft."""
        return draw_round(self._names, self._settings, seed=self._seed, round_number=number)

    def answering(self, number: int) -> Sequence[str]:
        """Return who answers in a round. Raises: NobodyLeft."""
        return self(number).answering


def _in_full(task: Task, trainer: Trainer[JobT], job: JobT, watcher: Rounds) -> None:
    """Train as deployed, and write what was sent into the last row. Raises: PartitionImpossible."""
    for name, part in task.parts.items():
        if positives(part, task.customers.schema, job.target).std() == 0:
            problem = f"{name} has customers of one class alone, which a deployed node refuses"
            advice = "Raise partition.alpha, lower partition.partners, or say protocol = lean."
            raise PartitionImpossible(problem=problem, advice=advice)
    world = build_world(
        task.folder,
        _terms(task, job),
        task.parts,
        noise_seed=task.seed,
        backend=task.setting.backend.chosen,
    )
    try:
        outcome = trainer.full(world, job, task.run, watcher)
    finally:
        world.close()
    watcher.rows[-1] = replace(
        watcher.rows[-1],
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        exchanges=outcome.exchanges,
    )


def _twins(task: Task) -> list[tuple[Method, str | None, Parts]]:
    """Return the models to train beside the joint one: how, whose, and on which rows."""
    found: list[tuple[Method, str | None, Parts]] = []
    if "pooled" in task.setting.compare:
        found.append(("pooled", None, {"pooled": pl.concat(task.parts.values())}))
    if "alone" in task.setting.compare and len(task.parts) <= MOST_ALONE:
        found += [("alone", name, {name: part}) for name, part in task.parts.items()]
    return found


def _twin(
    task: Task, trainer: Trainer[JobT], method: Method, partner: str | None, parts: Parts
) -> list[Row]:
    job = trainer.job(task, tuple(parts), NOISELESS)
    watcher = Rounds(Ruler(task.customers.public), method, partner)
    try:
        trainer.lean(task, job, parts, seed=0, watcher=watcher, present=None)
    except TrainingDiverged as error:
        watcher.ended(_round(error), DIVERGED)
    return watcher.rows


def _round(error: TrainingDiverged | NobodyLeft) -> int:
    return int(str(error.fields["round"]))


def _spent(task: Task, trainer: Trainer[JobT], job: JobT) -> tuple[float | None, ...]:
    """Return what a customer has lost after each round; empty without noise."""
    if job.privacy.epsilon is None:
        return ()
    events, before = trainer.events(task, job)
    return tuple(
        epsilon_of(events[:number], job.privacy.delta)
        for number in range(before + 1, len(events) + 1)
    )


def _job(task: Task, trainer: Trainer[JobT]) -> JobT:
    """Return the trial's job, its noise calibrated to its epsilon."""
    asked, members = task.setting.privacy, tuple(task.parts)
    if asked.budget is None:
        return trainer.job(task, members, NOISELESS)
    privacy = PrivacySettings(
        trust=asked.trust, epsilon=asked.budget, delta=asked.delta, noise_multiplier=1.0
    )
    return trainer.calibrated(task, trainer.job(task, members, privacy))


def _terms(task: Task, job: HorizontalJob) -> Terms:
    """Return a contract that allows this job and nothing dearer."""
    epsilon = job.privacy.epsilon
    dataset = Dataset(
        name=DATASET,
        population=DATASET,
        holders=job.members,
        uses={PURPOSE: (job.requester,)},
        modes=(job.privacy.trust,),
        updates_seen=job.updates_seen,
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
