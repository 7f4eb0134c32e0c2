"""The envelope every message travels in: who, to whom, in which run and step, and a signature.

Guarantee: parsing refuses unknown versions, wrong types and trailing bytes with MessageInvalid.
It says nothing about truth: signatures are checked by `fedmkt.identity.signed_message`.
"""

from dataclasses import dataclass, replace

from fedmkt.core.errors import MessageInvalid
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
    """Parse the bytes that travel. Raises: MessageInvalid."""
    value = decode(data, kind="envelope")
    if not isinstance(value, list) or len(value) != 1 + len(_TYPES):
        raise MessageInvalid(kind="envelope", problem="wrong number of fields")
    version, *fields = value
    if version != SCHEMA_VERSION:
        raise MessageInvalid(kind="envelope", problem="another schema version")
    if not all(type(field) is kind for field, kind in zip(fields, _TYPES, strict=True)):
        raise MessageInvalid(kind="envelope", problem="a field of the wrong type")
    envelope = Envelope(*fields)
    # Security: one message has one encoding, so a hash of the bytes stands for the message.
    if envelope.to_bytes() != data:
        raise MessageInvalid(kind="envelope", problem="not in canonical form")
    return envelope
