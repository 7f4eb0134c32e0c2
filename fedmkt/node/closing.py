"""The receipt a node signs at the end of a run: what it spent and released, and how protected.

Guarantee: drawn from the ledger's committed entries and from the types the releases passed
through, never from what the job promised.
"""

from collections.abc import Mapping, Sequence

from fedmkt.core.stages import MaskedUpdate, PrivateUpdate
from fedmkt.evidence.receipts import Receipt, ReleaseStated, sign_receipt
from fedmkt.identity.hash_chain import Head
from fedmkt.node.home import NodeHome
from fedmkt.node.training import RunState
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import Release
from fedmkt.storage.ledger_store import Entry


def receipt_of(
    home: NodeHome,
    run: str,
    state: RunState,
    model_hash: str,
    heads: Mapping[str, str],
    entries: Sequence[Entry],
    head: Head,
) -> bytes:
    """Return the signed receipt of a run."""
    job = state.job
    spent = [entry for entry in entries if entry.state == "spent"]
    noised = _all_passed(state.stages, PrivateUpdate)
    delta = job.privacy.delta if noised else None
    receipt = Receipt(
        run=run,
        job_hash=job.hash,
        contract_hash=home.contract_hash,
        member=home.member,
        dataset=job.dataset,
        purpose=job.purpose,
        masked=_all_passed(state.stages, MaskedUpdate),
        noised=noised,
        trust=job.privacy.trust,
        noise_source=home.noise.name if noised else None,
        releases=tuple(ReleaseStated.of(_release(entry)) for entry in spent),
        epsilon=epsilon_of([entry.event for entry in spent], delta) if delta is not None else None,
        delta=delta,
        audit_head=str(head),
        model_hash=model_hash,
        heads=dict(heads),
    )
    return sign_receipt(receipt, home.identity)


def _release(entry: Entry) -> Release:
    return Release(index=entry.release, name=entry.name, event=entry.event)


def _all_passed(stages: Sequence[str], kind: type) -> bool:
    """Whether there were releases and each passed the stage; a run of none claims nothing."""
    return bool(stages) and all(kind.__name__ in passed.split() for passed in stages)
