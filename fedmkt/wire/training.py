"""The bodies of a horizontal training's messages, request and reply of each step.

    open      job                             -> signed key bundle
    shares    everybody's key bundles         -> sealed shares for each other member
    mask/T    the model, (first: the inbox)   -> masked sums (a survey: no model yet)
    update/T  the network, (first: the inbox) -> masked sums (the first: a count, no network yet)
    vote/T    the survivors' transcript       -> signature on it
    unmask/T  the survivors' signatures       -> shares that open this one sum
    close     outcome, audit heads            -> receipt, countersignature of the heads

Where the job lets updates be seen, a run is open, update/T, close, and updates are not masked.
Any step may be answered by `Refused`, which carries the rule's code and nothing else.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.wire.canonical import digest, encode
from fedmkt.wire.run import Body


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


class UpdateRequest(Body):
    """The network of this round and, in the first sum, the shares others sent.

    parameters, control: little-endian float32 bytes, one value a parameter; control is empty but
    where the job has control variates. The first sum is a count and asks with neither.
    """

    kind: Literal["update"] = "update"
    sum_index: int = Field(ge=0)
    parameters: bytes
    control: bytes
    inbox: dict[str, bytes] = Field(default_factory=dict)

    def model_hash(self) -> str:
        """Return the hash of what all members must have been asked alike in this sum."""
        return digest(encode([self.sum_index, self.parameters, self.control]))


class MaskReply(Body):
    """Masked sums: little-endian uint64 bytes."""

    kind: Literal["masked"] = "masked"
    values: bytes


class SeenReply(Body):
    """An update that is not masked: little-endian int64 bytes."""

    kind: Literal["seen"] = "seen"
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
