"""What leaves a node, and what becomes durable with it: replies, refusals, the end of a run.

Guarantees:
- a release is committed in the same transaction that stores its reply, before the reply leaves:
  what crashes in between either never existed or is spent and sent again byte for byte;
- what a step makes is stored only if the run's state is still the one it was made from, so of two
  processes that answer at once one alone does;
- an equal request gets the stored bytes, another for the same step is refused.
A run's state is sealed under a key of this node's identity.
"""

from fedmkt.contract.job import parse_job_json
from fedmkt.core.errors import (
    FedmktError,
    Refusal,
    RequestConflict,
    RunNotOpen,
)
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.identity.signed_message import sign_head, sign_message
from fedmkt.node.answer import Answer
from fedmkt.node.home import CLOSED, NodeHome
from fedmkt.node.programs import OpenedRun, opened_state, over_bytes, state_bytes
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import Body, OpenRequest, Refused
from fedmkt.wire.steps import Request, parse_request
from fedmkt.wire.training import MaskRequest, UpdateRequest


def stored_reply(home: NodeHome, message: Envelope, request_hash: str) -> bytes | None:
    """Return what was answered to a request before, None where nothing was.

    Raises: RequestConflict (another request for the step), RunNotOpen (the step ended the run).
    """
    with home.store.transaction() as tx:
        known = home.runs.reply(tx, message.run, message.step)
    if known is None:
        return None
    if known[0] != request_hash:
        # Security: the same mask over two different models would be a two-time pad.
        raise RequestConflict(step=message.step, run=message.run)
    if not known[1]:
        raise RunNotOpen(run=message.run)
    return known[1]


def release_answer(
    home: NodeHome, message: Envelope, request_hash: str, answer: Answer, loaded: bytes | None
) -> bytes:
    """Make an answer durable, return its reply. loaded: the sealed state it was made from."""
    facts = {"run": message.run, "step": message.step, **answer.facts}
    if answer.commits:
        # Recovery counts by the record what `commits` spends, so both are written from one.
        facts["releases"] = list(answer.commits)
    # The record comes first: a crash leaves a record too many, never one too few.
    head = home.audit.append(answer.record, facts)
    reply = reply_to(home, message, answer.body, head)
    sealed = seal(_state_key(home), state_bytes(answer.state), context=message.run.encode())
    with home.store.transaction() as tx:
        known = home.runs.reply(tx, message.run, message.step)
        if known is not None and known[0] == request_hash:
            return known[1]
        # Security: another process may have moved the run on; its used masks must stay used.
        if known is not None or home.runs.load(tx, message.run) != loaded:
            raise RequestConflict(step=message.step, run=message.run)
        for release in answer.commits:
            # Privacy: spend, state and reply become durable together, or not at all.
            home.ledger.commit(tx, message.run, release)
        home.runs.save(tx, message.run, sealed)
        home.runs.remember_head(tx, home.member, head.sequence, head.hash)
        home.runs.remember_reply(tx, message.run, message.step, request_hash, reply)
    return reply


def end_run(
    home: NodeHome,
    message: Envelope,
    request_hash: str,
    found: OpenedRun,
    sealed: bytes,
    error: Exception,
) -> None:
    """End a run whose step failed: it can be closed and no more, and one release is spent."""
    run = message.run
    with home.store.transaction() as tx:
        entries = home.ledger.entries(tx, run)
    planned = [entry.release for entry in entries if entry.state == "planned"]
    # Privacy: sums cost differently; the one that was asked for is the one that was made.
    request = parse_request(message.step, message.body)
    asked = request.sum_index if isinstance(request, MaskRequest | UpdateRequest) else None
    spent = [asked] if asked in planned else planned[:1]
    code = error.code if isinstance(error, FedmktError) else "internal_error"
    head = home.audit.append(
        "ended", {"run": run, "step": message.step, "code": code, "releases": spent}
    )
    over = seal(_state_key(home), over_bytes(found.state), context=run.encode())
    with home.store.transaction() as tx:
        # Security: another process may have answered meanwhile; then the run goes on there.
        if home.runs.load(tx, run) != sealed:
            raise RequestConflict(step=message.step, run=run)
        for release in spent:
            home.ledger.commit(tx, run, release)
        home.runs.save(tx, run, over)
        home.runs.remember_head(tx, home.member, head.sequence, head.hash)
        home.runs.remember_reply(tx, run, message.step, request_hash, b"")


def refuse_request(home: NodeHome, message: Envelope, request: Request, refusal: Refusal) -> bytes:
    """Write a refusal down with its reason; return its reply, which has the code alone."""
    facts = {
        "run": message.run,
        "step": message.step,
        "job": _job_named(message, request),
        "code": refusal.code,
        "reason": str(refusal),
    }
    head = home.audit.append("refused", facts)
    return reply_to(home, message, Refused(code=refusal.code), head)


def reply_to(home: NodeHome, message: Envelope, body: Body, head: Head) -> bytes:
    """Return a signed reply with the head of the audit log."""
    envelope = Envelope(
        contract=message.contract,
        run=message.run,
        step=message.step,
        sender=home.member,
        receiver=message.sender,
        body=body.to_bytes(),
        head=str(head),
        head_signature=sign_head(message.run, home.member, str(head), home.identity),
    )
    return sign_message(envelope, home.identity)


def sealed_state(home: NodeHome, run: str) -> bytes:
    """Return the sealed state of a run that goes on. Raises: RunNotOpen."""
    with home.store.transaction() as tx:
        sealed = home.runs.load(tx, run)
    if sealed is None or sealed == CLOSED:
        raise RunNotOpen(run=run)
    return sealed


def opened_run(home: NodeHome, run: str, sealed: bytes) -> OpenedRun:
    """Return a run's state and what answers for it. Raises: SealBroken."""
    data = open_sealed(_state_key(home), sealed, context=run.encode(), what="run state")
    return opened_state(data)


def _state_key(home: NodeHome) -> bytes:
    return home.identity.derive_key("run state")


def _job_named(message: Envelope, request: Request) -> str:
    if isinstance(request, OpenRequest):
        return parse_job_json(request.job, source="of the request").name
    return message.run
