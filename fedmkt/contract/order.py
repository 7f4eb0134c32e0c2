"""An order: a requester's signature on one job, for one run, under one contract.

Guarantee: a coordinator can neither make up a request in a member's name nor run a job a second
time on one order: the signature covers contract, run and job, and a node answers a run once.
A job that says so may be started again without members that were lost: once for each set of lost
members, as a run of its own, whose name follows from the order's.
"""

from typing import Annotated

from pydantic import Field, ValidationError

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.job import AnyJob
from fedmkt.contract.schema import Identifier
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.core.errors import MessageInvalid, SignatureInvalid
from fedmkt.core.frozen import Frozen, first_place
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory
from fedmkt.wire.canonical import encode

LABEL = "order"


class Order(Frozen):
    """A job to be run once, as `run`. signature: the requester's, in hexadecimal."""

    run: Identifier
    job: AnyJob
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def sign_order(contract: Collaboration, run: str, job: AnyJob, identity: Identity) -> Order:
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


def _statement(contract_hash: str, run: str, job: AnyJob) -> bytes:
    return encode([contract_hash, run, job.signed_bytes()])


def order_of(run: str, job: AnyJob, signature: str, lost: tuple[str, ...] = ()) -> Order:
    """Return the order that a request carries. lost: members it says were lost.

    Raises: MessageInvalid, also for a run whose name does not follow from the order's.
    """
    ending = _ending(lost)
    if not run.endswith(ending) or (lost and not may_restart(job, lost)):
        raise MessageInvalid(kind="open", problem="it is no restart that the order allows")
    try:
        return Order(run=run.removesuffix(ending), job=job, signature=signature)
    except ValidationError as error:
        raise MessageInvalid(kind="open", problem=f"field {first_place(error)}") from None


def run_without(run: str, lost: tuple[str, ...]) -> str:
    """Return the name of the run that starts again without the members in `lost`."""
    return run + _ending(lost)


def job_as_run(job: AnyJob, lost: tuple[str, ...]) -> AnyJob:
    """Return the job as a run without the members in `lost` carries it out."""
    return job.without(lost) if lost and isinstance(job, VerticalJob) else job


def _ending(lost: tuple[str, ...]) -> str:
    return f" without {' and '.join(lost)}" if lost else ""


def may_restart(job: AnyJob, lost: tuple[str, ...]) -> bool:
    """Tell whether an order of `job` allows a start without exactly the members in `lost`."""
    if not isinstance(job, VerticalJob) or not job.restart:
        return False
    left = len(job.partners) - len(lost)
    # Privacy: with one partner left its scores would be seen, which the order did not ask for.
    return lost == tuple(sorted(set(lost))) and set(lost) <= set(job.partners) and left >= 2
