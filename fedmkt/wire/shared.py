"""The bodies of runs over customers that members share, request and reply of each step.

Overlap and alignment:
    blind      everybody's key bundles          -> own blinded list, sealed to the next member
    hop/H      a list, sealed by the last holder -> the list blinded once more, sealed on
    count      (first party) both lists          -> the noised size of the overlap
    match      (first party) all lists           -> the links, sealed to each member
    finish     links and own list                -> the noised size, a digest of the links

Training, scoring, expansion:
    residuals/T  (owner) the masked total        -> encrypted residuals
    products/T   (partner) encrypted residuals   -> masked products, sealed to the owner
    noised/T     (owner) masked products         -> noised products, sealed to each partner
    scores/T     (partner) noised products       -> masked scores (or parts, sealed to the owner)
    result       (owner) the last masked total   -> nothing: the result stays with the owner
    student      (partner) noised products       -> nothing: the student stays with the partner

Split training:
    activations/T  (partner) the last gradient   -> activations, sealed to the owner
    gradients/T    (owner) all activations       -> gradients by them, sealed to each partner
    result         (owner) the last activations  -> nothing: the result stays with the owner

Whatever is called sealed opens at one member only; the coordinator carries it.
"""

from typing import Literal, get_args

from pydantic import Field

from fedmkt.wire.run import Body

Step = int


class BlindRequest(Body):
    """All members' signed key bundles."""

    kind: Literal["blind"] = "blind"
    bundles: dict[str, bytes]


class HopRequest(Body):
    """A list for this member to blind, sealed by the one who held it before."""

    kind: Literal["hop"] = "hop"
    index: Step = Field(ge=1)
    sealed: bytes


class ListReply(Body):
    """Blinded lists, each sealed to the member it is for."""

    kind: Literal["list"] = "list"
    sealed: dict[str, bytes]


class CountRequest(Body):
    """Fully blinded lists by the member they came from, each sealed by its last holder."""

    kind: Literal["count"] = "count"
    sealed: dict[str, bytes]


class CountReply(Body):
    """The overlap as its noise lets it be seen; None where that is under the agreed minimum."""

    kind: Literal["counted"] = "counted"
    overlap: int | None


class MatchRequest(Body):
    """Fully blinded lists by the member they came from, each sealed by its last holder."""

    kind: Literal["match"] = "match"
    sealed: dict[str, bytes]


class MatchReply(Body):
    """The links, sealed to each member."""

    kind: Literal["matched"] = "matched"
    sealed: dict[str, bytes]


class FinishRequest(Body):
    """links: sealed by the first party. own: this member's list, sealed by its last holder.

    witness: the first party's list as this member passed it on, where it was its last holder.
    """

    kind: Literal["finish"] = "finish"
    links: bytes
    own: bytes
    witness: bytes = b""


class FinishReply(Body):
    """The size of the overlap, noised unless the contract allows it exact, and the links' digest.

    size: of this member's own set, stated likewise.
    """

    kind: Literal["aligned"] = "aligned"
    overlap: int
    size: int
    digest: str


class ResidualsRequest(Body):
    """Asks the owner for a round's residuals. total: the partners' masked scores, summed."""

    kind: Literal["residuals"] = "residuals"
    index: Step = Field(ge=0)
    bundles: dict[str, bytes] = Field(default_factory=dict)
    total: bytes = b""


class ResidualsReply(Body):
    """The residuals, encrypted, under a content key that is sealed to each partner."""

    kind: Literal["encrypted"] = "encrypted"
    residuals: bytes
    keys: dict[str, bytes]


class ProductsRequest(Body):
    """The owner's encrypted residuals, and their content key as sealed to this partner."""

    kind: Literal["products"] = "products"
    index: Step = Field(ge=0)
    bundles: dict[str, bytes] = Field(default_factory=dict)
    residuals: bytes
    key: bytes


class SealedReply(Body):
    """Something for one other member."""

    kind: Literal["sealed"] = "sealed"
    sealed: bytes


class NoisedRequest(Body):
    """Every partner's masked products."""

    kind: Literal["noised"] = "noised"
    index: Step = Field(ge=0)
    sealed: dict[str, bytes]


class NoisedReply(Body):
    """Noised products, sealed to each partner."""

    kind: Literal["opened_products"] = "opened_products"
    sealed: dict[str, bytes]


class ScoresRequest(Body):
    """Asks a partner for its scores.

    sealed: noised products; empty where it scores with the model it keeps. residuals, key: shown
    residuals, in the mode that shares labels.
    """

    kind: Literal["scores"] = "scores"
    index: Step = Field(ge=0)
    bundles: dict[str, bytes] = Field(default_factory=dict)
    sealed: bytes = b""
    residuals: bytes = b""
    key: bytes = b""


class ScoresReply(Body):
    """A partner's scores, masked for the total of all: little-endian 32-bit words.

    part: the same scores unmasked, sealed to the owner, where a scoring shows parts; else empty.
    """

    kind: Literal["scored"] = "scored"
    masked: bytes
    part: bytes = b""


class ResultRequest(Body):
    """The last masked total, and where they were asked for each partner's part.

    A split training has no total; its parts are the last activations.
    """

    kind: Literal["result"] = "result"
    bundles: dict[str, bytes] = Field(default_factory=dict)
    total: bytes
    parts: dict[str, bytes] = Field(default_factory=dict)


class StudentRequest(Body):
    """The noised products of the joint score."""

    kind: Literal["student"] = "student"
    sealed: bytes


class ActivationsRequest(Body):
    """Asks a partner for its activations. gradient: by its last ones, sealed by the owner."""

    kind: Literal["activations"] = "activations"
    index: Step = Field(ge=0)
    bundles: dict[str, bytes] = Field(default_factory=dict)
    gradient: bytes = b""


class GradientsRequest(Body):
    """Every partner's activations, each sealed to the owner."""

    kind: Literal["gradients"] = "gradients"
    index: Step = Field(ge=0)
    bundles: dict[str, bytes] = Field(default_factory=dict)
    sealed: dict[str, bytes]


class GradientsReply(Body):
    """The gradients by each partner's activations, sealed to it."""

    kind: Literal["sealed_gradients"] = "sealed_gradients"
    sealed: dict[str, bytes]


class DoneReply(Body):
    """Done; nothing more is told."""

    kind: Literal["done"] = "done"


SharedRequest = (
    BlindRequest
    | HopRequest
    | CountRequest
    | MatchRequest
    | FinishRequest
    | ResidualsRequest
    | ProductsRequest
    | NoisedRequest
    | ScoresRequest
    | ResultRequest
    | StudentRequest
    | ActivationsRequest
    | GradientsRequest
)
SHARED_REQUESTS: tuple[type[SharedRequest], ...] = get_args(SharedRequest)
