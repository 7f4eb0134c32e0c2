"""Receipts: a node's signed statement, at the end of a run, of what it released and spent.

Guarantee: a receipt that `verify_receipt` returns was signed by the holder of the member's key and
is unaltered in every field; one receipt has one encoding. It states what that node did; that the
node told the truth is checked against its audit log, whose head the receipt carries.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from fedmkt.core.errors import FedmktError, MessageInvalid, SignatureInvalid
from fedmkt.core.frozen import Frozen, first_place
from fedmkt.core.stages import NoiseSourceName, Trust
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.privacy.events import Release, event_from_json, event_to_json
from fedmkt.wire.canonical import canonical_json

LABEL = "receipt"
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]


class ReleaseStated(Frozen):
    """One release: its place in the run, its name and its privacy event as plain values."""

    index: Annotated[int, Field(ge=0)]
    name: Text
    event: Mapping[str, Any]

    @classmethod
    def of(cls, release: Release) -> "ReleaseStated":
        """State a release."""
        return cls(index=release.index, name=release.name, event=event_to_json(release.event))

    def release(self) -> Release:
        """Return the release an accountant can price. Raises: EventUnknown."""
        return Release(index=self.index, name=self.name, event=event_from_json(self.event))


class Receipt(Frozen):
    """What one member's node did in one run.

    kind: of the job. mode: how the job says it is protected; trust: the same for a horizontal
    training. masked, noised: what the releases really were. Of one that was spent and could not be
    made, noised says what it was charged as; masked speaks of those that were made, and is false
    where none was. epsilon, delta: what the run cost this
    member's customers (in a vertical training: the owner's labels), all its releases that carry
    noise composed (null without noise); what is counted instead stands among the releases.
    audit_head: the head of the member's audit log. heads: the members' latest heads as this member
    saw them; its signature countersigns them. model_hash: of the model the coordinator handed out,
    which the member keeps; that it follows from the sums is the coordinator's word.
    """

    schema_version: Literal[1] = 1
    run: Text
    kind: Text = "horizontal"
    mode: Text
    job_hash: Hash
    contract_hash: Hash
    member: Text
    dataset: Text
    purpose: Text
    masked: bool
    noised: bool
    trust: Trust | None = None
    noise_source: NoiseSourceName | None
    releases: tuple[ReleaseStated, ...]
    epsilon: Annotated[float, Field(ge=0)] | None
    delta: Annotated[float, Field(gt=0, lt=1)] | None
    audit_head: str
    model_hash: str
    heads: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Receipt":
        stated = [item is not None for item in (self.noise_source, self.epsilon, self.delta)]
        if any(said != self.noised for said in stated):
            raise ValueError("noise_source, epsilon and delta stand exactly where noised")
        if self.noised and self.trust == "none":
            raise ValueError("a noised run names who adds the noise")
        return self


def sign_receipt(receipt: Receipt, identity: Identity) -> bytes:
    """Return the receipt and its signature as canonical JSON: {"receipt": …, "signature": HEX}."""
    document = receipt.model_dump(mode="json")
    signature = identity.sign(LABEL, canonical_json(document))
    return canonical_json({"receipt": document, "signature": signature.hex()})


def verify_receipt(data: bytes, key: PublicIdentity, member: str) -> Receipt:
    """Return the receipt that `member` signed with `key`.

    Raises: MessageInvalid (form), SignatureInvalid (altered, another key or another member).
    """
    document, signature = _opened(data)
    key.verify(LABEL, canonical_json(document), signature, member=member)
    try:
        receipt = Receipt.model_validate(document)
        for stated in receipt.releases:
            stated.release()
    except ValidationError as error:
        problem = f"field {first_place(error) or LABEL}"
        raise MessageInvalid(kind=LABEL, problem=problem) from None
    except FedmktError:
        raise MessageInvalid(kind=LABEL, problem="a release of unknown kind") from None
    # Security: a member's key vouches for that member only, whatever name the receipt carries.
    if receipt.member != member:
        raise SignatureInvalid(member=member, what=LABEL)
    return receipt


def _opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        envelope = json.loads(data)
        document, signature = envelope["receipt"], bytes.fromhex(envelope["signature"])
        canonical = canonical_json({"receipt": document, "signature": signature.hex()})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MessageInvalid(kind=LABEL, problem="not a signed receipt") from None
    # Security: no second encoding of a receipt is accepted, so its hash can stand for it.
    if canonical != data or not isinstance(document, dict):
        raise MessageInvalid(kind=LABEL, problem="not in canonical form")
    return document, signature
