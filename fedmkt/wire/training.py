"""The bodies of a training run's messages, request and reply of each step.

    open      job, roster                     -> signed key bundle
    shares    everybody's key bundles         -> sealed shares for each other member
    mask/T    the model, (first: the inbox)   -> masked sums (a survey: no model yet)
    vote/T    the survivors' transcript       -> signature on it
    unmask/T  the survivors' signatures       -> shares that open this one sum
    close     outcome, audit heads            -> receipt, countersignature of the heads

Any step may be answered by `Refused`, which carries the rule's code and nothing else.
"""

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, ValidationError

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.frozen import Frozen, first_place
from fedmkt.core.stages import FloatArray
from fedmkt.wire.canonical import decode, digest, encode


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
            raise MessageInvalid(kind=cls.__name__, problem=f"field {first_place(error)}") from None


class OpenRequest(Body):
    """Asks a node to take part. job: canonical JSON. order_signature: its requester's, hex."""

    kind: Literal["open"] = "open"
    job: bytes
    order_signature: str


class OpenReply(Body):
    """A member's signed keys for all sums of the run."""

    kind: Literal["opened"] = "opened"
    bundle: bytes


class SharesRequest(Body):
    """All members' signed key bundles."""

    kind: Literal["shares"] = "shares"
    bundles: dict[str, bytes]


class SharesReply(Body):
    """Sealed shares, one packet for each other member."""

    kind: Literal["shared"] = "shared"
    sealed: dict[str, bytes]


class MaskRequest(Body):
    """The model of this round and, in the first sum, the shares others sent.

    effects: little-endian float64 bytes, one value a bin of the public binning. edges: those of
    each number column, where a survey found them; else empty. A survey asks with no effects.
    """

    kind: Literal["mask"] = "mask"
    sum_index: int = Field(ge=0)
    intercept: float
    effects: bytes
    edges: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    inbox: dict[str, bytes] = Field(default_factory=dict)

    def model_hash(self) -> str:
        """Return the hash of what all members must have been asked alike in this sum."""
        return digest(encode([self.sum_index, self.intercept, self.effects, self.edges]))

    def effects_array(self) -> FloatArray:
        """Return the effects, shape (bins,). Raises: MessageInvalid."""
        if len(self.effects) % 8:
            raise MessageInvalid(kind="mask", problem="effects are not float64")
        effects = np.frombuffer(self.effects, dtype="<f8").astype(np.float64)
        if not np.isfinite(effects).all():
            raise MessageInvalid(kind="mask", problem="effects are not finite")
        return effects


class MaskReply(Body):
    """Masked sums: little-endian uint64 bytes."""

    kind: Literal["masked"] = "masked"
    values: bytes


class VoteRequest(Body):
    """The transcript that names the survivors of a sum."""

    kind: Literal["vote"] = "vote"
    sum_index: int = Field(ge=0)
    transcript: bytes


class VoteReply(Body):
    """A survivor's signature on the transcript."""

    kind: Literal["voted"] = "voted"
    signature: bytes


class UnmaskRequest(Body):
    """The survivors' signatures."""

    kind: Literal["unmask"] = "unmask"
    sum_index: int = Field(ge=0)
    votes: dict[str, bytes]


class UnmaskReply(Body):
    """The shares that open this one sum."""

    kind: Literal["unmasked"] = "unmasked"
    shares: bytes


class CloseRequest(Body):
    """Ends a run. heads: each member's latest audit head and its own signature on it.

    model: canonical JSON of the finished model, empty for an abandoned run.
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


Request = OpenRequest | SharesRequest | MaskRequest | VoteRequest | UnmaskRequest | CloseRequest

_REQUESTS: dict[str, type[Request]] = {
    "open": OpenRequest,
    "shares": SharesRequest,
    "mask": MaskRequest,
    "vote": VoteRequest,
    "unmask": UnmaskRequest,
    "close": CloseRequest,
}


def step_name(request: Request) -> str:
    """Return the step a request belongs to, as in "mask/3" or "open"."""
    if isinstance(request, MaskRequest | VoteRequest | UnmaskRequest):
        return f"{request.kind}/{request.sum_index}"
    return request.kind


def parse_request(step: str, body: bytes) -> Request:
    """Parse the request of a step. Raises: MessageInvalid."""
    kind = _REQUESTS.get(step.partition("/")[0])
    if kind is None:
        raise MessageInvalid(kind="request", problem="an unknown step")
    request = kind.from_bytes(body)
    # Security: a step has one name, so its stored reply cannot be asked for under another.
    if step_name(request) != step:
        raise MessageInvalid(kind=request.kind, problem="its step and its sum differ")
    return request


def is_refusal(body: bytes) -> bool:
    """Return whether a reply's body is a `Refused`. Raises: MessageInvalid (not CBOR)."""
    value = decode(body, kind="reply")
    return isinstance(value, dict) and value.get("kind") == "refused"
