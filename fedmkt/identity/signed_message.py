"""Signing envelopes and believing them.

Guarantee: a message that `open_message` returns was made by the holder of the key the directory
gives its sender, for this receiver, under this contract. Freshness is the caller's: a node
answers a (run, step) once and repeats its stored bytes for an equal request.
"""

from collections.abc import Mapping

from fedmkt.core.errors import MessageInvalid, SignatureInvalid
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.wire.canonical import encode
from fedmkt.wire.envelope import EVERYBODY, Envelope, parse_envelope

Directory = Mapping[str, PublicIdentity]


def sign_message(envelope: Envelope, identity: Identity) -> bytes:
    """Return the signed bytes that travel."""
    signature = identity.sign("message", envelope.signed_bytes())
    return envelope.signed_with(signature).to_bytes()


def open_message(data: bytes, *, directory: Directory, receiver: str, contract: str) -> Envelope:
    """Parse and verify a message.

    Raises: MessageInvalid (form, receiver, contract), SignatureInvalid (unknown sender or key).
    """
    envelope = parse_envelope(data)
    if envelope.contract != contract:
        raise MessageInvalid(kind=_step_name(envelope), problem="it names another contract")
    broadcast = envelope.receiver == EVERYBODY and envelope.step == "open"
    if envelope.receiver != receiver and not broadcast:
        raise MessageInvalid(kind=_step_name(envelope), problem="it is for another receiver")
    key = directory.get(envelope.sender)
    if key is None:
        raise SignatureInvalid(member="an unknown sender", what="message")
    key.verify("message", envelope.signed_bytes(), envelope.signature, member=envelope.sender)
    return envelope


def sign_head(run: str, member: str, head: str, identity: Identity) -> bytes:
    """Return a member's signature on its own audit head, for others to countersign."""
    return identity.sign("audit.head", encode([run, member, head]))


def verify_head(run: str, member: str, head: str, signature: bytes, directory: Directory) -> None:
    """Check `sign_head`. Raises: SignatureInvalid."""
    if member not in directory:
        raise SignatureInvalid(member="an unknown sender", what="audit head")
    directory[member].verify("audit.head", encode([run, member, head]), signature, member=member)


def _step_name(envelope: Envelope) -> str:
    # Security: the step is the sender's text; only its known part is repeated in an error.
    step = envelope.step.split("/")[0]
    return step if step.isalpha() and len(step) < 12 else "message"
