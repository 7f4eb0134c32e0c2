"""The two opening exchanges of a run: signed keys, then sealed shares, for all its sums at once.

Guarantee: a member goes on only with bundles that the contract's identities signed for this very
run, roster, threshold and ring, without a repeated key or seed; each sum has keys and a seed of
its own, so opening one sum says nothing of another.
Not given: a member that deals wrong shares is noticed when its secrets are reconstructed, not
before; a member absent from the shares is left out of all sums of the run.
Source: Bonawitz et al. 2017, eprint 2017/281, section 4 and figure 4 (rounds 0 and 1).
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fedmkt.core.errors import MessageInvalid, ShareInvalid, StepOutOfOrder, TooFewMembers
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.security.secure_sum import shamir
from fedmkt.security.secure_sum.masks import KEY_BYTES, agree, derive, keystream, public_key
from fedmkt.security.secure_sum.messages import (
    KEYS_LABEL,
    KeyBundle,
    keys_hash,
    parse_bundle,
    seed_commitment,
    sign_bundle,
    signed_parts,
    threshold_of,
)
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.security.secure_sum.state import MemberState, Peer, Phase, SumState
from fedmkt.wire.canonical import encode

_PAIR_BYTES = 2 * shamir.SHARE_BYTES
# 16 bytes more than the field needs: reducing them is uniform up to 2**-135.
_COEFFICIENT_BYTES = shamir.SHARE_BYTES + 16
_CURVE_PRIME = 2**255 - 19


@dataclass(frozen=True, slots=True, repr=False)
class _Secrets:
    share_secret: bytes
    polynomial_seed: bytes
    mask_secrets: tuple[bytes, ...]
    seeds: tuple[bytes, ...]

    @classmethod
    def fresh(cls, sums: int) -> "_Secrets":
        draw = [os.urandom(KEY_BYTES) for _ in range(2 + 2 * sums)]
        return cls(draw[0], draw[1], tuple(draw[2 : 2 + sums]), tuple(draw[2 + sums :]))


def open_member(
    *, identity: Identity, member: str, run: str, roster: tuple[str, ...], sums: int, ring: Ring
) -> tuple[MemberState, bytes]:
    """Make all keys and seeds of a run and return them with the signed key bundle.

    Args: roster: all members, this one included; sums: how many sums the run will open.
    Raises: TooFewMembers below three members; MessageInvalid for a roster with repeats, without
    this member, or a run of no sums.
    """
    return _open(_Secrets.fresh(sums), identity, member, run, roster, ring)


def _open(
    secrets: _Secrets,
    identity: Identity,
    member: str,
    run: str,
    roster: tuple[str, ...],
    ring: Ring,
) -> tuple[MemberState, bytes]:
    names = tuple(sorted(set(roster)))
    if len(names) != len(roster) or member not in names or not secrets.seeds:
        raise MessageInvalid(
            kind="opening", problem="it needs distinct members, this one too, and a sum"
        )
    bundle = KeyBundle(
        run=run,
        member=member,
        roster=names,
        threshold=threshold_of(len(names)),
        bits=ring.bits,
        share_key=public_key(secrets.share_secret),
        mask_keys=tuple(public_key(secret) for secret in secrets.mask_secrets),
        seed_commitments=tuple(seed_commitment(seed) for seed in secrets.seeds),
    )
    signed = sign_bundle(bundle, identity)
    state = MemberState(
        run=run,
        member=member,
        roster=names,
        bits=ring.bits,
        phase=Phase.KEYED,
        sums=tuple(
            SumState(mask_secret=secret, seed=seed)
            for secret, seed in zip(secrets.mask_secrets, secrets.seeds, strict=True)
        ),
        bundle=hashlib.sha256(signed).digest(),
        share_secret=secrets.share_secret,
        polynomial_seed=secrets.polynomial_seed,
    )
    return state, signed


def share(
    state: MemberState, bundles: Mapping[str, bytes], directory: Mapping[str, PublicIdentity]
) -> tuple[MemberState, dict[str, bytes]]:
    """Check all members' key bundles and return the sealed shares for each other member.

    Args: bundles: of the whole roster, the member's own included; directory: the contract's keys.
    Raises: SignatureInvalid for a swapped key or an altered bundle; MessageInvalid for a bundle
    that is missing, foreign or repeats a key; StepOutOfOrder after the first call.
    """
    if state.phase is not Phase.KEYED:
        raise StepOutOfOrder(step="share", run=state.run)
    checked = _check_bundles(state, bundles, directory)
    peers = {
        name: Peer(directory[name].hex, bundle.share_key, bundle.mask_keys)
        for name, bundle in checked.items()
    }
    shared = replace(
        state,
        phase=Phase.SHARED,
        peers=peers,
        keys=keys_hash(state.run, bundles),
        polynomial_seed=b"",
    )
    dealt = _deal(state)
    outbox = {
        name: seal(
            _seal_key(shared, state.member, name),
            b"".join(key + seed for key, seed in dealt[name]),
            context=_seal_context(shared, state.member, name),
        )
        for name in state.roster
        if name != state.member
    }
    return _keep(shared, state.member, dealt[state.member]), outbox


def receive_shares(state: MemberState, inbox: Mapping[str, bytes]) -> MemberState:
    """Open the shares the other members dealt; who dealt none is left out of the run's sums.

    Security: masks are bound to the circle of those who dealt, so members who were shown
    different circles cannot be unmasked together.
    Raises: SealBroken, ShareInvalid, MessageInvalid for a stranger, TooFewMembers below the
    threshold, StepOutOfOrder unless it follows `share`.
    """
    if state.phase is not Phase.SHARED:
        raise StepOutOfOrder(step="receive_shares", run=state.run)
    if not inbox.keys() <= set(state.roster) - {state.member}:
        raise MessageInvalid(kind="share inbox", problem="it names a stranger or this member")
    if len(inbox) + 1 < state.threshold:
        raise TooFewMembers(needed=state.threshold, present=len(inbox) + 1)
    received = state
    for sender in sorted(inbox):
        plain = open_sealed(
            _seal_key(state, sender, state.member),
            inbox[sender],
            context=_seal_context(state, sender, state.member),
            what=f"share of {sender}",
        )
        received = _keep(received, sender, _unpack(state, sender, plain))
    circle = tuple(sorted({*inbox, state.member}))
    return replace(received, phase=Phase.READY, circle=circle, share_secret=b"")


def _check_bundles(
    state: MemberState, bundles: Mapping[str, bytes], directory: Mapping[str, PublicIdentity]
) -> dict[str, KeyBundle]:
    if bundles.keys() != set(state.roster) or not bundles.keys() <= directory.keys():
        raise MessageInvalid(
            kind="key bundle", problem="the bundles or identities are not those of the roster"
        )
    if hashlib.sha256(bundles[state.member]).digest() != state.bundle:
        raise MessageInvalid(kind="key bundle", problem="this member's own bundle was altered")
    checked = {}
    for name in state.roster:
        body, signature = signed_parts(bundles[name])
        # Security: the contract's key decides, so a coordinator that swaps keys is caught here.
        directory[name].verify(KEYS_LABEL, body, signature, member=name)
        checked[name] = _check_bundle(state, name, parse_bundle(body))
    _refuse_repeats(checked)
    return checked


def _check_bundle(state: MemberState, name: str, bundle: KeyBundle) -> KeyBundle:
    expected = (state.run, name, state.roster, state.threshold, state.bits, len(state.sums))
    stated = (
        bundle.run,
        bundle.member,
        bundle.roster,
        bundle.threshold,
        bundle.bits,
        len(bundle.mask_keys),
    )
    if stated != expected:
        raise MessageInvalid(
            kind="key bundle", problem=f"the bundle of {name} is for another run or roster"
        )
    for key in (bundle.share_key, *bundle.mask_keys):
        # Security: X25519 ignores the top bit and reduces the rest, so other encodings of a key
        # would pass for a second key; keys of small order give everybody the same secret.
        if int.from_bytes(key, "little") >= _CURVE_PRIME:
            raise MessageInvalid(kind="key bundle", problem=f"a key of {name} is unusable")
        agree(state.share_secret, key, member=name)
    return bundle


def _refuse_repeats(bundles: Mapping[str, KeyBundle]) -> None:
    # Security: a secret used for two sums lets the opening of one open the other.
    keys = [key for bundle in bundles.values() for key in (bundle.share_key, *bundle.mask_keys)]
    seeds = [seed for bundle in bundles.values() for seed in bundle.seed_commitments]
    if len(set(keys)) != len(keys) or len(set(seeds)) != len(seeds):
        raise MessageInvalid(kind="key bundle", problem="a key or a seed is used twice")


def _deal(state: MemberState) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return for each member its shares (mask key, seed) of all sums."""
    points = range(1, len(state.roster) + 1)
    dealt: dict[str, list[tuple[bytes, bytes]]] = {name: [] for name in state.roster}
    for index, one in enumerate(state.sums):
        columns = []
        for kind, secret in (("key", one.mask_secret), ("seed", one.seed)):
            coefficients = list(_coefficients(state, kind, index))
            shares = shamir.split(int.from_bytes(secret, "big"), coefficients, points)
            columns.append([shamir.to_bytes(each) for each in shares])
        for name, key_share, seed_share in zip(state.roster, *columns, strict=True):
            dealt[name].append((key_share, seed_share))
    return dealt


