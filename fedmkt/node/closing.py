"""The receipt a node signs at the end of a run: what it spent and released, and how protected.

Guarantee: drawn from the ledger's committed entries and from what each release passed through, as
the step that made it wrote down. In a horizontal training those are the types of its updates; over
shared customers a program names them, and tests hold its words to what leaves. Before it signs, a
node looks at the heads of others' logs that it is shown: a fork is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedmkt.core.errors import AuditCut
from fedmkt.core.stages import MaskedUpdate, PrivateUpdate, TrainedUpdate
from fedmkt.evidence.receipts import Receipt, ReleaseStated, sign_receipt
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.signed_message import verify_head
from fedmkt.node.answer import AnyProgram, RunState
from fedmkt.node.home import NodeHome
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import Event, ExactEvent, NonPrivateEvent, Release
from fedmkt.storage.ledger_store import Entry
from fedmkt.wire.run import CloseRequest

EXACT = "Exact"
"""Stands among the stages of a release that is counted, since no epsilon bounds it."""
MASKED = (MaskedUpdate.__name__, "MaskedProducts", "MaskedTotals", "BlindedList")
NOISED = (PrivateUpdate.__name__, TrainedUpdate.__name__, "RandomisedLabels")


@dataclass(frozen=True, slots=True)
class Ended:
    """A run at its end. heads: the members' latest heads as this member saw them."""

    program: AnyProgram
    state: RunState
    model_hash: str
    heads: Mapping[str, str]


def receipt_of(
    home: NodeHome, run: str, ended: Ended, entries: Sequence[Entry], head: Head
) -> bytes:
    """Return the signed receipt of a run."""
    job, stages = ended.state.job, ended.state.stages
    stated = ended.program.stated(home, job)
    spent = [entry for entry in entries if entry.state == "spent"]
    counted = [entry for entry in spent if isinstance(entry.event, ExactEvent)]
    priced = [entry.event for entry in spent if entry not in counted]
    noised = _noised(priced, stages)
    delta = stated.delta if noised else None
    receipt = Receipt(
        run=run,
        kind=job.kind,
        mode=stated.mode,
        job_hash=job.hash,
        contract_hash=home.contract_hash,
        member=home.member,
        dataset=stated.dataset,
        purpose=job.purpose,
        masked=_all_passed(stages, MASKED),
        noised=noised,
        trust=stated.trust,
        noise_source=home.noise.name if noised else None,
        releases=tuple(ReleaseStated.of(_release(entry)) for entry in spent),
        epsilon=None if delta is None else epsilon_of(priced, delta),
        delta=delta,
        audit_head=str(head),
        model_hash=ended.model_hash,
        heads=dict(ended.heads),
    )
    return sign_receipt(receipt, home.identity)


def check_heads(home: NodeHome, run: str, request: CloseRequest) -> None:
    """Look at the members' heads that a close shows. Raises: AuditCut, SignatureInvalid."""
    with home.store.transaction() as tx:
        last = home.runs.heads(tx)
    for member, (text, signature) in request.heads.items():
        verify_head(run, member, text, signature, home.directory)
        head, before = Head.parse(text), last.get(member)
        if before is None or head.sequence > before.sequence or head == before:
            continue
        # An older head is no proof: a run that opened earlier may close later. It is noted, and
        # whoever verifies that log against the later head finds out.
        home.audit.append("older_head", {"member": member, "head": text, "seen": str(before)})
        # Security: two records under one number are a fork.
        if head.sequence == before.sequence:
            raise AuditCut(path=f"the audit log of {member}", record=before.sequence)


def _release(entry: Entry) -> Release:
    return Release(index=entry.release, name=entry.name, event=entry.event)


def _noised(priced: Sequence[Event], stages: Sequence[str]) -> bool:
    """Tell whether all that was spent and is priced carries noise.

    A release that could not be made is spent too, and passed no stage: its event tells.
    """
    made = _of_priced(stages)
    bounded = bool(priced) and not any(isinstance(one, NonPrivateEvent) for one in priced)
    return bounded and (not made or _all_passed(made, NOISED))


def _of_priced(stages: Sequence[str]) -> list[str]:
    """Return the stages of releases that an epsilon bounds, or would if they carried noise."""
    return [passed for passed in stages if EXACT not in passed.split()]


def _all_passed(stages: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether there were releases and each passed the stage; a run of none claims nothing."""
    return bool(stages) and all(set(kinds) & set(passed.split()) for passed in stages)
