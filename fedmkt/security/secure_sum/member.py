"""A member's side of one secure sum: mask once, vote once, open once.

Guarantee: the coordinator, even a lying one that commands fewer than a third of the members,
learns the sum over at least max(3, threshold) members who signed that they are its survivors, and
nothing else of any single update; opening one sum reveals nothing of another.
Not given: with more corrupt members, or all but one of a sum's survivors, an update comes out by
subtraction; a member can put any value into the sum; what the sum itself says is for noise to hide.
Each function takes a state and returns the next one, which must be stored before its message is
sent; a retry sends the stored message again.
Source: Bonawitz et al. 2017, eprint 2017/281, figure 4 (rounds 2 to 4, active adversaries).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from fedmkt.core.errors import (
    AlreadyOpened,
    SignatureInvalid,
    StepOutOfOrder,
    SurvivorsInvalid,
    TooFewMembers,
)
from fedmkt.core.stages import (
    IntArray,
    MaskedUpdate,
    NoiselessUpdate,
    PrivateUpdate,
    TrainedUpdate,
)
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.security.secure_sum.masks import add_masks, pair_mask_key, pair_sign, self_mask_key
from fedmkt.security.secure_sum.messages import (
    VOTE_LABEL,
    Transcript,
    UnmaskReply,
    circle_hash,
    fingerprint,
    parse_transcript,
    vote_statement,
)
from fedmkt.security.secure_sum.opening import open_member, receive_shares, share
from fedmkt.security.secure_sum.state import MemberState

__all__ = [
    "MemberState",
    "mask",
    "mask_noiseless",
    "open_member",
    "receive_shares",
    "share",
    "unmask",
    "vote",
]


def mask(
    state: MemberState, sum_index: int, update: PrivateUpdate | TrainedUpdate, *, request_hash: str
) -> tuple[MemberState, MaskedUpdate]:
    """Add this sum's masks to an update that is private.

    Args: update: values (length,) in grid units; request_hash: what the coordinator asked for.
    Raises: AlreadyOpened when this sum's mask was used; StepOutOfOrder before the shares;
    RangeExceeded for a value outside the ring.
    """
    if not isinstance(update, PrivateUpdate | TrainedUpdate):
        raise TypeError("mask takes a PrivateUpdate or a TrainedUpdate; see mask_noiseless")
    return _mask(state, sum_index, update.values, request_hash)


def mask_noiseless(
    state: MemberState, sum_index: int, update: NoiselessUpdate, *, request_hash: str
) -> tuple[MemberState, MaskedUpdate]:
    """Add this sum's masks to an update of a run that is deliberately without noise.

    Raises: as `mask`.
    """
    if not isinstance(update, NoiselessUpdate):
        raise TypeError("mask_noiseless takes a NoiselessUpdate; see mask for the other kind")
    return _mask(state, sum_index, update.values, request_hash)


def _mask(
    state: MemberState, sum_index: int, values: IntArray, request_hash: str
) -> tuple[MemberState, MaskedUpdate]:
    own = state.sum_at(sum_index, "mask")
    # Security: two updates under one mask differ by their plain difference (a two-time pad).
    if not own.seed:
        raise AlreadyOpened(sum_index=sum_index)
    context = state.context(sum_index)
    streams = [(self_mask_key(context, state.member, own.seed), 1)]
    for name in state.circle:
        if name != state.member:
            public = state.peers[name].mask_keys[sum_index]
            key = pair_mask_key(context, state.member, own.mask_secret, name, public)
            streams.append((key, pair_sign(state.member, name)))
    masked = state.ring.to_ring(values)
    add_masks(masked, streams)
    done = replace(
        own, mask_secret=b"", seed=b"", fingerprint=fingerprint(masked), request_hash=request_hash
    )
    return state.with_sum(sum_index, done), MaskedUpdate(masked)


def vote(
    state: MemberState, sum_index: int, transcript: bytes, identity: Identity
) -> tuple[MemberState, bytes]:
    """Sign the survivors of a sum, once; the same transcript again gives the same signature.

    Raises: SurvivorsInvalid when the transcript is for another sum, request or input, leaves this
    member out or names a stranger; TooFewMembers below the threshold; AlreadyOpened for a second,
    different transcript; StepOutOfOrder before the mask; MessageInvalid.
    """
    own = state.sum_at(sum_index, "vote")
    if not own.fingerprint:
        raise StepOutOfOrder(step=f"vote of sum {sum_index}", run=state.run)
    if identity.public.hex != state.peers[state.member].identity:
        raise SignatureInvalid(member=state.member, what=VOTE_LABEL)
    stated = parse_transcript(transcript)
    _check_transcript(state, sum_index, stated)
    chosen = hashlib.sha256(transcript).digest()
    # Security: two survivor sets opened by the same members give away their difference.
    if own.vote and own.vote != chosen:
        raise AlreadyOpened(sum_index=sum_index)
    voted = replace(own, vote=chosen, survivors=stated.survivors)
    signature = identity.sign(VOTE_LABEL, vote_statement(chosen, state.keys))
    return state.with_sum(sum_index, voted), signature


def _check_transcript(state: MemberState, sum_index: int, stated: Transcript) -> None:
    own = state.sums[sum_index]
    fingerprints = dict(zip(stated.survivors, stated.fingerprints, strict=True))
    problem = ""
    if (stated.run, stated.sum_index) != (state.run, sum_index):
        problem = "they belong to another run or sum"
    elif stated.circle != circle_hash(state.run, state.circle):
        problem = "they belong to another circle of members"
    elif not fingerprints.keys() <= set(state.circle):
        problem = "they name a stranger"
    elif fingerprints.get(state.member) != own.fingerprint:
        problem = "this member or its input is not among them"
    elif stated.request_hash != own.request_hash:
        problem = "the request is not the one this member answered"
    if problem:
        raise SurvivorsInvalid(sum_index=sum_index, problem=problem)
    if len(stated.survivors) < state.threshold:
        raise TooFewMembers(needed=state.threshold, present=len(stated.survivors))


def unmask(
    state: MemberState, sum_index: int, votes: Mapping[str, bytes]
) -> tuple[MemberState, bytes]:
    """Return the seed shares of the survivors and the mask-key shares of the dropped, once.

    Args: votes: signatures by member over the transcript this member itself voted for.
    Raises: AlreadyOpened the second time; SurvivorsInvalid for a vote of a non-survivor;
    TooFewMembers below the threshold; SignatureInvalid; StepOutOfOrder before the vote.
    """
    own = state.sum_at(sum_index, "unmask")
    if own.opened:
        raise AlreadyOpened(sum_index=sum_index)
    if not own.vote:
        raise StepOutOfOrder(step=f"unmask of sum {sum_index}", run=state.run)
    if not votes.keys() <= set(own.survivors):
        raise SurvivorsInvalid(sum_index=sum_index, problem="a vote is not of a survivor")
    if len(votes) < state.threshold:
        raise TooFewMembers(needed=state.threshold, present=len(votes))
    statement = vote_statement(own.vote, state.keys)
    for name in sorted(votes):
        voter = PublicIdentity(state.peers[name].identity)
        voter.verify(VOTE_LABEL, statement, votes[name], member=name)
    # Security: alive and dead are disjoint by construction, so nobody's two secrets are given.
    reply = UnmaskReply(
        run=state.run,
        sum_index=sum_index,
        member=state.member,
        transcript=own.vote,
        seed_shares={name: own.seed_shares[name] for name in own.survivors},
        key_shares={
            name: own.key_shares[name] for name in state.circle if name not in own.survivors
        },
    )
    opened = replace(own, opened=True, key_shares={}, seed_shares={})
    return state.with_sum(sum_index, opened), reply.to_bytes()
