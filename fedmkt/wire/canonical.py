"""Canonical bytes: one value has one encoding, so a signature or a hash can stand for it.

Messages between machines are deterministic CBOR (RFC 8949, section 4.2); documents that people
read and sign (contract, audit records, receipts) are canonical JSON (RFC 8785).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import cbor2
import rfc8785

from fedmkt.core.errors import MessageInvalid
from fedmkt.wire.limits import check_message


def encode(value: object) -> bytes:
    """Return the deterministic CBOR bytes of plain values (numbers, text, bytes, lists, maps)."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, kind: str) -> Any:
    """Parse CBOR bytes from anywhere.

    Guarantee: no more memory or time is taken than `fedmkt.wire.limits` allows a message.
    Raises: MessageTooLarge, MessageInvalid, naming `kind` and never the content.
    """
    check_message(data, kind=kind)
    return decode_kept(data, kind=kind)


def decode_kept(data: bytes, *, kind: str) -> Any:
    """Parse CBOR bytes of any size that this machine sealed itself, as tables of customers.

    Raises: MessageInvalid.
    """
    try:
        return cbor2.loads(data)
    except Exception as error:  # noqa: BLE001 - any parser failure means the same here
        raise MessageInvalid(kind=kind, problem=f"not CBOR ({type(error).__name__})") from None


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON bytes (RFC 8785) of a document."""
    return rfc8785.dumps(dict(value))


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
