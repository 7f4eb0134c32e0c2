"""One run's conversation with the members' nodes: signed requests out, verified replies in.

Guarantee: a reply that `ask` returns was signed by the member it is filed under, for this run and
step. Every verified reply is durable before the next step is asked, and requests are made of the
run's earlier replies alone: a coordinator that starts again asks the same bytes and goes on to
the same model.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from fedmkt.contract.collaboration import Collaboration
from fedmkt.core.errors import AnsweredTwice, NodeFailed, QuorumLost, RunRefused
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import (
    Directory,
    open_message,
    sign_message,
    verify_head,
)
from fedmkt.storage.journal import CoordinatorJournal
from fedmkt.transport.channel import Channel, Failure
from fedmkt.wire.envelope import EVERYBODY, Envelope
from fedmkt.wire.run import Body, OpenReply, OpenRequest, Refused, is_refusal

ReplyT = TypeVar("ReplyT", bound=Body)
_RETRY_PAUSE_S = 0.5
_CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: for all nodes, for one exchange, and for absent members to come back.

    missed_s: for one exchange with members who missed the one before.
    """

    connect_s: float = 60.0
    exchange_s: float = 60.0
    absent_s: float = 120.0
    missed_s: float = 5.0


@dataclass
class Conversation:
    """The coordinator's side of one run's messages.

    heads: each member's latest audit head and its own signature on it. opened: the members whose
    node takes part in the run. check: raises what ends the run before its next exchange.
    keep_receipts: is handed those of a run that ends unfinished.
    """

    channel: Channel
    journal: CoordinatorJournal
    identity: Identity = field(repr=False)
    contract: Collaboration
    directory: Directory
    run: str
    job: str
    patience: Patience = field(default_factory=Patience)
    check: Callable[[], None] = lambda: None
    keep_receipts: Callable[[Mapping[str, bytes]], None] = lambda _receipts: None
    heads: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    _nodes: dict[str, int] = field(default_factory=dict)

    def open(self, request: OpenRequest, members: tuple[str, ...]) -> dict[str, OpenReply]:
        """Ask every connected node to open the run; learn which node speaks for which member.

        Always sent, on a resumed run too: nodes repeat their stored answer byte for byte.
        Raises: NodesMissing, NodeFailed, RunRefused, QuorumLost; what `check` raises.
        """
        self._check("open")
        nodes = self.channel.node_ids(at_least=len(members), deadline_s=self.patience.connect_s)
        data = self._signed("open", EVERYBODY, request)
        known: dict[str, Envelope] = {}
        waiting = set(nodes)
        deadline = time.monotonic() + self.patience.absent_s
        while waiting and not set(members) <= set(known):
            answered, failed = self._exchange("open", dict.fromkeys(sorted(waiting), data))
            for node, one in answered.items():
                # Security: whoever holds a member's key twice could show others two faces.
                if one.sender in known and one.body != known[one.sender].body:
                    raise AnsweredTwice(member=one.sender, step="open")
                self._nodes[one.sender] = node
                known[one.sender] = one
            known = {member: one for member, one in known.items() if member in members}
            self.opened = {member for member, one in known.items() if not is_refusal(one.body)}
            if failed and len(known) < len(members):
                raise NodeFailed(member="a member", step="open", error=next(iter(failed.values())))
            waiting -= set(answered)
            if time.monotonic() > deadline:
                break
            if not answered:
                time.sleep(_RETRY_PAUSE_S)
        return self._bodies("open", known, OpenReply, needed=members)

    def ask(
        self,
        step: str,
        requests: Mapping[str, Body],
        reply: type[ReplyT],
        *,
        quorum: int,
        hurry: bool = False,
        deadline_s: float | None = None,
    ) -> dict[str, ReplyT]:
        """Ask members for a step until `quorum` of them have answered; return who did.

        Members who miss the exchange in which the quorum stands are left out; with `hurry` it ends
        soon after the quorum stands. deadline_s: of one exchange, if not the usual. Below the
        quorum the absent are asked again until `patience.absent_s` has passed; the run may be
        resumed.
        Raises: NodeFailed, RunRefused, QuorumLost; what `check` raises before it asks.
        """
        self._check(step)
        known = self._replayed(step, requests)
        deadline = time.monotonic() + self.patience.absent_s
        while len(known) < quorum:
            absent = {m: self._nodes[m] for m in requests if m not in known and m in self._nodes}
            answered, failed = self._exchange(
                step,
                {node: self._signed(step, m, requests[m]) for m, node in absent.items()},
                quorum=quorum - len(known) if hurry else None,
                deadline_s=deadline_s,
            )
            for member, node in absent.items():
                if node in answered:
                    if answered[node].sender != member:
                        raise AnsweredTwice(member=answered[node].sender, step=step)
                    known[member] = answered[node]
            if len(known) < quorum:
                self._check_failed(step, failed)
                if time.monotonic() > deadline:
                    break
                time.sleep(_RETRY_PAUSE_S)
        # Security: what is asked next depends on these replies, so they must outlive a crash.
        self.journal.remember(step, {member: one.to_bytes() for member, one in known.items()})
        needed = tuple(requests) if len(known) < quorum else ()
        return self._bodies(step, known, reply, needed=needed)

    @property
    def begun(self) -> bool:
        """Return whether all members opened the run and a step was answered, whoever asked it."""
        return self.journal.holds_any

    # --- inside ------------------------------------------------------------------------------

    @cached_property
    def _contract_hash(self) -> str:
        return self.contract.hash

    def _signed(self, step: str, receiver: str, body: Body) -> bytes:
        envelope = Envelope(
            contract=self._contract_hash,
            run=self.run,
            step=step,
            sender=self.contract.coordinator.name,
            receiver=receiver,
            body=body.to_bytes(),
        )
        return sign_message(envelope, self.identity)

    def _exchange(
        self,
        step: str,
        requests: Mapping[int, bytes],
        *,
        quorum: int | None = None,
        deadline_s: float | None = None,
    ) -> tuple[dict[int, Envelope], dict[int, str]]:
        deadline_s = min(deadline_s or math.inf, self.patience.exchange_s)
        replies = self.channel.exchange(requests, deadline_s=deadline_s, quorum=quorum)
        # What was lost on the way is as if it had not been answered yet: it is asked again.
        failed = {
            node: one.code
            for node, one in replies.items()
            if isinstance(one, Failure) and not one.on_the_way
        }
        answered = {
            node: self._verified(step, data)
            for node, data in replies.items()
            if not isinstance(data, Failure)
        }
        return answered, failed

    def _verified(self, step: str, data: bytes) -> Envelope:
        envelope = open_message(
            data,
            directory=self.directory,
            receiver=self.contract.coordinator.name,
            contract=self._contract_hash,
        )
        if (envelope.run, envelope.step) != (self.run, step):
            raise NodeFailed(member=envelope.sender, step=step, error="an answer to another step")
        verify_head(
            self.run, envelope.sender, envelope.head, envelope.head_signature, self.directory
        )
        return envelope

    def _replayed(self, step: str, requests: Mapping[str, Body]) -> dict[str, Envelope]:
        stored = {member: self.journal.reply(step, member) for member in requests}
        return {m: self._verified(step, data) for m, data in stored.items() if data is not None}

    def _check(self, step: str) -> None:
        if step != _CLOSE:
            self.check()

    def _check_failed(self, step: str, failed: Mapping[int, str]) -> None:
        for member, node in self._nodes.items():
            if node in failed:
                raise NodeFailed(member=member, step=step, error=failed[node])

    def _bodies(
        self,
        step: str,
        replies: Mapping[str, Envelope],
        reply: type[ReplyT],
        *,
        needed: tuple[str, ...],
    ) -> dict[str, ReplyT]:
        # All heads first: whoever opened a run has to be told when another member refuses it.
        for member, envelope in sorted(replies.items()):
            self.heads[member] = (envelope.head, envelope.head_signature)
        for member, envelope in sorted(replies.items()):
            if is_refusal(envelope.body):
                rule = Refused.from_bytes(envelope.body).code
                raise RunRefused(member=member, job=self.job, rule=rule)
        if missing := set(needed) - set(replies):
            raise QuorumLost(
                step=step,
                answered=len(replies),
                needed=len(needed),
                deadline_s=self.patience.absent_s,
                missing=", ".join(sorted(missing)),
            )
        return {m: reply.from_bytes(replies[m].body) for m in sorted(replies)}
