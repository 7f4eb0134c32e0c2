"""The messages of the secure sum and their canonical bytes.

Guarantee: one message has one encoding, other bytes are refused; a key bundle is signed as a
whole, and a vote stands for one transcript under one set of key bundles.
Not given: nobody learns here whether a parsed bundle is the right one; `opening.share` checks it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedmkt.core.errors import MessageInvalid, TooFewMembers
from fedmkt.core.stages import RingArray
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum.shamir import SHARE_BYTES
from fedmkt.wire.canonical import decode, encode

PROTOCOL = "fedmkt/v1/secure_sum"
KEYS_LABEL = "secure_sum.keys"
VOTE_LABEL = "secure_sum.survivors"
SMALLEST_SUM = 3
FINGERPRINT_BYTES = 16


def threshold_of(members: int) -> int:
    """Return how many of `members` must stand in a sum and open it: max(3, floor(2K/3) + 1).

    Security: two conflicting votes would need more than a third of the members to vote twice.
    Raises: TooFewMembers below three members.
    Source: Bonawitz et al. 2017, section 6.2 (more than two thirds against a lying server).
    """
    if members < SMALLEST_SUM:
        raise TooFewMembers(needed=SMALLEST_SUM, present=members)
    return max(SMALLEST_SUM, 2 * members // 3 + 1)


def sha256(*parts: object) -> bytes:
    """Return the SHA-256 of the parts' canonical encoding."""
    return hashlib.sha256(encode(list(parts))).digest()


def circle_hash(run: str, circle: Iterable[str]) -> bytes:
    """Return the hash of a run's circle: the members who dealt shares, so who stand in its sums."""
    return sha256(PROTOCOL, "circle", run, sorted(circle))


def keys_hash(run: str, bundles: Mapping[str, bytes]) -> bytes:
    """Return the hash of all members' signed key bundles."""
    named = {member: hashlib.sha256(bundle).digest() for member, bundle in bundles.items()}
    return sha256(PROTOCOL, "keys", run, named)


def seed_commitment(seed: bytes) -> bytes:
    """Return what a bundle says of a seed; equal seeds show, the seed does not."""
    return sha256(PROTOCOL, "seed", seed)


def fingerprint(values: RingArray) -> bytes:
    """Return 16 bytes (AES-GMAC under a public key) that stand for masked values (length,).

    Guarantee: values altered, mixed up or cut by accident get another fingerprint. Not given:
    whoever wants to can make two inputs with one fingerprint.
    """
    # Security: enough here. A lying coordinator can state the right print and add up other
    # values whatever the hash, and what opens depends on the survivors alone; SHA-256 would cost
    # more than all the masking. The bytes a member sent are bound by its signature on the message.
    key = sha256(PROTOCOL, "masked", values.dtype.itemsize * 8)
    words = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return AESGCM(key).encrypt(bytes(12), b"", words.view(np.uint8).data)


def fields(data: bytes, kind: str, shape: Mapping[str, type]) -> dict[str, Any]:
    """Parse a canonical map with exactly the keys and types of `shape`. Raises: MessageInvalid."""
    value = decode(data, kind=kind)
    if not isinstance(value, dict) or value.keys() != shape.keys():
        raise MessageInvalid(kind=kind, problem="its fields are not the expected ones")
    if any(type(value[name]) is not wanted for name, wanted in shape.items()):
        raise MessageInvalid(kind=kind, problem="a field has the wrong type")
    # Security: a second encoding of the same values would be a second message to sign and hash.
    if not _is_canonical(value, data):
        raise MessageInvalid(kind=kind, problem="it is not in canonical form")
    return value


def _is_canonical(value: object, data: bytes) -> bool:
    try:
        return encode(value) == data
    except (cbor2.CBOREncodeError, ValueError, TypeError, RecursionError):
        return False


def all_bytes(values: Iterable[object], length: int, kind: str) -> None:
    """Check that all values are byte strings of one length. Raises: MessageInvalid."""
    if not all(type(value) is bytes and len(value) == length for value in values):
        raise MessageInvalid(kind=kind, problem=f"a value is not {length} bytes")


def all_names(values: Iterable[object], kind: str) -> tuple[str, ...]:
    """Check that the values are distinct names in sorted order. Raises: MessageInvalid."""
    names = [value for value in values if isinstance(value, str)]
    if names != list(values) or names != sorted(set(names)):
        raise MessageInvalid(kind=kind, problem="members are not distinct names in order")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class KeyBundle:
    """One member's public keys for a run: one for shares, one per sum for masks."""

    run: str
    member: str
    roster: tuple[str, ...]
    threshold: int
    bits: int
    share_key: bytes
    mask_keys: tuple[bytes, ...]
    seed_commitments: tuple[bytes, ...]


_BUNDLE = {
    "context": str,
    "run": str,
    "member": str,
    "roster": list,
    "threshold": int,
    "bits": int,
    "share_key": bytes,
    "mask_keys": list,
    "seed_commitments": list,
}


