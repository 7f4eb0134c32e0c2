"""Which request belongs to which step, for runs of every kind."""

from fedmkt.core.errors import MessageInvalid
from fedmkt.wire.run import CloseRequest, OpenRequest
from fedmkt.wire.shared import SHARED_REQUESTS, SharedRequest
from fedmkt.wire.training import (
    MaskRequest,
    SharesRequest,
    UnmaskRequest,
    UpdateRequest,
    VoteRequest,
)

Request = (
    OpenRequest
    | CloseRequest
    | SharesRequest
    | MaskRequest
    | UpdateRequest
    | VoteRequest
    | UnmaskRequest
    | SharedRequest
)

_REQUESTS: dict[str, type[Request]] = {
    kind.model_fields["kind"].default: kind
    for kind in (
        OpenRequest,
        CloseRequest,
        SharesRequest,
        MaskRequest,
        UpdateRequest,
        VoteRequest,
        UnmaskRequest,
        *SHARED_REQUESTS,
    )
}


def step_name(request: Request) -> str:
    """Return the step a request belongs to, as in "mask/3" or "open"."""
    if isinstance(request, MaskRequest | UpdateRequest | VoteRequest | UnmaskRequest):
        return f"{request.kind}/{request.sum_index}"
    index = getattr(request, "index", None)
    return request.kind if index is None else f"{request.kind}/{index}"


def parse_request(step: str, body: bytes) -> Request:
    """Parse the request of a step. Raises: MessageInvalid."""
    kind = _REQUESTS.get(step.partition("/")[0])
    if kind is None:
        raise MessageInvalid(kind="request", problem="an unknown step")
    request = kind.from_bytes(body)
    # Security: a step has one name, so its stored reply cannot be asked for under another.
    if step_name(request) != step:
        raise MessageInvalid(kind=request.kind, problem="its step and its index differ")
    return request
