"""Small worlds over shared customers, for tests: Adult's first rows, four parties, real nodes."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedmkt.contract.collaboration import Cap, Dataset, LabelMode, VerticalTerms
from fedmkt.contract.vertical_jobs import (
    AlignmentJob,
    CountPrivacy,
    ExpansionJob,
    LabelPrivacy,
    OverlapJob,
    Party,
    ScoringJob,
    VerticalJob,
    VerticalSettings,
)
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.data import bundled
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.app import node_at
from fedmkt.node.home import NodeHome
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.vertical_partition import PURPOSE, PartyData, make_parties
from fedmkt.simulation.world import Terms, World, build_world
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.student import student_bound

OWNER = "bank"
PARTNERS = ("retailer", "map_provider", "weather_service")
ALL_MODES: tuple[LabelMode, ...] = (
    "encrypted",
    "encrypted_without_noise",
    "label_private",
    "shared_labels",
)
DELTA = 1e-5
KEYS = ("email", "phone")
FINE = VerticalSettings(
    rounds=3, max_bins=16, levels=2**16 + 1, limit=8.0, holdout=0.25, step=(0.7,)
)


class Quiet:
    """A watcher that counts exchanges."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def finished_round(self, number: int, rounds: int, model: AdditiveModel) -> None:
        """Count nothing."""

    def finished_step(self, number: int, steps: int, name: str) -> None:
        """Note the exchange."""
        self.steps.append(name)


def parties_of(people: int = 1500, *, seed: int = 5) -> dict[str, PartyData]:
    """Return four parties over the first rows of Adult."""
    return make_parties(bundled.load("adult_train").head(people), seed=seed)


def dataset_of(member: str) -> str:
    """Return a member's dataset."""
    return f"{member}-customers"


def vertical_terms(party: PartyData, **changes: object) -> VerticalTerms:
    """Return generous terms."""
    stated = {
        "keys": party.keys,
        "modes": ALL_MODES,
        "exact_sizes": True,
        "parts": True,
        "most_levels": 2**18 + 1,
        "most_limit": 16.0,
        "least_bin": 5,
        "least_seed": 50,
        **changes,
    }
    return VerticalTerms.model_validate(stated)


def terms_for(
    parties: Mapping[str, PartyData],
    *,
    noised: bool = True,
    minimum_overlap: int = 50,
    exact_scores: int | None = 100,
    alignments: int | None = 20,
    epsilon: float = 50.0,
    vertical: Mapping[str, Mapping[str, object]] | None = None,
) -> Terms:
    """Return a contract's datasets and caps. noised: False leaves out caps on epsilon."""
    datasets = tuple(
        Dataset(
            name=dataset_of(member),
            population=dataset_of(member),
            holders=(member,),
            uses={PURPOSE: (OWNER,), "measurement": (OWNER,)},
            modes=("local",) if noised else ("none",),
            minimum_audience=50,
            minimum_overlap=minimum_overlap,
            quality_floor=0.5,
            vertical=vertical_terms(party, **(vertical or {}).get(member, {})),
            table=party.schema,
        )
        for member, party in parties.items()
    )
    caps = tuple(
        Cap(
            dataset=dataset.name,
            delta=DELTA,
            lifetime_epsilon=epsilon if noised else None,
            exact_scores_lifetime=exact_scores,
            alignments_lifetime=alignments,
            uses_lifetime=200,
        )
        for dataset in datasets
    )
    return Terms("small", datasets, caps, datetime.now(UTC) + timedelta(days=30))


def world_of(
    folder: Path, parties: Mapping[str, PartyData], terms: Terms, *, seed: int | None = 3
) -> World:
    """Build the world's home folders."""
    return build_world(
        folder,
        terms,
        {member: party.table for member, party in parties.items()},
        noise_seed=seed,
        consents={member: party.consent for member, party in parties.items()},
    )


def sizes(epsilon: float = 1.0) -> CountPrivacy:
    """Return privacy of two noised sizes."""
    multiplier = noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=2)
    return CountPrivacy(epsilon=epsilon, delta=DELTA, noise_multiplier=multiplier)


