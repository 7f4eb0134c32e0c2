"""What the contract allows: the checks a node makes before it touches its data.

Guarantee: a job that passes uses a declared dataset of this member for a declared purpose, asked
by a requester named for that purpose, in an allowed mode, with declared columns, before the
contract ends.
Purposes and requesters are compared exactly: another spelling is another purpose, and denied.
"""

from datetime import datetime

from fedmkt.contract.collaboration import Collaboration, Dataset
from fedmkt.contract.job import Job
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


def allow(contract: Collaboration, job: Job, *, member: str, now: datetime) -> Dataset:
    """Return the dataset the job may use at `member`.

    Raises: a Refusal naming the first rule that says no.
    """
    if now >= contract.expires:
        raise ContractExpired(expires=contract.expires.date())
    dataset = contract.dataset(job.dataset)
    if dataset is None or not set(job.members) <= set(dataset.holders) or member not in job.members:
        raise DatasetUnknown(member=member, dataset=job.dataset)
    if job.purpose not in dataset.uses:
        allowed = ", ".join(dataset.uses)
        raise PurposeNotAllowed(dataset=dataset.name, purpose=job.purpose, allowed=allowed)
    if job.requester not in dataset.uses[job.purpose]:
        raise RequesterNotAllowed(
            requester=job.requester, purpose=job.purpose, dataset=dataset.name
        )
    delta = contract.root_cap(dataset).delta
    if job.privacy.delta > delta:
        raise DeltaTooLarge(dataset=dataset.name, asked=job.privacy.delta, allowed=delta)
    if job.privacy.trust not in dataset.modes:
        allowed = ", ".join(dataset.modes)
        raise ModeNotAllowed(dataset=dataset.name, mode=job.privacy.trust, allowed=allowed)
    # Security: a sum over fewer than three members shows one member's part to another.
    if len(job.members) < MINIMUM_MEMBERS:
        raise TooFewMembers(needed=MINIMUM_MEMBERS, present=len(job.members))
    _allow_columns(dataset, job)
    return dataset


def _allow_columns(dataset: Dataset, job: Job) -> None:
    declared = {column.name: column for column in dataset.table.columns}
    # Guarded columns need the contract's word for this purpose and the job's own.
    guarded_too = job.allow_audit_features and job.purpose in dataset.guarded_uses
    if job.target not in declared or declared[job.target].use != "target":
        raise ColumnNotAllowed(
            column=job.target, dataset=job.dataset, use="target", advice="Name a declared target."
        )
    for feature in job.features:
        column = declared.get(feature)
        if column is not None and column.use != "target" and (guarded_too or not column.guarded):
            continue
        raise ColumnNotAllowed(
            column=feature,
            dataset=job.dataset,
            use="a feature",
            advice="Drop it, or set allow_audit_features if it is for audits or special.",
        )
