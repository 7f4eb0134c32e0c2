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
- so is a horizontal training's sum or update that could not be made, unless what was asked breaks
  the protocol: the run is over and that release is spent;
- a refusal carries the rule's code alone; the reason stays in this node's audit log.
It does not hide that the node took part, nor how long it took.
"""

import logging

from fedmkt.contract.job import parse_job_json
from fedmkt.contract.order import job_as_run, order_of, verify_order
from fedmkt.contract.permissions import in_force
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.core.errors import (
    ConsentWithdrawn,
    ContractExpired,
    DataError,
    FedmktError,
    FileMissing,
    JobInvalid,
    NotAParty,
    OutputUnwritable,
    ProtocolError,
    RangeExceeded,
    Refusal,
    RunNotOpen,
    SettingInvalid,
    SignatureInvalid,
    StepOutOfOrder,
    TableChanged,
)
from fedmkt.core.logs import about_run
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.signed_message import open_message
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.closing import Ended, check_heads, receipt_of
from fedmkt.node.home import CLOSED, NodeHome, hold_to_log
from fedmkt.node.leaving import (
    end_run,
    opened_run,
    refuse_request,
    release_answer,
    reply_to,
    sealed_state,
    stored_reply,
)
from fedmkt.node.programs import OpenedRun, program_for
from fedmkt.privacy.accounts import accounts_for
from fedmkt.wire.canonical import digest
from fedmkt.wire.envelope import Envelope
from fedmkt.wire.run import CloseReply, CloseRequest, OpenRequest, Refused, heads_bytes
from fedmkt.wire.steps import Request, parse_request
from fedmkt.wire.training import MaskRequest, UpdateRequest

_log = logging.getLogger(__name__)
_ANYBODY_COULD_TELL = (
    StepOutOfOrder,
    ContractExpired,
    ConsentWithdrawn,
    TableChanged,
    DataError,
    FileMissing,
    OutputUnwritable,
)
"""Failures of turn, date or this node's own table and disk: they do not depend on what was asked.
"""


class Node:
    """Answers requests from one home folder. Examples are cached; nothing else is remembered."""

    def __init__(self, home: NodeHome) -> None:
        """Take an opened home.

        Raises: StoreRolledBack, when its ledger forgot a release; SettingInvalid, when Python was
            told to leave assertions out.
        """
        # Privacy: assertions hold an update to the length and the noise that were charged for it.
        if not __debug__:
            problem = "a node would leave out checks of its own; start it without -O"
            raise SettingInvalid(setting="PYTHONOPTIMIZE or python -O", problem=problem)
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
            stored = stored_reply(home, message, request_hash)
            if stored is not None:
                return stored
            if isinstance(request, CloseRequest):
                return self._close(message, request, request_hash)
            return self._answer(message, request, request_hash)
        except NotAParty as refusal:
            # Other members' runs are no events of this node: nothing is written down.
            return reply_to(home, message, Refused(code=refusal.code), home.audit.head)
        except Refusal as refusal:
            _log.info("step %s: refused (%s)", message.step, refusal.code)
            return refuse_request(home, message, request, refusal)
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
        home = self._home
        if isinstance(request, OpenRequest):
            return release_answer(
                home, message, request_hash, self._open(message.run, request), None
            )
        sealed = sealed_state(home, message.run)
        found = opened_run(home, message.run, sealed)
        if found.over:
            raise RunNotOpen(run=message.run)
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
                end_run(home, message, request_hash, found, sealed, error)
            raise
        return release_answer(home, message, request_hash, answer, sealed)

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

    # --- the end of a run --------------------------------------------------------------------

    def _close(self, message: Envelope, request: CloseRequest, request_hash: str) -> bytes:
        home, run = self._home, message.run
        found = opened_run(home, run, sealed_state(home, run))
        program, state = found.program, found.state
        check_heads(home, run, request)
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
            data = reply_to(home, message, reply, head)
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


def _could_tell(found: OpenedRun, request: Request, error: Exception) -> bool:
    """Tell whether that a step failed can depend on customers."""
    if isinstance(found.state.job, SharedJob):
        return True
    # What is asked of customers decides how large their sums are and where own steps lead.
    about_request = isinstance(error, Refusal | ProtocolError) and not isinstance(
        error, RangeExceeded
    )
    return isinstance(request, MaskRequest | UpdateRequest) and not about_request


def _head_parts(text: str) -> tuple[int, str]:
    head = Head.parse(text)
    return head.sequence, head.hash
