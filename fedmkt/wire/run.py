"""What every run has on the wire, whatever it computes: how it is opened, refused and closed.

Guarantee: a body that parses has exactly its declared fields; anything else is MessageInvalid,
which never names the content.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import ValidationError

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.frozen import Frozen, first_place
from fedmkt.wire.canonical import decode, encode


class Body(Frozen):
    """A message body: canonical CBOR of its fields."""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(self.model_dump())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a body. Raises: MessageInvalid, never naming the content."""
        try:
            return cls.model_validate(decode(data, kind=cls.__name__), strict=False)
        except ValidationError as error:
            place = first_place(error).partition(".")[0]
            # Privacy: an unknown field's name, or a key within one, is the sender's text.
            known = f"field {place}" if place in cls.model_fields else "an unknown field"
            raise MessageInvalid(kind=cls.__name__, problem=known) from None


class OpenRequest(Body):
    """Asks a node to take part. job: canonical JSON. order_signature: its requester's, hex.

    lost: members that an earlier start of the same order lost; the run then goes without them.
    """

    kind: Literal["open"] = "open"
    job: bytes
    order_signature: str
    lost: tuple[str, ...] = ()


class OpenReply(Body):
    """A member's signed keys for the run."""

    kind: Literal["opened"] = "opened"
    bundle: bytes


class CloseRequest(Body):
    """Ends a run. heads: each member's latest audit head and its own signature on it.

    model: canonical JSON of the finished model where the coordinator has one, else empty.
    """

    kind: Literal["close"] = "close"
    outcome: Literal["finished", "abandoned"]
    model: bytes
    heads: dict[str, tuple[str, bytes]]


class CloseReply(Body):
    """The node's signed receipt and its countersignature of everybody's heads."""

    kind: Literal["closed"] = "closed"
    receipt: bytes
    countersignature: bytes


class Refused(Body):
    """A node's no: the rule's code and nothing else."""

    kind: Literal["refused"] = "refused"
    code: str


def heads_bytes(run: str, heads: Mapping[str, tuple[str, bytes]]) -> bytes:
    """Return the canonical bytes that members countersign: the run and everybody's heads."""
    return encode([run, {member: list(head) for member, head in heads.items()}])


def is_refusal(body: bytes) -> bool:
    """Return whether a reply's body is a `Refused`. Raises: MessageInvalid (not CBOR)."""
    value = decode(body, kind="reply")
    return isinstance(value, dict) and value.get("kind") == "refused"
