"""Keys for one run over shared customers, and what members send each other past the coordinator.

Guarantee: a value that `open_from` returns was sealed by the member it names, for this receiver,
step and run, under exactly this set of bundles, each signed by its member's identity in the
contract; who holds neither secret learns its length only. A coordinator that swaps a key is found
by the signature, one that shows members different bundles by seals that do not open.
Not guaranteed: freshness within a step (a node answers a step once), nor that a member's facts are
true.
Source: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D).
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedmkt.core.errors import MessageInvalid, SetReplayed, SignatureInvalid
from fedmkt.identity.keys import Identity
from fedmkt.identity.sealed import open_sealed, seal
from fedmkt.identity.signed_message import Directory
from fedmkt.security.secure_sum.masks import KEY_BYTES, agree, derive, public_key
from fedmkt.wire.canonical import decode, encode

LABEL = "shared.keys"


@dataclass(frozen=True, slots=True)
class Peer:
    """What a member's signed bundle says: its public key in this run, and its facts."""

    public: bytes
    facts: Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class RunKeys:
    """A member's secret of a run and, once they are known, everybody's bundles."""

    run: str
    member: str
    secret: bytes = field(repr=False)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    bundles_hash: bytes = b""

    @property
    def public_keys(self) -> dict[str, bytes]:
        """Return every member's public key, this one's included."""
        return {member: peer.public for member, peer in self.peers.items()}

    def seal_to(self, receiver: str, step: str, plaintext: bytes) -> bytes:
        """Encrypt for `receiver` (perhaps this member itself, later) as part of `step`."""
        key = self._pair_key(receiver)
        return seal(key, plaintext, context=self._context(step, self.member, receiver))

    def open_from(self, sender: str, step: str, sealed: bytes) -> bytes:
        """Decrypt what `sender` sealed to this member. Raises: SealBroken, MessageInvalid."""
        key, context = self._pair_key(sender), self._context(step, sender, self.member)
        return open_sealed(key, sealed, context=context, what=f"message of {sender}")

    def derive_secret(self, label: str) -> bytes:
        """Return 32 secret bytes of this member and run, for `label` alone."""
        return derive(self.secret, "shared.own", [label, self.run, self.member])

    def pair_secret(self, other: str, label: str) -> bytes:
        """Return 32 bytes that this member and `other` have in common, for `label` alone."""
        shared = agree(self.secret, self._peer(other).public, member=other)
        pair = sorted((self.member, other))
        return derive(shared, "shared.pair", [label, self.run, self.bundles_hash, *pair])

    def to_plain(self) -> list[object]:
        """Return plain values, for a state that is sealed before it is stored."""
        peers = {name: [peer.public, dict(peer.facts)] for name, peer in self.peers.items()}
        return [self.run, self.member, self.secret, peers, self.bundles_hash]

    @classmethod
    def from_plain(cls, value: list[object]) -> "RunKeys":
        """Return the keys of plain values."""
        run, member, secret, peers, bundles_hash = value
        assert isinstance(run, str)
        assert isinstance(member, str)
        assert isinstance(secret, bytes)
        assert isinstance(peers, dict)
        assert isinstance(bundles_hash, bytes)
        known = {name: Peer(public, facts) for name, (public, facts) in peers.items()}
        return cls(run, member, secret, known, bundles_hash)

    def _pair_key(self, other: str) -> bytes:
        return self.pair_secret(other, "seal")

    def _peer(self, member: str) -> Peer:
        if member not in self.peers:
            raise MessageInvalid(kind="sealed message", problem="it is of no member of this run")
        return self.peers[member]

    def _context(self, step: str, sender: str, receiver: str) -> bytes:
        return encode([self.run, self.bundles_hash, step, sender, receiver])


def open_keys(
    identity: Identity, *, run: str, contract: str, member: str, facts: Mapping[str, int | str]
) -> tuple[RunKeys, bytes]:
    """Make a member's keys of a run and its signed bundle, which states `facts` to the others."""
    secret = os.urandom(KEY_BYTES)
    stated = encode([run, contract, member, public_key(secret), dict(facts)])
    bundle = encode([stated, identity.sign(LABEL, stated)])
    return RunKeys(run, member, secret), bundle


def read_bundles(
    keys: RunKeys,
    bundles: Mapping[str, bytes],
    *,
    contract: str,
    roster: tuple[str, ...],
    directory: Directory,
) -> RunKeys:
    """Return the keys with everybody's bundles, each checked against the contract.

    Raises: MessageInvalid (form, another run or contract, not exactly the roster),
        SignatureInvalid, SetReplayed (two members with one key, or not this member's own).
    """
    if set(bundles) != set(roster):
        raise MessageInvalid(kind="key bundles", problem="they are not exactly the members'")
    peers = {
        member: _read(bundles[member], member, keys.run, contract, directory) for member in roster
    }
    publics = {peer.public for peer in peers.values()}
    # Security: a member that repeats another's key could pass on that member's seals as its own.
    if len(publics) != len(peers) or peers[keys.member].public != public_key(keys.secret):
        raise SetReplayed(member="a member", problem="a key is used twice, or is not this run's")
    digests = {member: hashlib.sha256(bundles[member]).digest() for member in sorted(roster)}
    return RunKeys(
        keys.run, keys.member, keys.secret, peers, hashlib.sha256(encode(digests)).digest()
    )


def _read(bundle: bytes, member: str, run: str, contract: str, directory: Directory) -> Peer:
    stated, signature = _pair(bundle)
    if member not in directory:
        raise SignatureInvalid(member="an unknown member", what=LABEL)
    directory[member].verify(LABEL, stated, signature, member=member)
    value = decode(stated, kind="key bundle")
    if not isinstance(value, list) or len(value) != 5 or value[:3] != [run, contract, member]:
        raise MessageInvalid(kind="key bundle", problem="it is of another run or member")
    public, facts = value[3:]
    if not isinstance(public, bytes) or len(public) != KEY_BYTES or not _are_facts(facts):
        raise MessageInvalid(kind="key bundle", problem="a field of the wrong type")
    return Peer(public, facts)


def _pair(bundle: bytes) -> tuple[bytes, bytes]:
    value = decode(bundle, kind="key bundle")
    if not isinstance(value, list) or [type(part) for part in value] != [bytes, bytes]:
        raise MessageInvalid(kind="key bundle", problem="wrong fields")
    if encode(value) != bundle:
        raise MessageInvalid(kind="key bundle", problem="not in canonical form")
    return value[0], value[1]


def _are_facts(facts: object) -> bool:
    return isinstance(facts, dict) and all(
        type(name) is str and type(fact) in (int, str) for name, fact in facts.items()
    )
