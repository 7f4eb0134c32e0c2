"""The horizontal demonstration: three partners train one model, with every protection on.

Guarantee: every figure of the report is measured in this run: AUC on Adult's official test rows,
budgets from the nodes' own ledgers, protection from the nodes' signed receipts, audit logs by
verifying them against the heads that other members countersigned.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from fedmkt.contract.job import Job
from fedmkt.core.errors import RunRefused
from fedmkt.core.stages import Examples
from fedmkt.data import bundled
from fedmkt.data.binning import Binning
from fedmkt.evidence.report import Report
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel
from fedmkt.node.app import node_at
from fedmkt.simulation.demo_folder import make_room, whole_or_not_at_all
from fedmkt.simulation.demo_plan import ARMS, DRAWS, PURPOSE, Arm, job_for, terms
from fedmkt.simulation.demo_report import build_report
from fedmkt.simulation.demo_study import Study, Trained, Twin
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.partition import by_occupation
from fedmkt.simulation.progress import StudyProgress
from fedmkt.simulation.world import World, build_world

REFUSED_ARM = ARMS[1]


@dataclass
class _RoundWatcher:
    """Measures every round's model on public rows and passes it on."""

    arm: Arm
    world: World
    public: PublicTable
    progress: StudyProgress
    rounds: list[tuple[int, float, float]] = field(default_factory=list)
    measuring_s: float = 0.0

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Measure the round."""
        assert isinstance(model, AdditiveModel)
        started = time.monotonic()
        loss, auc = self.public.loss(model), self.public.auc(model).value
        self.rounds.append((number, loss, auc))
        self.progress.finished_round(number, rounds, loss, _lifetime_left(self.world, self.arm))
        self.measuring_s += time.monotonic() - started

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Horizontal trainings count rounds."""


def run_horizontal(
    out: Path, *, seed: int | None, progress: StudyProgress, draws: int = DRAWS
) -> Report:
    """Run the whole study below `out` and return its report (which is not written yet).

    Args: seed: None draws noise from the operating system, as a deployment does; a number makes
        the noise reproducible, which the report names. draws: repetitions of each noised model.
    Raises: SettingInvalid (`out` is no folder); OutputUnwritable, with nothing left of this study;
        and what a run raises.
    """
    aside = make_room(out)
    if aside is not None:
        progress.moved(aside)
    with whole_or_not_at_all(out) as worlds:
        return build_report(_study(out, worlds, seed, progress, draws))


def _study(
    out: Path, worlds: list[World], seed: int | None, progress: StudyProgress, draws: int
) -> Study:
    parts = by_occupation(bundled.load("adult_train"))
    public = PublicTable(bundled.load("adult_test"), bundled.schema("adult"), "income")
    noised = sum(arm.model.rounds for arm in ARMS if arm.epsilon is not None)
    bare = sum(arm.model.rounds for arm in ARMS if arm.epsilon is None)
    progress.planned(bare + draws * noised)
    trained: dict[str, list[Trained]] = {arm.name: [] for arm in ARMS}
    for draw in range(draws):
        folder = out if draw == 0 else out / "draws" / str(draw + 1)
        noise_seed = None if seed is None else seed * draws + draw
        worlds.append(build_world(folder, terms(), parts, noise_seed=noise_seed))
        for arm in ARMS:
            if draw == 0 or arm.epsilon is not None:
                run = arm.name if draw == 0 else f"{arm.name}-draw-{draw + 1}"
                trained[arm.name].append(_train(worlds[-1], arm, run, public, progress))
    _refuse_once_more(worlds[0], public, progress)
    return Study(
        seed=seed,
        public=public,
        rows={partner: part.height for partner, part in parts.items()},
        trained=trained,
        worlds=tuple(worlds),
        twins=twins_without_noise(parts, public),
    )


def _train(
    world: World, arm: Arm, run: str, public: PublicTable, progress: StudyProgress
) -> Trained:
    progress.started(run)
    watcher = _RoundWatcher(arm, world, public, progress)
    job = job_for(arm)
    outcome = world.run(job, run, watcher)
    return Trained(arm.name, job, outcome, world, tuple(watcher.rounds), watcher.measuring_s)


def _refuse_once_more(world: World, public: PublicTable, progress: StudyProgress) -> None:
    """Ask for the dearest model once more; every node's own ledger has to say no."""
    name = f"{REFUSED_ARM.name}-again"
    progress.started(name)
    job = job_for(REFUSED_ARM, name=name)
    try:
        world.run(job, name, _RoundWatcher(REFUSED_ARM, world, public, progress))
    except RunRefused:
        return
    raise AssertionError("a job past its cap was not refused")


def twins_without_noise(parts: dict[str, pl.DataFrame], public: PublicTable) -> tuple[Twin, ...]:
    """Train each partner's model alone and the twin on all rows pooled, without noise."""
    job = job_for(ARMS[0])
    binning = public.binning(job.features, job.model.max_bins)
    tables = {
        partner: replace(public, frame=part).examples(binning) for partner, part in parts.items()
    }
    return (
        *(_twin(partner, [rows], binning, job) for partner, rows in tables.items()),
        _twin(None, list(tables.values()), binning, job),
    )


def _twin(partner: str | None, tables: list[Examples], binning: Binning, job: Job) -> Twin:
    started = time.monotonic()
    state = train_pooled(tables, binning, job.model)
    return Twin(partner, state.model, state.round, time.monotonic() - started)


def _lifetime_left(world: World, arm: Arm) -> float | None:
    home = node_at(world.node(world.members[0])).home
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
    for balance in balances:
        if balance.dataset == arm.dataset and balance.purpose == PURPOSE:
            return balance.lifetime_left
    return None
