"""The steps of an alignment at a node: its customers blinded, passed around, and found again.

Guarantee: what leaves is a list of blinded points, sealed to the member that blinds it next, of a
size that carries noise. This node ends up with the order numbers of its own shared customers, and
nothing about anybody else's.
The first party compares all lists: beyond that it learns how many customers any members share, and
of its own customers which members know them.
"""

from collections.abc import Mapping

import numpy as np

from fedmkt.contract.vertical_jobs import AlignmentJob
from fedmkt.core.errors import (
    AlignmentMismatch,
    StepOutOfOrder,
)
from fedmkt.data.aligned import fingerprint_aligned
from fedmkt.data.identifiers import Customers, identifier_bytes
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.alignment_sizes import (
    COUNTED,
    dummies_for,
    overlap_moves,
    shift_for_size,
    size_stage,
)
from fedmkt.node.alignments import customers_of
from fedmkt.node.answer import Answer, Priced
from fedmkt.node.customers import (
    opened_list,
)
from fedmkt.node.home import NodeHome
from fedmkt.node.rounds import LENGTH_BYTES, padded_to, unpadded
from fedmkt.node.shared_state import SharedState
from fedmkt.security.psi import linking, lists
from fedmkt.security.psi.group import BlindingKey
from fedmkt.wire.shared import (
    BlindRequest,
    FinishReply,
    FinishRequest,
    HopRequest,
    ListReply,
    MatchReply,
    MatchRequest,
)

SIZE, OVERLAP, MEMBERSHIP = 0, 1, 2  # the releases, in their order
_LINK_BYTES = 33  # a key column and a tag


def blind(
    home: NodeHome, state: SharedState, request: BlindRequest, customers: Customers
) -> Answer:
    """Blind this member's own list and seal it to the next member."""
    state = state.knowing(home, request.bundles)
    tags, order = lists.own_list(
        identifier_bytes(customers),
        padded_rows=state.memory["rows"],
        domain=_domain(state),
        key=_key(state),
    )
    after = _neighbour(state, 1)
    sealed = state.keys.seal_to(after, _list_name(home.member, 1), lists.tags_to_bytes(tags))
    state = state.remembering(order=order.astype("<i4").tobytes())
    facts: dict[str, JSON] = {"members": sorted(request.bundles)}
    return Answer(ListReply(sealed={after: sealed}), state, "answered", facts)


def hop(state: SharedState, request: HopRequest) -> Answer:
    """Blind another member's list and seal it on; after the last hop, to those who compare."""
    members, hop = state.job.members, request.index
    if not 1 <= hop < len(members):
        raise StepOutOfOrder(step=f"hop/{hop}", run=state.run)
    origin = _neighbour(state, -hop)
    tags = opened_list(
        state,
        origin,
        _neighbour(state, -1),
        _list_name(origin, hop),
        request.sealed,
        columns=len(_job(state).keys),
    )
    passed = lists.pass_on(tags, _key(state), member=origin)
    if hop < len(members) - 1:
        after, data = _neighbour(state, 1), lists.tags_to_bytes(passed)
        parts = {after: state.keys.seal_to(after, _list_name(origin, hop + 1), data)}
    else:
        parts = _to_compare(state, origin, passed)
    facts: dict[str, JSON] = {"hop": hop, "list": origin, "rows": int(tags.shape[1])}
    if hop > 1:
        return Answer(ListReply(sealed=parts), state, "answered", facts)
    # Privacy: from its first hop on this member's key is on others' lists, and they may come to be
    # compared without it, whatever comes of the rest.
    passed_on = state.passed(size_stage(_job(state)), COUNTED)
    commits = (OVERLAP, MEMBERSHIP)
    return Answer(ListReply(sealed=parts), passed_on, "released", facts, commits=commits)


def _to_compare(state: SharedState, origin: str, passed: lists.Tags) -> dict[str, bytes]:
    """Seal a fully blinded list to the member it is of, and to who compares or witnesses."""
    first, data = state.job.members[0], lists.tags_to_bytes(passed)
    parts = {origin: state.keys.seal_to(origin, _list_name(origin, 0), data)}
    if origin == first:
        # Kept for later: this member witnesses that links are of the first party's list.
        own = state.keys.member
        parts[own] = state.keys.seal_to(own, "witness", data)
    else:
        # Privacy: in another order, so that the first party cannot follow rows to a member.
        mixed = lists.tags_to_bytes(lists.shuffled(passed))
        parts[first] = state.keys.seal_to(first, _list_name(origin, 0), mixed)
    return parts


