"""How the coordinator ends a run: receipts from all who opened it, or the news that it is off.

Guarantee: a receipt that is returned verified with its member's key, and that member countersigned
the heads that everybody was shown.
"""

import contextlib
from typing import Literal

from fedmkt.coordinator.conversation import Conversation
from fedmkt.core.errors import FedmktError, ProtocolError
from fedmkt.evidence.receipts import verify_receipt
from fedmkt.wire.run import CloseReply, CloseRequest, heads_bytes


def close_run(
    talk: Conversation,
    outcome: Literal["finished", "abandoned"],
    *,
    quorum: int,
    model: bytes = b"",
) -> dict[str, bytes]:
    """Tell all members who opened the run that it is over; return their signed receipts.

    Raises: QuorumLost, NodeFailed, SignatureInvalid, MessageInvalid.
    """
    request = CloseRequest(outcome=outcome, model=model, heads=dict(talk.heads))
    to_tell = dict.fromkeys(sorted(talk.opened), request)
    closed = talk.ask("close", to_tell, CloseReply, quorum=min(quorum, len(to_tell)))
    statement = heads_bytes(talk.run, request.heads)
    receipts = {}
    for member, reply in closed.items():
        key = talk.directory[member]
        key.verify("heads", statement, reply.countersignature, member=member)
        verify_receipt(reply.receipt, key, member)
        receipts[member] = reply.receipt
    return receipts


def broke_protocol(failure: FedmktError) -> bool:
    """Tell whether a node found that a message breaks the protocol: its run cannot go on."""
    return failure.fields.get("error") in _codes_of(ProtocolError)


def cannot_go_on(talk: Conversation, failure: FedmktError, *, opened: bool) -> bool:
    """Tell whether a node's failure ends its run. opened: whether all members opened it here.

    A node that failed to open gave back what it had reserved, one that found the protocol broken
    goes no further: the run is over. One that only cannot say again that it opened did not give
    back: a run that was begun may go on.
    """
    return (not opened and not talk.begun) or broke_protocol(failure)


def _codes_of(kind: type[FedmktError]) -> set[str]:
    return {kind.code}.union(*(_codes_of(narrower) for narrower in kind.__subclasses__()))


def abandon_run(talk: Conversation) -> None:
    """Tell the nodes that the run is over, so that they give back what was not sent.

    The receipts of those who could be told are kept; what they spent stays spent.
    """
    # Nodes that cannot be told now give nothing back: what is unknown stays spent. Nor may a disk
    # that is full hide why the run ended; the receipts stand in its journal, too.
    with contextlib.suppress(FedmktError):
        talk.keep_receipts(close_run(talk, "abandoned", quorum=1))