def sign_bundle(bundle: KeyBundle, identity: Identity) -> bytes:
    """Return the bundle's bytes, signed under the label of key bundles."""
    body = encode(
        {
            "context": PROTOCOL,
            "run": bundle.run,
            "member": bundle.member,
            "roster": list(bundle.roster),
            "threshold": bundle.threshold,
            "bits": bundle.bits,
            "share_key": bundle.share_key,
            "mask_keys": list(bundle.mask_keys),
            "seed_commitments": list(bundle.seed_commitments),
        }
    )
    return encode({"body": body, "signature": identity.sign(KEYS_LABEL, body)})


def signed_parts(data: bytes) -> tuple[bytes, bytes]:
    """Return the signed body of a bundle and its signature. Raises: MessageInvalid."""
    outer = fields(data, "key bundle", {"body": bytes, "signature": bytes})
    return outer["body"], outer["signature"]


def parse_bundle(body: bytes) -> KeyBundle:
    """Parse a bundle's body. Raises: MessageInvalid."""
    kind = "key bundle"
    value = fields(body, kind, _BUNDLE)
    if value.pop("context") != PROTOCOL:
        raise MessageInvalid(kind=kind, problem="it belongs to another protocol")
    roster = all_names(value.pop("roster"), kind)
    mask_keys, commitments = value.pop("mask_keys"), value.pop("seed_commitments")
    all_bytes([value["share_key"], *mask_keys, *commitments], 32, kind)
    if len(mask_keys) != len(commitments):
        raise MessageInvalid(kind=kind, problem="it has keys and seeds for different sums")
    return KeyBundle(
        roster=roster, mask_keys=tuple(mask_keys), seed_commitments=tuple(commitments), **value
    )


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the survivors of one sum sign before anything is unmasked.

    circle: `circle_hash`; fingerprints: of the survivors' inputs; request_hash: what was asked.
    """

    run: str
    sum_index: int
    circle: bytes
    survivors: tuple[str, ...]
    fingerprints: tuple[bytes, ...]
    request_hash: str

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "context": PROTOCOL,
                "run": self.run,
                "sum": self.sum_index,
                "circle": self.circle,
                "survivors": list(self.survivors),
                "fingerprints": list(self.fingerprints),
                "request": self.request_hash,
            }
        )


_TRANSCRIPT = {
    "context": str,
    "run": str,
    "sum": int,
    "circle": bytes,
    "survivors": list,
    "fingerprints": list,
    "request": str,
}


def parse_transcript(data: bytes) -> Transcript:
    """Parse a transcript. Raises: MessageInvalid."""
    kind = "transcript"
    value = fields(data, kind, _TRANSCRIPT)
    if value["context"] != PROTOCOL:
        raise MessageInvalid(kind=kind, problem="it belongs to another protocol")
    survivors = all_names(value["survivors"], kind)
    all_bytes(value["fingerprints"], FINGERPRINT_BYTES, kind)
    if len(value["fingerprints"]) != len(survivors):
        raise MessageInvalid(kind=kind, problem="survivors and fingerprints do not pair")
    return Transcript(
        value["run"],
        value["sum"],
        value["circle"],
        survivors,
        tuple(value["fingerprints"]),
        value["request"],
    )


def vote_statement(transcript_digest: bytes, keys: bytes) -> bytes:
    """Return what a vote signs: a transcript (its SHA-256), under one set of key bundles."""
    # Security: with the keys' hash in it, members shown different bundles cannot open together.
    return encode({"keys": keys, "transcript": transcript_digest})


@dataclass(frozen=True, slots=True, repr=False)
class UnmaskReply:
    """One member's shares that open one sum: seeds of the living, mask keys of the dropped."""

    run: str
    sum_index: int
    member: str
    transcript: bytes
    seed_shares: Mapping[str, bytes]
    key_shares: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "context": PROTOCOL,
                "run": self.run,
                "sum": self.sum_index,
                "member": self.member,
                "transcript": self.transcript,
                "seed_shares": dict(self.seed_shares),
                "key_shares": dict(self.key_shares),
            }
        )


_REPLY = {
    "context": str,
    "run": str,
    "sum": int,
    "member": str,
    "transcript": bytes,
    "seed_shares": dict,
    "key_shares": dict,
}


def parse_unmask_reply(data: bytes) -> UnmaskReply:
    """Parse the shares of one member. Raises: MessageInvalid."""
    kind = "unmask reply"
    value = fields(data, kind, _REPLY)
    if value["context"] != PROTOCOL:
        raise MessageInvalid(kind=kind, problem="it belongs to another protocol")
    for shares in (value["seed_shares"], value["key_shares"]):
        all_bytes(shares.values(), SHARE_BYTES, kind)
    return UnmaskReply(
        value["run"],
        value["sum"],
        value["member"],
        value["transcript"],
        value["seed_shares"],
        value["key_shares"],
    )