def _coefficients(state: MemberState, kind: str, index: int) -> Iterator[int]:
    key = derive(state.polynomial_seed, "polynomial", [state.run, state.member, kind, index])
    stream = keystream(key, (state.threshold - 1) * _COEFFICIENT_BYTES)
    for start in range(0, len(stream), _COEFFICIENT_BYTES):
        word = stream[start : start + _COEFFICIENT_BYTES]
        yield int.from_bytes(word, "big") % shamir.PRIME


def _keep(state: MemberState, sender: str, shares: list[tuple[bytes, bytes]]) -> MemberState:
    sums = tuple(
        replace(
            one,
            key_shares={**one.key_shares, sender: key_share},
            seed_shares={**one.seed_shares, sender: seed_share},
        )
        for one, (key_share, seed_share) in zip(state.sums, shares, strict=True)
    )
    return replace(state, sums=sums)


def _unpack(state: MemberState, sender: str, plain: bytes) -> list[tuple[bytes, bytes]]:
    if len(plain) != len(state.sums) * _PAIR_BYTES:
        raise ShareInvalid(member=sender, sum_index="all", problem="they have the wrong length")
    middle = shamir.SHARE_BYTES
    pairs = [plain[at : at + _PAIR_BYTES] for at in range(0, len(plain), _PAIR_BYTES)]
    return [(pair[:middle], pair[middle:]) for pair in pairs]


def _seal_context(state: MemberState, sender: str, receiver: str) -> bytes:
    return encode(["secure_sum.share", state.run, sender, receiver, state.keys])


def _seal_key(state: MemberState, sender: str, receiver: str) -> bytes:
    other = sender if receiver == state.member else receiver
    shared = agree(state.share_secret, state.peers[other].share_key, member=other)
    return derive(shared, "share", [state.run, sender, receiver, state.keys])
