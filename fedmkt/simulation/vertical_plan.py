"""What the vertical demonstration runs: its contract, its jobs, and their settings.

The settings were chosen on training rows alone (`simulations/choose_vertical_settings.py`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fedmkt.contract.collaboration import Cap, Dataset, VerticalTerms
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
from fedmkt.data.binning import binning_from_schema
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.vertical_partition import PARTIES, PURPOSE, PartyData
from fedmkt.simulation.world import Terms
from fedmkt.vertical.plan import calibrated_multiplier
from fedmkt.vertical.student import student_bound

DELTA = 1e-5
OWNER = PARTIES[0]
PARTNERS = PARTIES[1:]
TARGET = "income"
ALIGNMENT = "alignment"
JOINT = "joint"
OVERLAP = "overlap"
SCORING = "scoring"
LABEL_EPSILON = 3.0
_SIZE_EPSILON = 0.5
_STUDENT_EPSILON = 1.0
_CLIP = 3.0  # log-odds
_VALID_DAYS = 365
_KEYS = ("email", "phone")

SETTINGS = VerticalSettings(rounds=4, step=(0.9, 0.7, 0.6, 0.5))


def dataset_of(member: str) -> str:
    """Return the name of a member's dataset."""
    return f"{member}-customers"


def terms(parties: Mapping[str, PartyData]) -> Terms:
    """Return the contract's datasets, one a party, and their caps."""
    datasets = tuple(_dataset(member, party) for member, party in parties.items())
    caps = tuple(cap for member in parties for cap in _caps(member))
    ends = datetime.now(UTC) + timedelta(days=_VALID_DAYS)
    return Terms("demo-vertical", datasets, caps, ends)


def _dataset(member: str, party: PartyData) -> Dataset:
    return Dataset(
        name=dataset_of(member),
        population=dataset_of(member),
        holders=(member,),
        uses={PURPOSE: (OWNER,)},
        minimum_audience=1000,
        minimum_overlap=1000,
        vertical=VerticalTerms(keys=party.keys),
        table=party.schema,
    )


def _caps(member: str) -> tuple[Cap, ...]:
    name = dataset_of(member)
    epsilon = 12.0 if member == OWNER else 4.0
    return (
        Cap(
            dataset=name,
            delta=DELTA,
            lifetime_epsilon=epsilon,
            exact_scores_lifetime=40,
            alignments_lifetime=4,
        ),
        Cap(
            dataset=name,
            purpose=PURPOSE,
            delta=DELTA,
            period_epsilon=epsilon * 0.9,
            lifetime_epsilon=epsilon,
            uses_per_day=20,
        ),
    )


def _sizes(epsilon: float = _SIZE_EPSILON) -> CountPrivacy:
    multiplier = noise_multiplier_for(epsilon=epsilon, delta=DELTA, releases=2)
    return CountPrivacy(epsilon=epsilon, delta=DELTA, noise_multiplier=multiplier)


def overlap_job(partner: str) -> OverlapJob:
    """Return the job that asks how many customers the bank and a partner share."""
    return OverlapJob(
        name=OVERLAP,
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties((OWNER, partner)),
        key=_KEYS[0],
        privacy=_sizes(),
    )


def alignment_job() -> AlignmentJob:
    """Return the job that finds the customers all four members share."""
    return AlignmentJob(
        name=ALIGNMENT,
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties(PARTIES),
        keys=_KEYS,
        privacy=_sizes(),
    )


def training_job(
    name: str,
    parties: Mapping[str, PartyData],
    partners: tuple[str, ...] = PARTNERS,
    *,
    epsilon: float = LABEL_EPSILON,
    settings: VerticalSettings = SETTINGS,
) -> VerticalJob:
    """Return a training with `partners`, its noise calibrated to `epsilon`."""
    members = (OWNER, *partners)
    stated = tuple(
        Party(member=member, dataset=dataset_of(member), features=features_of(parties[member]))
        for member in members
    )
    multiplier = calibrated_multiplier(
        epsilon=epsilon,
        delta=DELTA,
        rounds=settings.rounds,
        features=sum(len(party.features) for party in stated),
        bins=sum(
            binning_from_schema(
                parties[party.member].schema, party.features, max_bins=settings.max_bins
            ).total
            for party in stated
        ),
    )
    return VerticalJob(
        name=name,
        requester=OWNER,
        purpose=PURPOSE,
        parties=stated,
        alignment=ALIGNMENT,
        owner=OWNER,
        target=TARGET,
        model=settings,
        labels=LabelPrivacy(
            mode="encrypted", epsilon=epsilon, delta=DELTA, noise_multiplier=multiplier
        ),
        restart=len(partners) > 2,
    )


def scoring_job() -> ScoringJob:
    """Return the job that scores all aligned customers with the joint model."""
    return ScoringJob(
        name=SCORING,
        requester=OWNER,
        purpose=PURPOSE,
        parties=_parties(PARTIES),
        alignment=ALIGNMENT,
        owner=OWNER,
        model=JOINT,
    )


def expansion_job(partner: str, parties: Mapping[str, PartyData]) -> ExpansionJob:
    """Return the job that teaches `partner` a student of the joint model."""
    features = features_of(parties[partner])
    multiplier = noise_multiplier_for(
        epsilon=_STUDENT_EPSILON,
        delta=DELTA,
        releases=1,
        grid_bound=student_bound(len(features), _CLIP),
    )
    return ExpansionJob(
        name=f"expansion-{partner}",
        requester=OWNER,
        purpose=PURPOSE,
        parties=(
            Party(member=OWNER, dataset=dataset_of(OWNER)),
            Party(member=partner, dataset=dataset_of(partner), features=features),
        ),
        alignment=ALIGNMENT,
        owner=OWNER,
        model=JOINT,
        clip=_CLIP,
        privacy=CountPrivacy(epsilon=_STUDENT_EPSILON, delta=DELTA, noise_multiplier=multiplier),
    )


def features_of(party: PartyData) -> tuple[str, ...]:
    """Return the names of a party's feature columns."""
    return tuple(column.name for column in party.schema.columns if column.use == "feature")


def _parties(members: tuple[str, ...]) -> tuple[Party, ...]:
    return tuple(Party(member=member, dataset=dataset_of(member)) for member in members)
