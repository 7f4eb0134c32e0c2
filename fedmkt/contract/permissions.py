"""What the contract allows: the checks a node makes before it touches its data.

Guarantee: a job that passes uses a declared dataset of this member for a declared purpose, asked
by a requester named for that purpose, in an allowed mode, with declared columns, before the
contract ends.
Purposes and requesters are compared exactly: another spelling is another purpose, and denied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fedmkt.contract.collaboration import Collaboration, Dataset
from fedmkt.contract.job import HorizontalJob
from fedmkt.core.errors import (
    ColumnNotAllowed,
    ContractExpired,
    DatasetUnknown,
    DeltaTooLarge,
    ModeNotAllowed,
    PurposeNotAllowed,
    RequesterNotAllowed,
    TooFewMembers,
)

MINIMUM_MEMBERS = 3


@dataclass(frozen=True, slots=True)
class UpdatesSeen:
    """A dataset's word that a coordinator may see each holder's update over it by itself.

    Guarantee: there is none for a dataset that does not say so, so what asks for one has looked.
    Raises: ModeNotAllowed.
    """

    dataset: Dataset

    def __post_init__(self) -> None:
        """Look at what the contract says of the dataset. Raises: ModeNotAllowed."""
        if not self.dataset.updates_seen:
            raise ModeNotAllowed(
                dataset=self.dataset.name, mode="updates seen", allowed="masked sums"
            )


def allow(contract: Collaboration, job: HorizontalJob, *, member: str, now: datetime) -> Dataset:
    """Return the dataset the job may use at `member`.

    Raises: a Refusal naming the first rule that says no.
    """
    in_force(contract, now)
    dataset = contract.dataset(job.dataset)
    if dataset is None or not set(job.members) <= set(dataset.holders) or member not in job.members:
        raise DatasetUnknown(member=member, dataset=job.dataset)
    allow_use(dataset, job.purpose, job.requester)
    delta = contract.root_cap(dataset).delta
    if job.privacy.delta > delta:
        raise DeltaTooLarge(dataset=dataset.name, asked=job.privacy.delta, allowed=delta)
    if job.privacy.trust not in dataset.modes:
        allowed = ", ".join(dataset.modes)
        raise ModeNotAllowed(dataset=dataset.name, mode=job.privacy.trust, allowed=allowed)
    if job.updates_seen:
        UpdatesSeen(dataset)
    # Security: a sum over fewer than three members shows one member's part to another.
    if len(job.members) < MINIMUM_MEMBERS:
        raise TooFewMembers(needed=MINIMUM_MEMBERS, present=len(job.members))
    allow_target(dataset, job.target)
    allow_features(dataset, job.features, job.purpose, guarded=job.allow_audit_features)
    return dataset


def in_force(contract: Collaboration, now: datetime) -> None:
    """Raise ContractExpired once the contract has ended."""
    if now >= contract.expires:
        raise ContractExpired(expires=contract.expires.date())


def allow_use(dataset: Dataset, purpose: str, requester: str) -> None:
    """Raise PurposeNotAllowed or RequesterNotAllowed unless the dataset's uses name both."""
    if purpose not in dataset.uses:
        allowed = ", ".join(dataset.uses)
        raise PurposeNotAllowed(dataset=dataset.name, purpose=purpose, allowed=allowed)
    if requester not in dataset.uses[purpose]:
        raise RequesterNotAllowed(requester=requester, purpose=purpose, dataset=dataset.name)


def allow_target(dataset: Dataset, target: str) -> None:
    """Raise ColumnNotAllowed unless `target` is declared as one."""
    if not any(one.name == target and one.use == "target" for one in dataset.table.columns):
        raise ColumnNotAllowed(
            column=target, dataset=dataset.name, use="target", advice="Name a declared target."
        )


def allow_features(
    dataset: Dataset, features: Sequence[str], purpose: str, *, guarded: bool
) -> None:
    """Raise ColumnNotAllowed for a feature the schema does not let this purpose use.

    guarded: whether the job itself asks for audit and special columns.
    """
    declared = {column.name: column for column in dataset.table.columns}
    # Guarded columns need the contract's word for this purpose and the job's own.
    guarded_too = guarded and purpose in dataset.guarded_uses
    for feature in features:
        column = declared.get(feature)
        if column is not None and column.use != "target" and (guarded_too or not column.guarded):
            continue
        raise ColumnNotAllowed(
            column=feature,
            dataset=dataset.name,
            use="a feature",
            advice="Drop it, or set allow_audit_features if it is for audits or special.",
        )
