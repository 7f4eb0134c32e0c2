"""The vertical demonstration: four members with different columns of the same customers.

Guarantee: every step is what deployed nodes do: consent, alignment, training, value report, scoring
and expansion run over the members' own home folders. Beside them stand twins trained in one place,
for comparison, which the report names as such; no deployment could make them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedmkt.contract.job import AnyJob
from fedmkt.coordinator.app import exchanges_of
from fedmkt.core.errors import RunRefused
from fedmkt.data import bundled
from fedmkt.evidence.report import Report
from fedmkt.models.kept import AnyModel
from fedmkt.simulation.demo_folder import make_room, whole_or_not_at_all
from fedmkt.simulation.progress import StudyProgress
from fedmkt.simulation.vertical_partition import PartyData, make_parties
from fedmkt.simulation.vertical_plan import (
    ALIGNMENT,
    JOINT,
    OVERLAP,
    PARTNERS,
    SCORING,
    alignment_job,
    expansion_job,
    overlap_job,
    scoring_job,
    terms,
    training_job,
)
from fedmkt.simulation.vertical_report import build_report
from fedmkt.simulation.vertical_study import Done, VerticalStudy
from fedmkt.simulation.world import World, build_world

PEOPLE_SEED = 20261125
"""Who is whose customer, and how identifiers are spelled, is the same in every demonstration."""
EXPANDED = ("retailer", "map_provider")
REFUSED = "joint-again"


@dataclass
class _StepWatcher:
    """Passes a run's exchanges on to the study's progress."""

    progress: StudyProgress

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Runs over shared customers count exchanges."""

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Show the exchange."""
        self.progress.finished_step(number, steps, name)


def run_vertical(out: Path, *, seed: int | None, progress: StudyProgress) -> Report:
    """Run the whole story below `out` and return its report (which is not written yet).

    Args: seed: None draws noise from the operating system, as a deployment does; a number makes
        the noise reproducible, which the report names.
    Raises: SettingInvalid (`out` is no folder); OutputUnwritable, with nothing left of this study;
        and what a run raises.
    """
    aside = make_room(out)
    if aside is not None:
        progress.moved(aside)
    with whole_or_not_at_all(out) as worlds:
        study = study_vertical(out, seed=seed, progress=progress, worlds=worlds)
        progress.started("measuring")
        return build_report(study)


def study_vertical(
    out: Path, *, seed: int | None, progress: StudyProgress, worlds: list[World]
) -> VerticalStudy:
    """Make the parties and all runs of the story below `out`.

    Args: worlds: the study's world is put in here as soon as it is made, for the caller to close.
    Raises: what the runs raise.
    """
    progress.started("making customers")
    parties = make_parties(bundled.load("adult_train"), seed=PEOPLE_SEED)
    world = build_world(
        out,
        terms(parties),
        {name: party.table for name, party in parties.items()},
        noise_seed=seed,
        consents={name: party.consent for name, party in parties.items()},
    )
    worlds.append(world)
    jobs = _jobs(parties)
    progress.planned(sum(exchanges_of(job) for job in jobs.values()))
    runs = {run: _run(world, job, run, progress) for run, job in jobs.items()}
    _ask_past_the_cap(world, parties, progress)
    return VerticalStudy(seed, world, parties, runs)


def _jobs(parties: Mapping[str, PartyData]) -> dict[str, AnyJob]:
    """Return the runs of the story, in order, by name."""
    jobs: dict[str, AnyJob] = {
        OVERLAP: overlap_job(PARTNERS[0]),
        ALIGNMENT: alignment_job(),
        JOINT: training_job(JOINT, parties),
    }
    for partner in PARTNERS:
        jobs[f"bank-and-{partner}"] = training_job(f"bank-and-{partner}", parties, (partner,))
    jobs[SCORING] = scoring_job()
    for partner in EXPANDED:
        jobs[f"expansion-{partner}"] = expansion_job(partner, parties)
    return jobs


def _run(world: World, job: AnyJob, run: str, progress: StudyProgress) -> Done:
    progress.started(run)
    return Done(job, world.run_shared(job, run, _StepWatcher(progress)))


def _ask_past_the_cap(
    world: World, parties: Mapping[str, PartyData], progress: StudyProgress
) -> None:
    """Ask for a training that would pass the owner's cap; its node has to say no."""
    progress.started(REFUSED)
    job = training_job(REFUSED, parties, epsilon=12.0)
    try:
        world.run_shared(job, REFUSED, _StepWatcher(progress))
    except RunRefused:
        return
    raise AssertionError("a job past its cap was not refused")
