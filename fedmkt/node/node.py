"""A partner's node: takes a signed request, decides, and gives back a signed reply.

Guarantees, whatever the coordinator sends:
- data are read only after the contract allowed the job and its whole price was reserved;
- a release is committed in the same transaction that stores its reply, before the reply leaves:
  what crashes in between either never existed or is spent and sent again byte for byte;
- a step of a run is answered once: an equal request gets the stored bytes, another is refused;
- one requester begins no more runs within an hour than node.toml allows, refused ones counted;
- a run of whoever's key was revoked goes no further: it is looked for in every step;
- over shared customers a step that fails is answered too: the run is over and counts one release
  more, whatever the cause, unless the cause is this node's own table or the contract's end;
- so is a network's update that could not be made, unless what was asked breaks the protocol: the
  run is over and the update's release is spent;
- a refusal carries the rule's code alone; the reason stays in this node's audit log.
It does not hide that the node took part, nor how long it took.
"""

import logging

from fedmkt.contract.job import parse_job_json
from fedmkt.contract.order import job_as_run, order_of, verify_order
from fedmkt.contract.permissions import in_force
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.core.errors import (
    AuditCut,
    ConsentWithdrawn,
    ContractExpired,
    DataError,
    FedmktError,
    JobInvalid,
    NotAParty,
    ProtocolError,
    RangeExceeded,
    Refusal,
    RequestConflict,
    RunNotOpen,
    SignatureInvalid,
    StepOutOfOrder,
    TableChanged,
)
from fedmkt.core.logs import about_run
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.identity.signed_message import open_message, sign_head, sign_message, verify_head
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.closing import Ended, receipt_of
from fedmkt.node.home import CLOSED, NodeHome, hold_to_log
from fedmkt.node.programs import OpenedRun, opened_state, over_bytes, program_for, state_bytes
from fedmkt.privacy.accounts import accounts_for
from fedmkt.wire.canonical import digest
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import Body, CloseReply, CloseRequest, OpenRequest, Refused, heads_bytes
from fedmkt.wire.steps import Request, parse_request
from fedmkt.wire.training import UpdateRequest

_log = logging.getLogger(__name__)
_ANYBODY_COULD_TELL = (StepOutOfOrder, ContractExpired, ConsentWithdrawn, TableChanged, DataError)
"""Failures of turn, date or this node's own table: they do not depend on what was asked."""


