"""The horizontal demonstration: three partners train one model, with every protection on.

Guarantee: every figure of the report is measured in this run: AUC on Adult's official test rows,
budgets from the nodes' own ledgers, protection from the nodes' signed receipts, audit logs by
verifying them against the heads that other members countersigned.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from fedmkt.contract.job import Job
from fedmkt.core.errors import (
    FedmktError,
    NodeFailed,
    OutputUnwritable,
    RunRefused,
    SettingInvalid,
    StorageFailed,
)
from fedmkt.core.stages import Examples
from fedmkt.data import bundled
from fedmkt.data.binning import Binning
from fedmkt.evidence.report import Report
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.app import node_at
from fedmkt.simulation.demo_plan import ARMS, DRAWS, PURPOSE, Arm, job_for, terms
from fedmkt.simulation.demo_report import build_report
from fedmkt.simulation.demo_study import Study, Trained, Twin
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.partition import by_occupation
from fedmkt.simulation.progress import StudyProgress
from fedmkt.simulation.world import World, build_world
from fedmkt.storage.whole_file import unwritable

REFUSED_ARM = ARMS[1]
_UNWRITTEN = (OutputUnwritable.code, StorageFailed.code)
_FOLDERS = ("nodes", "coordinator", "jobs", "draws", "report.html", "report.json")
_MARKER = ".fedmkt-demo"  # only what stands beside it is a demonstration's to move


@dataclass
class _RoundWatcher:
    """Measures every round's model on public rows and passes it on."""

    arm: Arm
    world: World
    public: PublicTable
    progress: StudyProgress
    rounds: list[tuple[int, float, float]] = field(default_factory=list)
    measuring_s: float = 0.0

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        """Measure the round."""
        started = time.monotonic()
        loss, auc = self.public.loss(model), self.public.auc(model).value
        self.rounds.append((number, loss, auc))
        self.progress.finished_round(number, rounds, loss, _lifetime_left(self.world, self.arm))
        self.measuring_s += time.monotonic() - started


def run_horizontal(
    out: Path, *, seed: int | None, progress: StudyProgress, draws: int = DRAWS
) -> Report:
    """Run the whole study below `out` and return its report (which is not written yet).

    Args: seed: None draws noise from the operating system, as a deployment does; a number makes
        the noise reproducible, which the report names. draws: repetitions of each noised model.
    Raises: SettingInvalid (`out` is no folder); OutputUnwritable, with nothing left of this study;
        and what a run raises.
    """
    aside = _make_room(out)
    if aside is not None:
        progress.moved(aside)
    with _whole_or_not_at_all(out) as worlds:
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
    return Study(
        seed=seed,
        public=public,
        rows={partner: part.height for partner, part in parts.items()},
        trained=trained,
        refused=_refused_job(worlds[0], public, progress),
        worlds=tuple(worlds),
        twins=_twins(parts, public),
    )


@contextmanager
def _whole_or_not_at_all(out: Path) -> Iterator[list[World]]:
    """Close the worlds that are put into the list; remove them when they could not be written."""
    worlds: list[World] = []
    try:
        try:
            yield worlds
        finally:
            for world in worlds:
                world.close()
    except (OutputUnwritable, StorageFailed) as error:
        _remove(out)
        raise OutputUnwritable(path=out, problem=error.fields["problem"]) from None
    except NodeFailed as error:
        if error.fields["error"] not in _UNWRITTEN:
            raise
        _remove(out)
        problem = f"a node reported {error.fields['error']}"
        raise OutputUnwritable(path=out, problem=problem) from None


def _remove(out: Path) -> None:
    """Remove what this study wrote; what was there before it stands aside."""
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)


def _make_room(out: Path) -> Path | None:
    """Move what an earlier demonstration left in `out` aside, and return where it is now.

    None of it is deleted, and nothing that no demonstration made is moved. Raises: SettingInvalid.
    """
    with unwritable(out):
        if out.exists() and not out.is_dir():
            raise SettingInvalid(setting=f"--out {out}", problem="it is a file, not a folder")
        out.mkdir(parents=True, exist_ok=True)
        left = [out / name for name in _FOLDERS if (out / name).exists()]
        marker = out / _MARKER
        if left and not marker.exists():
            names = ", ".join(path.name for path in left)
            problem = f"no demonstration made what stands there ({names}); choose another folder"
            raise SettingInvalid(setting=f"--out {out}", problem=problem)
        marker.touch()
        if not left:
            return None
        number = 1
        while (out / f"earlier-{number}").exists():
            number += 1
        aside = out / f"earlier-{number}"
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
        return aside


def _train(
    world: World, arm: Arm, run: str, public: PublicTable, progress: StudyProgress
) -> Trained:
    progress.started(run)
    watcher = _RoundWatcher(arm, world, public, progress)
    job = job_for(arm)
    outcome = world.run(job, run, watcher)
    return Trained(arm, job, outcome, world, tuple(watcher.rounds), watcher.measuring_s)


def _refused_job(world: World, public: PublicTable, progress: StudyProgress) -> FedmktError:
    """Ask for the dearest model once more; every node's own ledger has to say no."""
    name = f"{REFUSED_ARM.name}-again"
    progress.started(name)
    job = job_for(REFUSED_ARM, name=name)
    try:
        world.run(job, name, _RoundWatcher(REFUSED_ARM, world, public, progress))
    except RunRefused as refused:
        return refused
    raise AssertionError("a job past its cap was not refused")


def _twins(parts: dict[str, pl.DataFrame], public: PublicTable) -> tuple[Twin, ...]:
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
