"""An order: a requester's signature on one job, for one run, under one contract.

Guarantee: a coordinator can neither make up a request in a member's name nor run a job a second
time on one order: the signature covers contract, run and job, and a node answers a run once.
"""

from typing import Annotated

from pydantic import Field, ValidationError

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.job import Job
from fedmkt.contract.schema import Identifier
from fedmkt.core.errors import MessageInvalid, SignatureInvalid
from fedmkt.core.frozen import Frozen, first_place
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory
from fedmkt.wire.canonical import encode

LABEL = "order"


class Order(Frozen):
    """A job to be run once, as `run`. signature: the requester's, in hexadecimal."""

    run: Identifier
    job: Job
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def sign_order(contract: Collaboration, run: str, job: Job, identity: Identity) -> Order:
    """Return the order that the holder of `identity` signs."""
    signature = identity.sign(LABEL, _statement(contract.hash, run, job))
    return Order(run=run, job=job, signature=signature.hex())


def verify_order(contract_hash: str, order: Order, directory: Directory) -> None:
    """Check that the job's requester signed this order. Raises: SignatureInvalid."""
    requester = order.job.requester
    if requester not in directory:
        raise SignatureInvalid(member="an unknown requester", what=LABEL)
    statement = _statement(contract_hash, order.run, order.job)
    signature = bytes.fromhex(order.signature)
    directory[requester].verify(LABEL, statement, signature, member=requester)


def _statement(contract_hash: str, run: str, job: Job) -> bytes:
    return encode([contract_hash, run, job.signed_bytes()])


def order_of(run: str, job: Job, signature: str) -> Order:
    """Return the order that a request carries. Raises: MessageInvalid."""
    try:
        return Order(run=run, job=job, signature=signature)
    except ValidationError as error:
        raise MessageInvalid(kind="open", problem=f"field {first_place(error)}") from None
