"""A vertical trial's world on disk: one contract, one alignment, one training, by real nodes.

Guarantee: everything is as in a deployment but for the network, and for noise that follows from the
seed. The contract allows this training and nothing dearer.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fedmkt.contract.collaboration import Cap, Dataset, LabelMode, VerticalTerms
from fedmkt.contract.vertical_jobs import AlignmentJob, CountPrivacy, Party, VerticalJob
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel
from fedmkt.node.app import node_at
from fedmkt.node.model_parts import read_part
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.partitions.columns import KEYS
from fedmkt.simulation.vertical_partition import PURPOSE, PartyData
from fedmkt.simulation.world import Terms, World, build_world

Parties = Mapping[str, PartyData]
ALIGNMENT = "alignment"
_SIZE_EPSILON = 0.5
_LARGEST_CAP = 100.0
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)


def dataset_of(member: str) -> str:
    """Return the name of a member's dataset."""
    return f"{member}-customers"


def train_deployed(
    job: VerticalJob, parties: Parties, *, seed: int, run: str, folder: Path
) -> tuple[dict[str, AdditiveModel], SharedOutcome]:
    """Align the members' customers and train, in an empty folder.

    Returns: each party's part as it counts in a score, and what the training sent, without the
    alignment. Raises: what the runs raise.
    """
    world = vertical_world(job, parties, seed=seed, folder=folder)
    try:
        world.run_shared(alignment_for(job), ALIGNMENT, _Unwatched())
        outcome = world.run_shared(job, run, _Unwatched())
        return {name: _part(world, name, run) for name in job.members}, outcome
    finally:
        world.close()


def vertical_world(job: VerticalJob, parties: Parties, *, seed: int, folder: Path) -> World:
    """Make the homes of a training's members below an empty folder. Raises: OutputUnwritable."""
    return build_world(
        folder,
        _terms(job, parties),
        {name: party.table for name, party in parties.items()},
        noise_seed=seed,
        consents={name: party.consent for name, party in parties.items()},
    )


class _Unwatched:
    """Shows nothing."""

    def finished_round(self, number: int, rounds: int, model: AnyModel) -> None:
        """Show nothing."""

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Show nothing."""


def _part(world: World, member: str, run: str) -> AdditiveModel:
    return read_part(node_at(world.node(member)).home, run).counted(member)


def alignment_for(job: VerticalJob) -> AlignmentJob:
    """Return the alignment that a training uses."""
    multiplier = noise_multiplier_for(epsilon=_SIZE_EPSILON, delta=job.labels.delta, releases=2)
    return AlignmentJob(
        name=ALIGNMENT,
        requester=job.owner,
        purpose=PURPOSE,
        parties=tuple(Party(member=name, dataset=dataset_of(name)) for name in job.members),
        keys=tuple(key.key for key in KEYS),
        privacy=CountPrivacy(
            epsilon=_SIZE_EPSILON, delta=job.labels.delta, noise_multiplier=multiplier
        ),
    )


def _terms(job: VerticalJob, parties: Parties) -> Terms:
    """Return a contract that allows this alignment and this training, and nothing dearer."""
    epsilon, mode = job.labels.epsilon, job.labels.mode
    datasets = tuple(_dataset(name, job, parties, mode) for name in job.members)
    # A filter admits less than is lost in the end, so its cap stands above the job's epsilon.
    most = None if epsilon is None else min(_LARGEST_CAP, 2 * epsilon + 2)
    caps = tuple(
        Cap(
            dataset=dataset.name,
            delta=job.labels.delta,
            lifetime_epsilon=most,
            exact_scores_lifetime=job.model.rounds,
            alignments_lifetime=1,
        )
        for dataset in datasets
    )
    return Terms("study", datasets, caps, _NEVER)


def _dataset(name: str, job: VerticalJob, parties: Parties, mode: LabelMode) -> Dataset:
    return Dataset(
        name=dataset_of(name),
        population=dataset_of(name),
        holders=(name,),
        uses={PURPOSE: (job.owner,)},
        modes=("none",) if job.labels.epsilon is None else ("local",),
        minimum_audience=1,
        minimum_overlap=1,
        quality_floor=0.0,
        vertical=VerticalTerms(
            keys=KEYS,
            modes=(mode,),
            most_levels=job.model.levels,
            most_limit=job.model.limit,
        ),
        table=parties[name].schema,
    )