def _parties(members: tuple[str, ...]) -> tuple[Party, ...]:
    return tuple(Party(member=member, dataset=dataset_of(member)) for member in members)


def overlap_job(partner: str = PARTNERS[0], **changes: object) -> OverlapJob:
    """Return an overlap job between the bank and a partner."""
    stated = OverlapJob(
        name="overlap",
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties((OWNER, partner)),
        key="email",
        privacy=sizes(),
    )
    return stated.model_copy(update=changes)


def alignment_job(
    partners: tuple[str, ...] = PARTNERS, *, exact: bool = True, **changes: object
) -> AlignmentJob:
    """Return an alignment of the bank and partners."""
    stated = AlignmentJob(
        name="alignment",
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties((OWNER, *partners)),
        keys=KEYS,
        exact_sizes=exact,
        privacy=None if exact else sizes(),
    )
    return stated.model_copy(update=changes)


def training_job(
    parties: Mapping[str, PartyData],
    partners: tuple[str, ...] = PARTNERS,
    *,
    mode: LabelMode = "encrypted_without_noise",
    epsilon: float | None = None,
    settings: VerticalSettings = FINE,
    alignment: str = "alignment",
    restart: bool = False,
    owner_features: bool = True,
    **changes: object,
) -> VerticalJob:
    """Return a training of the bank and partners."""
    stated = tuple(
        Party(
            member=member,
            dataset=dataset_of(member),
            features=features_of(parties[member]) if owner_features or member != OWNER else (),
        )
        for member in (OWNER, *partners)
    )
    multiplier = None
    if mode == "encrypted":
        assert epsilon is not None
        multiplier = calibrated_multiplier(
            epsilon=epsilon,
            delta=DELTA,
            rounds=settings.rounds,
            features=sum(len(party.features) for party in stated),
            bins=1024,
        )
    job = VerticalJob(
        name="training",
        requester=OWNER,
        purpose=PURPOSE,
        parties=stated,
        alignment=alignment,
        owner=OWNER,
        target="income",
        restart=restart,
        model=settings,
        labels=LabelPrivacy(mode=mode, epsilon=epsilon, delta=DELTA, noise_multiplier=multiplier),
    )
    return job.model_copy(update=changes)


def scoring_job(
    model: str, partners: tuple[str, ...] = PARTNERS, *, parts: bool = False
) -> ScoringJob:
    """Return a scoring with a trained model."""
    return ScoringJob(
        name="scoring",
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties((OWNER, *partners)),
        alignment="alignment",
        owner=OWNER,
        model=model,
        parts=parts,
    )


def expansion_job(
    model: str, parties: Mapping[str, PartyData], partner: str = "map_provider"
) -> ExpansionJob:
    """Return an expansion that teaches one partner."""
    features = features_of(parties[partner])
    multiplier = noise_multiplier_for(
        epsilon=5.0,
        delta=DELTA,
        releases=1,
        dimensions=1024,
        grid_bound=student_bound(len(features), 3.0),
    )
    return ExpansionJob(
        name="expansion",
        requester=OWNER,
        purpose=PURPOSE,
        parties=(
            Party(member=OWNER, dataset=dataset_of(OWNER)),
            Party(member=partner, dataset=dataset_of(partner), features=features),
        ),
        alignment="alignment",
        owner=OWNER,
        model=model,
        privacy=CountPrivacy(epsilon=5.0, delta=DELTA, noise_multiplier=multiplier),
    )


def features_of(party: PartyData) -> tuple[str, ...]:
    """Return a party's feature columns."""
    return tuple(column.name for column in party.schema.columns if column.use == "feature")


def home_of(world: World, member: str) -> NodeHome:
    """Return a member's open home."""
    return node_at(world.node(member)).home


def run(world: World, job: object, name: str) -> SharedOutcome:
    """Run a job."""
    return world.run_shared(job, name, Quiet())  # type: ignore[arg-type]


def copied(world: World, folder: Path) -> World:
    """Return a copy of a world below `folder`, so that a test may break it."""
    world.close()
    shutil.copytree(world.folder, folder, dirs_exist_ok=True)
    return World(folder, world.members)
