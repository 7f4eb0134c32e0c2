"""The envelope every message travels in: who, to whom, in which run and step, and a signature.

Guarantee: parsing refuses unknown versions, wrong types, trailing bytes and what passes the limits
of a message, each by name.
It says nothing about truth: signatures are checked by `fedmkt.identity.signed_message`.
"""

from dataclasses import dataclass, replace

from fedmkt.core.errors import MessageInvalid, SchemaVersionDiffers
from fedmkt.wire.canonical import decode, encode

SCHEMA_VERSION = 1
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message. `head` is the sender's latest audit head ("" for the coordinator).

    contract: the contract's hash. step: "open", "mask/3" and the like. body: canonical CBOR.
    """

    contract: str
    run: str
    step: str
    sender: str
    receiver: str
    body: bytes
    head: str = ""
    head_signature: bytes = b""
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """Return the canonical bytes the signature stands for: every field but itself."""
        return encode([SCHEMA_VERSION, *self._fields()])

    def to_bytes(self) -> bytes:
        """Return the bytes that travel."""
        return encode([SCHEMA_VERSION, *self._fields(), self.signature])

    def signed_with(self, signature: bytes) -> "Envelope":
        """Return the same message carrying `signature`."""
        return replace(self, signature=signature)

    def _fields(self) -> list[str | bytes]:
        return [
            self.contract,
            self.run,
            self.step,
            self.sender,
            self.receiver,
            self.body,
            self.head,
            self.head_signature,
        ]


_TYPES = (str, str, str, str, str, bytes, str, bytes, bytes)


def parse_envelope(data: bytes) -> Envelope:
    """Parse the bytes that travel. Raises: MessageInvalid; SchemaVersionDiffers."""
    value = decode(data, kind="envelope")
    if not isinstance(value, list) or not value or type(value[0]) is not int:
        raise MessageInvalid(kind="envelope", problem="no schema version")
    version, *fields = value
    # The version comes first: another one may have other fields.
    if version != SCHEMA_VERSION:
        raise SchemaVersionDiffers(kind="envelope", version=SCHEMA_VERSION)
    if len(fields) != len(_TYPES):
        raise MessageInvalid(kind="envelope", problem="wrong number of fields")
    if not all(type(field) is kind for field, kind in zip(fields, _TYPES, strict=True)):
        raise MessageInvalid(kind="envelope", problem="a field of the wrong type")
    envelope = Envelope(*fields)
    # Security: one message has one encoding, so a hash of the bytes stands for the message.
    if envelope.to_bytes() != data:
        raise MessageInvalid(kind="envelope", problem="not in canonical form")
    return envelope
