"""The coordinator's side of a secure sum: name the survivors, then take the masks off their sum.

Guarantee: the sum returned is that of the masked inputs named in the transcript, and a wrong or
missing share is noticed against the signed key bundles instead of spoiling it silently.
Not given: signatures are not checked here, members check them for themselves; the coordinator
cannot tell whether a member's input is honest, nor who dealt a wrong share.
Source: Bonawitz et al. 2017, eprint 2017/281, figure 4 (server, rounds 2 to 4).
"""

import hashlib
from collections.abc import Mapping, Sequence

from fedmkt.core.errors import MessageInvalid, ShareInvalid, SurvivorsInvalid, TooFewMembers
from fedmkt.core.stages import IntArray, RingArray
from fedmkt.security.secure_sum import shamir
from fedmkt.security.secure_sum.masks import (
    KEY_BYTES,
    SumContext,
    add_masks,
    pair_mask_key,
    pair_sign,
    public_key,
    self_mask_key,
)
from fedmkt.security.secure_sum.messages import (
    SMALLEST_SUM,
    KeyBundle,
    Transcript,
    UnmaskReply,
    circle_hash,
    fingerprint,
    keys_hash,
    parse_bundle,
    parse_transcript,
    parse_unmask_reply,
    seed_commitment,
    signed_parts,
)
from fedmkt.security.secure_sum.ring import Ring


def transcript(
    run: str,
    sum_index: int,
    circle: Sequence[str],
    masked: Mapping[str, RingArray],
    request_hash: str,
) -> bytes:
    """Return the transcript the survivors are asked to sign.

    Args: circle: the members who dealt shares; masked: input of each survivor, (length,).
    Raises: TooFewMembers below three survivors; SurvivorsInvalid for a stranger's input.
    """
    if not masked.keys() <= set(circle):
        raise SurvivorsInvalid(sum_index=sum_index, problem="an input is not of a member")
    if len(masked) < SMALLEST_SUM:
        raise TooFewMembers(needed=SMALLEST_SUM, present=len(masked))
    survivors = tuple(sorted(masked))
    fingerprints = tuple(fingerprint(masked[name]) for name in survivors)
    named = circle_hash(run, circle)
    return Transcript(run, sum_index, named, survivors, fingerprints, request_hash).to_bytes()


def combine(
    bundles: Mapping[str, bytes],
    circle: Sequence[str],
    sum_index: int,
    masked: Mapping[str, RingArray],
    transcript: bytes,
    unmask_replies: Mapping[str, bytes],
) -> IntArray:
    """Return the sum (length,) of the survivors' updates as signed integers.

    Args: bundles: of the whole run; circle: the members who dealt shares; masked: as handed to
    `transcript`; unmask_replies: of at least the threshold of survivors.
    Raises: TooFewMembers, ShareInvalid, SurvivorsInvalid, MessageInvalid.
    """
    keys = {name: parse_bundle(signed_parts(data)[0]) for name, data in bundles.items()}
    stated = parse_transcript(transcript)
    if stated.circle != circle_hash(stated.run, circle) or stated.sum_index != sum_index:
        raise SurvivorsInvalid(sum_index=sum_index, problem="they belong to another sum")
    dropped = sorted(set(circle) - set(stated.survivors))
    seeds, secrets = _reconstruct(keys, stated, dropped, transcript, unmask_replies)
    context = SumContext(stated.run, sum_index, keys_hash(stated.run, bundles), stated.circle)
    streams = _streams(keys, context, seeds, secrets)
    ring = Ring.of(next(iter(keys.values())).bits)
    first, *others = (masked[name] for name in stated.survivors)
    if any(each.shape != (first.size,) or each.dtype != ring.dtype for each in (first, *others)):
        raise MessageInvalid(kind="masked input", problem="lengths or rings differ")
    total = first.copy()
    add_masks(total, streams, others)
    return ring.from_ring(total)


def _streams(
    keys: Mapping[str, KeyBundle],
    context: SumContext,
    seeds: Mapping[str, bytes],
    secrets: Mapping[str, bytes],
) -> list[tuple[bytes, int]]:
    """Return the masks left in the sum: the living's own and theirs with the dropped."""
    streams = [(self_mask_key(context, name, seed), -1) for name, seed in seeds.items()]
    for dead, secret in secrets.items():
        for name in seeds:
            public = keys[name].mask_keys[context.sum_index]
            key = pair_mask_key(context, dead, secret, name, public)
            streams.append((key, -pair_sign(name, dead)))
    return streams


def _reconstruct(
    keys: Mapping[str, KeyBundle],
    stated: Transcript,
    dropped: Sequence[str],
    transcript: bytes,
    replies: Mapping[str, bytes],
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the seeds of the survivors and the mask secrets of the dropped, checked."""
    some = next(iter(keys.values()))
    if len(replies) < some.threshold:
        raise TooFewMembers(needed=some.threshold, present=len(replies))
    used = sorted(replies)[: some.threshold]
    parsed = {
        1 + some.roster.index(name): _check_reply(stated, dropped, transcript, name, replies[name])
        for name in used
    }
    weights = shamir.weights_at_zero(sorted(parsed))
    seeds, secrets = {}, {}
    for name in stated.survivors:
        shares = {point: reply.seed_shares[name] for point, reply in parsed.items()}
        seeds[name] = _secret(shares, weights, name, stated.sum_index)
        if seed_commitment(seeds[name]) != keys[name].seed_commitments[stated.sum_index]:
            raise _wrong(name, stated.sum_index)
    for name in dropped:
        shares = {point: reply.key_shares[name] for point, reply in parsed.items()}
        secrets[name] = _secret(shares, weights, name, stated.sum_index)
        if public_key(secrets[name]) != keys[name].mask_keys[stated.sum_index]:
            raise _wrong(name, stated.sum_index)
    return seeds, secrets


def _check_reply(
    stated: Transcript, dropped: Sequence[str], transcript: bytes, name: str, data: bytes
) -> UnmaskReply:
    reply = parse_unmask_reply(data)
    named = (reply.run, reply.sum_index, reply.member, reply.transcript)
    wanted = (stated.run, stated.sum_index, name, hashlib.sha256(transcript).digest())
    if named != wanted or name not in stated.survivors:
        raise MessageInvalid(kind="unmask reply", problem=f"that of {name} is for another sum")
    if reply.seed_shares.keys() != set(stated.survivors) or reply.key_shares.keys() != set(dropped):
        raise ShareInvalid(member=name, sum_index=stated.sum_index, problem="some are missing")
    return reply


def _secret(
    shares: Mapping[int, bytes], weights: Mapping[int, int], name: str, sum_index: int
) -> bytes:
    numbers = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    value = shamir.combine(numbers, weights)
    if value >> (8 * KEY_BYTES):
        raise _wrong(name, sum_index)
    return value.to_bytes(KEY_BYTES, "big")


def _wrong(name: str, sum_index: int) -> ShareInvalid:
    return ShareInvalid(
        member=name, sum_index=sum_index, problem="they do not give what its key bundle states"
    )