def match(home: NodeHome, state: SharedState, request: MatchRequest) -> Answer:
    """Compare all fully blinded lists; seal the links to each member."""
    members = state.job.members
    if state.keys.member != members[0] or set(request.sealed) != set(members):
        raise StepOutOfOrder(step="match", run=state.run)
    tags = {
        member: opened_list(
            state,
            member,
            members[place - 1],
            _list_name(member, 0),
            request.sealed[member],
            columns=len(_job(state).keys),
        )
        for place, member in enumerate(members)
    }
    links = linking.link(tags)
    job = _job(state)
    padded = links.count + dummies_for(home, state.run, "overlap", job, overlap_moves(job))
    # Privacy: as long as the noised overlap, whose noise all members state from here on.
    data = padded_to(linking.links_to_bytes(links), padded * _LINK_BYTES)
    sealed = {member: state.keys.seal_to(member, "links", data) for member in members}
    facts: dict[str, JSON] = {"members": sorted(members), "padded": padded}
    return Answer(MatchReply(sealed=sealed), state, "answered", facts)


def finish(
    home: NodeHome,
    state: SharedState,
    request: FinishRequest,
    priced: Priced,
    customers: Customers,
) -> Answer:
    """Find this member's own customers among the links; state the overlap with its noise."""
    links, padded = _links_told(state, request)
    keys = _linked_customers(state, request, links, customers)
    overlap, size = _sizes(state, padded)
    found: dict[str, object] = {
        "dataset": priced.dataset.name,
        "digest": linking.digest_of(links, alignment=state.run),
        "overlap": overlap,
        "padded": padded,
        "size": size,
        "fingerprint": fingerprint_aligned(
            home.source(priced.dataset.name),
            priced.dataset.table,
            customers_of(home, priced.dataset, state.run, keys),
        ),
        "counts": _counts(customers),
        "customer_keys": keys,
    }
    # The secrets of the blinding end here; nobody can align another list against this one.
    state = state.remembering(alignment=found, key=b"", order=b"")
    reply = FinishReply(overlap=overlap, size=size, digest=str(found["digest"]))
    return Answer(reply, state, "answered", {"overlap": overlap, "size": size})


def _links_told(state: SharedState, request: FinishRequest) -> tuple[linking.Links, int]:
    """Return the links that the first party found, and to how many they are padded."""
    data = state.keys.open_from(state.job.members[0], "links", request.links)
    padded = (len(data) - LENGTH_BYTES) // _LINK_BYTES
    links = linking.links_from_bytes(unpadded(data), alignment=state.run)
    _check_padding(state, padded - links.count)
    return links, padded


def _linked_customers(
    state: SharedState, request: FinishRequest, links: linking.Links, customers: Customers
) -> list[str]:
    """Return the keys of this member's own customers that are linked, in the order of the links."""
    member = state.keys.member
    own = opened_list(
        state,
        member,
        _neighbour(state, -1),
        _list_name(member, 0),
        request.own,
        columns=len(_job(state).keys),
    )
    positions = linking.find_positions(own, links, alignment=state.run)
    _witness(state, request, links)
    indices = np.frombuffer(state.memory["order"], dtype="<i4")[positions]
    if (indices < 0).any():
        raise AlignmentMismatch(alignment=state.run, problem="a dummy was linked")
    return [customers.customer_keys[index] for index in indices.tolist()]


def _check_padding(state: SharedState, dummies: int) -> None:
    """Refuse a stated overlap further from the true one than any honest draw of its noise."""
    job = _job(state)
    most = 2 * shift_for_size(job, overlap_moves(job))
    # Security: by more the first party could pass any agreed minimum.
    if not 0 <= dummies <= most:
        raise AlignmentMismatch(
            alignment=state.run, problem="the overlap is padded beyond its noise"
        )


def _witness(state: SharedState, request: FinishRequest, links: linking.Links) -> None:
    """Check that the links are of the first party's list, where this member passed it on last."""
    first = state.job.members[0]
    if _neighbour(state, 1) != first:
        return
    # Security: without this the first party could link rows that it has no customer for.
    data = state.keys.open_from(state.keys.member, "witness", request.witness)
    rows = state.keys.peers[first].facts["rows"]
    tags = lists.tags_from_bytes(data, columns=len(_job(state).keys), rows=int(rows), member=first)
    linking.find_positions(tags, links, alignment=state.run)


def _sizes(state: SharedState, padded: int) -> tuple[int, int]:
    """Return the overlap and this member's set size as they may be stated."""
    job = _job(state)
    overlap = padded - shift_for_size(job, overlap_moves(job))
    size = state.memory["rows"] - shift_for_size(job, 1)
    return max(0, overlap), max(0, size)


def _counts(customers: Customers) -> Mapping[str, int]:
    return {
        "rows": customers.rows,
        "duplicates": customers.duplicates,
        "opted_out": customers.opted_out,
        "unusable": customers.unusable,
        "offered": len(customers.customer_keys),
    }


def _domain(state: SharedState) -> bytes:
    return f"fedmkt/v1/alignment/{state.run}".encode()


def _key(state: SharedState) -> BlindingKey:
    return BlindingKey.from_bytes(state.memory["key"])


def _job(state: SharedState) -> AlignmentJob:
    assert isinstance(state.job, AlignmentJob)
    return state.job


def _neighbour(state: SharedState, steps: int) -> str:
    members = state.job.members
    return members[(members.index(state.keys.member) + steps) % len(members)]


def _list_name(origin: str, hop: int) -> str:
    return f"list of {origin} for hop {hop}"
