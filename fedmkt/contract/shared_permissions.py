"""What the contract allows of a job over shared customers: judged by every node, for all parties.

Guarantee: a job that passes uses, at every member, a declared dataset with vertical terms, for a
declared purpose, asked by a requester named for it, in an allowed mode and within the agreed
limits, before the contract ends. Names are compared exactly: another spelling is denied.
"""

from collections.abc import Iterable
from datetime import datetime

from fedmkt.contract.collaboration import (
    Collaboration,
    Dataset,
    LabelMode,
    SplitMode,
    VerticalTerms,
)
from fedmkt.contract.permissions import allow_features, allow_target, allow_use, in_force
from fedmkt.contract.schema import Name
from fedmkt.contract.split_job import SplitJob
from fedmkt.contract.vertical_jobs import (
    AlignmentJob,
    ExpansionJob,
    OverlapJob,
    Party,
    ScoringJob,
    SharedJob,
    VerticalJob,
)
from fedmkt.core.errors import DatasetUnknown, DeltaTooLarge, ModeNotAllowed, VerticalNotAllowed


def allow_shared(
    contract: Collaboration, job: SharedJob, *, member: str, now: datetime
) -> dict[str, Dataset]:
    """Return the dataset each member may use in the job; `member` is the node that asks.

    Raises: a Refusal naming the first rule that says no.
    """
    in_force(contract, now)
    if job.party(member) is None:
        raise DatasetUnknown(member=member, dataset="of the job")
    datasets = {party.member: _dataset(contract, job, party) for party in job.parties}
    match job:
        case OverlapJob():
            _allow_keys(datasets.values(), (job.key,))
            _allow_delta(contract, datasets.values(), job.privacy.delta)
        case AlignmentJob():
            _allow_alignment(contract, job, datasets)
        case VerticalJob():
            _allow_training(contract, job, datasets)
        case SplitJob():
            _allow_split(contract, job, datasets)
        case ScoringJob():
            _allow_scoring(job, datasets)
        case ExpansionJob():
            owner, partner = (datasets[party.member] for party in job.parties)
            _allow_delta(contract, (owner,), job.privacy.delta)
            allow_features(partner, job.parties[1].features, job.purpose, guarded=False)
        case _:
            problem = "no rule of the contract covers such a job"
            raise VerticalNotAllowed(dataset=job.parties[0].dataset, problem=problem)
    return datasets


def terms_of(dataset: Dataset) -> VerticalTerms:
    """Return the vertical terms of a dataset. Raises: VerticalNotAllowed where there are none."""
    if dataset.vertical is None:
        problem = "the contract has no vertical terms for it"
        raise VerticalNotAllowed(dataset=dataset.name, problem=problem)
    return dataset.vertical


def _dataset(contract: Collaboration, job: SharedJob, party: Party) -> Dataset:
    dataset = contract.dataset(party.dataset)
    if dataset is None or party.member not in dataset.holders:
        raise DatasetUnknown(member=party.member, dataset=party.dataset)
    allow_use(dataset, job.purpose, job.requester)
    terms_of(dataset)
    return dataset


def _allow_keys(datasets: Iterable[Dataset], keys: tuple[str, ...]) -> None:
    kinds: dict[str, str] = {}
    for dataset in datasets:
        for key in keys:
            column = terms_of(dataset).key(key)
            if column is None:
                raise VerticalNotAllowed(dataset=dataset.name, problem=f"it has no key {key}")
            # One rule for all: the same identifier normalised in two ways never meets itself.
            if kinds.setdefault(key, column.kind) != column.kind:
                raise VerticalNotAllowed(
                    dataset=dataset.name, problem=f"key {key} is of another kind elsewhere"
                )


def _allow_alignment(
    contract: Collaboration, job: AlignmentJob, datasets: dict[str, Dataset]
) -> None:
    _allow_keys(datasets.values(), job.keys)
    if job.privacy is not None:
        _allow_delta(contract, datasets.values(), job.privacy.delta)
    for dataset in datasets.values():
        if job.exact_sizes and not terms_of(dataset).exact_sizes:
            raise VerticalNotAllowed(dataset=dataset.name, problem="exact sizes are not allowed")


def _allow_training(
    contract: Collaboration, job: VerticalJob, datasets: dict[str, Dataset]
) -> None:
    model, mode = job.model, job.labels.mode
    for party in job.parties:
        dataset = datasets[party.member]
        terms = terms_of(dataset)
        _allow_mode(dataset, mode)
        _allow_most(dataset, "levels", model.levels, terms.most_levels)
        _allow_most(dataset, "limit", model.limit, terms.most_limit)
        _allow_most(dataset, "rounds", model.rounds, terms.most_rounds)
        allow_features(dataset, party.features, job.purpose, guarded=job.allow_audit_features)
    _allow_labels(contract, job, datasets[job.owner])


def _allow_split(contract: Collaboration, job: SplitJob, datasets: dict[str, Dataset]) -> None:
    for party in job.parties:
        dataset = datasets[party.member]
        # Privacy: activations are seen, so every member must have named the mode itself.
        _allow_mode(dataset, job.labels.mode)
        _allow_most(dataset, "rounds", job.model.rounds, terms_of(dataset).most_rounds)
        allow_features(dataset, party.features, job.purpose, guarded=job.allow_audit_features)
    _allow_labels(contract, job, datasets[job.owner])


def _allow_mode(dataset: Dataset, mode: LabelMode | SplitMode) -> None:
    modes = terms_of(dataset).modes
    if mode not in modes:
        raise ModeNotAllowed(dataset=dataset.name, mode=mode, allowed=", ".join(modes))


def _allow_most(dataset: Dataset, name: str, asked: float, most: float) -> None:
    if asked > most:
        problem = f"{name} {asked:g} is over the agreed {most:g}"
        raise VerticalNotAllowed(dataset=dataset.name, problem=problem)


def _allow_labels(contract: Collaboration, job: VerticalJob | SplitJob, owner: Dataset) -> None:
    allow_target(owner, job.target)
    if job.labels.epsilon is not None:
        _allow_delta(contract, (owner,), job.labels.delta)


def _allow_scoring(job: ScoringJob, datasets: dict[str, Dataset]) -> None:
    for member in job.partners:
        if job.parts and not terms_of(datasets[member]).parts:
            problem = "parts of scores are not to be shown"
            raise VerticalNotAllowed(dataset=datasets[member].name, problem=problem)


def _allow_delta(contract: Collaboration, datasets: Iterable[Dataset], delta: float) -> None:
    for dataset in datasets:
        allowed = contract.root_cap(dataset).delta
        if delta > allowed:
            raise DeltaTooLarge(dataset=dataset.name, asked=delta, allowed=allowed)


def features_of(job: SharedJob, member: str) -> tuple[Name, ...]:
    """Return the columns of `member` in the job."""
    party = job.party(member)
    return () if party is None else party.features
