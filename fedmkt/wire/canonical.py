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


def encode(value: object) -> bytes:
    """Return the deterministic CBOR bytes of plain values (numbers, text, bytes, lists, maps)."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, kind: str) -> Any:
    """Parse CBOR bytes.

    Raises: MessageInvalid, naming `kind` and never the content.
    """
    try:
        value = cbor2.loads(data)
    except Exception as error:  # noqa: BLE001 - any parser failure means the same here
        raise MessageInvalid(kind=kind, problem=f"not CBOR ({type(error).__name__})") from None
    return value


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON bytes (RFC 8785) of a document."""
    return rfc8785.dumps(dict(value))


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