class Node:
    """Answers requests from one home folder. Examples are cached; nothing else is remembered."""

    def __init__(self, home: NodeHome) -> None:
        """Take an opened home. Raises: StoreRolledBack, when its ledger forgot a release."""
        hold_to_log(home)
        self._home = home
        self._cache: dict[str, tuple[Priced, object]] = {}

    def handle(self, data: bytes) -> bytes:
        """Answer one request.

        Raises: FedmktError; the transport passes on its code and nothing else.
        """
        home = self._home
        message = open_message(
            data, directory=home.directory, receiver=home.member, contract=home.contract_hash
        )
        if message.sender != home.contract.coordinator.name:
            raise SignatureInvalid(member=message.sender, what="request (not the coordinator)")
        with about_run(message.run):
            return self._handled(message, data)

    def _handled(self, message: Envelope, data: bytes) -> bytes:
        home = self._home
        request_hash = digest(data)
        request = parse_request(message.step, message.body)
        try:
            home.refuse_revoked({message.sender})
            stored = self._stored_reply(message, request_hash)
            if stored is not None:
                return stored
            if isinstance(request, CloseRequest):
                return self._close(message, request, request_hash)
            return self._answer(message, request, request_hash)
        except NotAParty as refusal:
            # Other members' runs are no events of this node: nothing is written down.
            return self._reply(message, Refused(code=refusal.code), home.audit.head)
        except Refusal as refusal:
            _log.info("step %s: refused (%s)", message.step, refusal.code)
            return self._refuse(message, request, refusal)
        except (ProtocolError, JobInvalid) as error:
            facts = {"run": message.run, "step": message.step, "code": error.code}
            home.audit.append("rejected", facts)
            raise

    @property
    def home(self) -> NodeHome:
        """Return the home this node answers from."""
        return self._home

    def close(self) -> None:
        """Close the node's store."""
        self._home.close()

    # --- deciding ----------------------------------------------------------------------------

    def _answer(self, message: Envelope, request: Request, request_hash: str) -> bytes:
        if isinstance(request, OpenRequest):
            return self._release(message, request_hash, self._open(message.run, request), None)
        sealed = self._sealed_state(message.run)
        found = self._opened(message.run, sealed)
        if found.over:
            raise RunNotOpen(run=message.run)
        home = self._home
        home.refuse_revoked({*found.state.job.members, found.state.job.requester})
        try:
            answer = found.program.step(
                home, found.state, request, lambda: self._data(message.run, found)
            )
        except _ANYBODY_COULD_TELL:
            raise
        except Exception as error:
            if _could_tell(found, request, error):
                # Privacy: whether a step fails can depend on customers and on what was sent, so a
                # failure is an answer; free and repeatable, it would answer any question bit by bit
                self._end(message, request_hash, found, sealed, error)
            raise
        return self._release(message, request_hash, answer, sealed)

    def _open(self, run: str, request: OpenRequest) -> Answer:
        home = self._home
        job = parse_job_json(request.job, source="of the request")
        # Security: nobody's name is written down beside a refusal before its holder signed.
        verify_order(
            home.contract_hash,
            order_of(run, job, request.order_signature, request.lost),
            home.directory,
        )
        job = job_as_run(job, request.lost)
        if home.member not in job.members:
            raise NotAParty(job=job.name)
        home.refuse_revoked({*job.members, job.requester})
        # Before it is priced, and for good: what is refused costs this node work and a record too.
        self._begin(run, job.requester)
        program = program_for(job)
        priced = program.price(home, job)
        self._reserve(run, priced)
        try:
            # Privacy: the price is reserved durably before the first row is read.
            loaded = program.load(home, priced)
            answer = program.open(home, run, priced, loaded)
        except FedmktError as error:
            self._give_back(run)
            home.audit.append("failed", {"run": run, "job": job.name, "code": error.code})
            raise
        self._cache[run] = (priced, loaded)
        return answer

    def _data(self, run: str, found: OpenedRun) -> tuple[Priced, object]:
        """Return the priced job and its data, read anew where this process does not hold them."""
        home, program = self._home, found.program
        # The contract may have ended, or a customer changed their mind, since the run was opened.
        in_force(home.contract, home.clock.now())
        if run in self._cache:
            program.recheck(home, *self._cache[run])
        else:
            priced = program.price(home, found.state.job)
            self._cache[run] = (priced, program.load(home, priced))
        return self._cache[run]

    # --- the ledger --------------------------------------------------------------------------

    def _begin(self, run: str, requester: str) -> None:
        home = self._home
        with home.store.transaction() as tx:
            allowed = home.settings.runs_per_hour
            too_often = home.begun.begin(tx, run, requester, allowed=allowed)
        if too_often is not None:
            raise too_often

    def _reserve(self, run: str, priced: Priced) -> None:
        home = self._home
        with home.store.transaction() as tx:
            home.ledger.open_accounts(tx, accounts_for(home.contract, priced.dataset))
            home.ledger.reserve(tx, priced.reservation(run))

    def _give_back(self, run: str) -> None:
        with self._home.store.transaction() as tx:
            self._home.ledger.give_back(tx, run)

    # --- leaving the node --------------------------------------------------------------------

    def _stored_reply(self, message: Envelope, request_hash: str) -> bytes | None:
        with self._home.store.transaction() as tx:
            known = self._home.runs.reply(tx, message.run, message.step)
        if known is None:
            return None
        if known[0] != request_hash:
            # Security: the same mask over two different models would be a two-time pad.
            raise RequestConflict(step=message.step, run=message.run)
        if not known[1]:
            raise RunNotOpen(run=message.run)
        return known[1]

    def _release(
        self, message: Envelope, request_hash: str, answer: Answer, loaded: bytes | None
    ) -> bytes:
        """Make an answer durable, return its reply. loaded: the sealed state it was made from."""
        home = self._home
        facts = {"run": message.run, "step": message.step, **answer.facts}
        if answer.commits:
            # Recovery counts by the record what `commits` spends, so both are written from one.
            facts["releases"] = list(answer.commits)
        # The record comes first: a crash leaves a record too many, never one too few.
        head = home.audit.append(answer.record, facts)
        reply = self._reply(message, answer.body, head)
        sealed = seal(self._state_key(), state_bytes(answer.state), context=message.run.encode())
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

    def _end(
        self,
        message: Envelope,
        request_hash: str,
        found: OpenedRun,
        sealed: bytes,
        error: Exception,
    ) -> None:
        """End a run whose step failed: it can be closed and no more, and one release is spent."""
        home, run = self._home, message.run
        with home.store.transaction() as tx:
            entries = home.ledger.entries(tx, run)
        planned = [entry.release for entry in entries if entry.state == "planned"]
        # Privacy: sums cost differently; the one that was asked for is the one that was made.
        request = parse_request(message.step, message.body)
        asked = request.sum_index if isinstance(request, UpdateRequest) else None
        spent = [asked] if asked in planned else planned[:1]
        code = error.code if isinstance(error, FedmktError) else "internal_error"
        head = home.audit.append(
            "ended", {"run": run, "step": message.step, "code": code, "releases": spent}
        )
        over = seal(self._state_key(), over_bytes(found.state), context=run.encode())
        with home.store.transaction() as tx:
            # Security: another process may have answered meanwhile; then the run goes on there.
            if home.runs.load(tx, run) != sealed:
                raise RequestConflict(step=message.step, run=run)
            for release in spent:
                home.ledger.commit(tx, run, release)
            home.runs.save(tx, run, over)
            home.runs.remember_head(tx, home.member, head.sequence, head.hash)
            home.runs.remember_reply(tx, run, message.step, request_hash, b"")

    def _refuse(self, message: Envelope, request: Request, refusal: Refusal) -> bytes:
        facts = {
            "run": message.run,
            "step": message.step,
            "job": _job_named(message, request),
            "code": refusal.code,
            "reason": str(refusal),
        }
        head = self._home.audit.append("refused", facts)
        return self._reply(message, Refused(code=refusal.code), head)

    def _reply(self, message: Envelope, body: Body, head: Head) -> bytes:
        home = self._home
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

    # --- state between messages --------------------------------------------------------------

    def _state_key(self) -> bytes:
        return self._home.identity.derive_key("run state")

    def _sealed_state(self, run: str) -> bytes:
        with self._home.store.transaction() as tx:
            sealed = self._home.runs.load(tx, run)
        if sealed is None or sealed == CLOSED:
            raise RunNotOpen(run=run)
        return sealed

    def _opened(self, run: str, sealed: bytes) -> OpenedRun:
        data = open_sealed(self._state_key(), sealed, context=run.encode(), what="run state")
        return opened_state(data)

    # --- the end of a run --------------------------------------------------------------------

    def _close(self, message: Envelope, request: CloseRequest, request_hash: str) -> bytes:
        home, run = self._home, message.run
        found = self._opened(run, self._sealed_state(run))
        program, state = found.program, found.state
        self._check_heads(run, request)
        finished = request.outcome == "finished" and not found.over
        model_hash = program.keep(home, run, state, finished=finished, model=request.model)
        facts = {"run": run, "outcome": request.outcome, "model": model_hash}
        seen = {member: head for member, (head, _) in request.heads.items()}
        head = home.audit.append("closed", {**facts, "heads": seen})
        with home.store.transaction() as tx:
            home.ledger.give_back(tx, run)
            entries = home.ledger.entries(tx, run)
            reply = CloseReply(
                receipt=receipt_of(
                    home, run, Ended(program, state, model_hash, seen), entries, head
                ),
                countersignature=home.identity.sign("heads", heads_bytes(run, request.heads)),
            )
            data = self._reply(message, reply, head)
            for member, text in seen.items():
                home.runs.remember_head(tx, member, *_head_parts(text))
            home.runs.remember_head(tx, home.member, head.sequence, head.hash)
            # Security: the run's secrets end here.
            home.runs.save(tx, run, CLOSED)
            home.runs.remember_reply(tx, run, message.step, request_hash, data)
            if isinstance(state.job, SharedJob):
                # Encrypted residuals and lists are large, and nobody will ask for them again.
                home.runs.let_go(tx, run, kept=("open", "close"))
        self._cache.pop(run, None)
        return data

    def _check_heads(self, run: str, request: CloseRequest) -> None:
        home = self._home
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


def _could_tell(found: OpenedRun, request: Request, error: Exception) -> bool:
    """Tell whether that a step failed can depend on customers."""
    if isinstance(found.state.job, SharedJob):
        return True
    # A partner's own steps can go astray, which their noised sums decide.
    about_request = isinstance(error, Refusal | ProtocolError) and not isinstance(
        error, RangeExceeded
    )
    return isinstance(request, UpdateRequest) and not about_request


def _job_named(message: Envelope, request: Request) -> str:
    if isinstance(request, OpenRequest):
        return parse_job_json(request.job, source="of the request").name
    return message.run


def _head_parts(text: str) -> tuple[int, str]:
    head = Head.parse(text)
    return head.sequence, head.hash
