"""The receipt a node signs at the end of a run: what it spent and released, and how protected.

Guarantee: drawn from the ledger's committed entries and from the types the releases passed
through, never from what the job promised.
"""

import json
from collections.abc import Mapping, Sequence

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import MaskedUpdate, PrivateUpdate
from fedmkt.evidence.receipts import Receipt, ReleaseStated, sign_receipt
from fedmkt.identity.hash_chain import Head
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.home import NodeHome
from fedmkt.node.training import RunState
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import Release
from fedmkt.storage.contract_files import write_whole
from fedmkt.storage.ledger_store import Entry
from fedmkt.wire.canonical import digest


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
    noised = job.privacy.trust != "none" and all(
        PrivateUpdate.__name__ in stages for stages in state.stages
    )
    delta = job.privacy.delta if noised else None
    receipt = Receipt(
        run=run,
        job_hash=job.hash,
        contract_hash=home.contract_hash,
        member=home.member,
        dataset=job.dataset,
        purpose=job.purpose,
        masked=all(MaskedUpdate.__name__ in stages for stages in state.stages),
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


def keep_model(home: NodeHome, run: str, model: bytes) -> str:
    """Keep a finished run's model in `models/` and return its hash; "" for no model.

    Raises: MessageInvalid when it is not a model.
    """
    if not model:
        return ""
    try:
        parsed = AdditiveModel.from_json(json.loads(model))
    except (ValueError, KeyError, TypeError):
        raise MessageInvalid(kind="close", problem="its model cannot be read") from None
    folder = home.folder / "models"
    folder.mkdir(exist_ok=True)
    # The run's name is the coordinator's text; its hash is a safe file name.
    write_whole(folder / f"{digest(run.encode())[:16]}.json", model)
    return parsed.hash
