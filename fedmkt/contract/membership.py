"""How members come together: a card each, and an invitation back. One signed file each way.

Guarantee: a card is its holder's own word, signed with the identity key that it names; changing any
byte of it shows. An invitation is the coordinator's word on where it is reached and by which
certificate, for one member, beside the contract that all signed; it is checked against the key that
the contract gives the coordinator, and it expires.
Not guaranteed: that a card comes from who it says. Compare its fingerprint over another way before
the contract is signed; from then on the contract holds the keys.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError

from fedmkt.contract.collaboration import Collaboration, Dataset, parse_collaboration
from fedmkt.contract.schema import Identifier
from fedmkt.contract.signatures import directory_of, verify_contract
from fedmkt.core.errors import CardInvalid, InvitationInvalid, SignatureInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.wire.canonical import canonical_json, digest

CARD, INVITATION, ROTATION = "member card", "invitation", "key rotation"
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]


class MemberCard(Frozen):
    """Who a member is and what it could bring. key: its identity's public half, hexadecimal.

    link_key: public key (PEM) its node connects with; "" for a coordinator. datasets: drafts of
    what it holds, for the contract.
    """

    schema_version: Literal[1] = 1
    name: Identifier
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    link_key: str = ""
    datasets: tuple[Dataset, ...] = ()
    signature: Signature = "0" * 128

    @property
    def fingerprint(self) -> str:
        """Return what two people compare over the telephone: eight groups of four digits."""
        short = digest(self._statement())[:32]
        return " ".join(short[at : at + 4] for at in range(0, 32, 4))

    def signed(self, identity: Identity) -> "MemberCard":
        """Return the card with its holder's signature."""
        signature = identity.sign(CARD, self._statement()).hex()
        return self.model_copy(update={"signature": signature})

    def _statement(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))

    def verify(self) -> None:
        """Check that the holder of its key signed it. Raises: CardInvalid."""
        try:
            key = PublicIdentity(self.key)
            key.verify(CARD, self._statement(), bytes.fromhex(self.signature), member=self.name)
        except SignatureInvalid:
            problem = "its signature does not fit its key; have it sent again"
            raise CardInvalid(card=self.name, problem=problem) from None


class Rotation(Frozen):
    """A member's word that another key takes the place of its own, signed with the old one."""

    schema_version: Literal[1] = 1
    name: Identifier
    old: str = Field(pattern=r"^[0-9a-f]{64}$")
    new: str = Field(pattern=r"^[0-9a-f]{64}$")
    at: AwareDatetime
    signature: Signature = "0" * 128

    def _statement(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))

    def signed(self, old: Identity) -> "Rotation":
        """Return the statement with the old key's signature."""
        return self.model_copy(update={"signature": old.sign(ROTATION, self._statement()).hex()})

    def verify(self) -> None:
        """Check that the holder of the old key signed it. Raises: CardInvalid."""
        try:
            signature = bytes.fromhex(self.signature)
            PublicIdentity(self.old).verify(
                ROTATION, self._statement(), signature, member=self.name
            )
        except SignatureInvalid:
            problem = "it is not signed with the old key"
            raise CardInvalid(card=f"rotation of {self.name}", problem=problem) from None


def parse_card(text: str, *, source: str) -> MemberCard:
    """Parse a card (JSON) and check its signature. Raises: CardInvalid."""
    try:
        card = MemberCard.model_validate_json(text)
    except ValidationError as error:
        raise CardInvalid(card=source, problem=first_problem(error)) from None
    card.verify()
    return card


def parse_rotation(text: str, *, source: str) -> Rotation:
    """Parse a rotation (JSON) and check its signature. Raises: CardInvalid."""
    try:
        rotation = Rotation.model_validate_json(text)
    except ValidationError as error:
        raise CardInvalid(card=source, problem=first_problem(error)) from None
    rotation.verify()
    return rotation


def check_keys(
    before: Collaboration, cards: Iterable[MemberCard], rotations: Iterable[Rotation]
) -> None:
    """Check cards of parties of the contract before: each has its key, or was vouched for by it.

    rotations: verified ones; several may lead on from one another. Raises: CardInvalid.
    Not guaranteed: that the owner vouched. Whoever stole a key can: compare fingerprints.
    """
    led = {(one.name, one.old): one.new for one in rotations}
    for card in cards:
        key = before.key_of(card.name)
        for _ in led:
            # Ends at the card's key, for a rotation may have been taken back by another.
            if key is not None and key != card.key:
                key = led.get((card.name, key), key)
        if key not in (None, card.key):
            problem = "it has another key than in the contract before, and no rotation vouches"
            raise CardInvalid(card=card.name, problem=f"{problem} for it; ask for the statement")


class Invitation(Frozen):
    """What a member needs to connect. address: HOST:PORT. certificate: PEM to check it against.

    contract: as TOML. signatures: everybody's, as the signatures file has them.
    """

    schema_version: Literal[1] = 1
    member: Identifier
    address: Address
    certificate: str = Field(min_length=1)
    contract: str
    signatures: str
    expires: AwareDatetime
    signature: Signature = "0" * 128

    def _statement(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))

    def signed(self, identity: Identity) -> "Invitation":
        """Return the invitation with the coordinator's signature."""
        signature = identity.sign(INVITATION, self._statement()).hex()
        return self.model_copy(update={"signature": signature})


def open_invitation(text: str, *, member: str, key: str, now: datetime) -> tuple[
    Invitation, Collaboration
]:  # fmt: skip
    """Return an invitation and the contract in it, if they are for this member.

    Args: member, key: this node's name and identity key (hexadecimal).
    Raises: InvitationInvalid; ContractInvalid, ContractUnsigned.
    """
    try:
        invitation = Invitation.model_validate_json(text)
    except ValidationError as error:
        raise InvitationInvalid(problem=first_problem(error)) from None
    contract = parse_collaboration(invitation.contract, source="the invitation's contract")
    verify_contract(contract, invitation.signatures)
    coordinator = directory_of(contract)[contract.coordinator.name]
    try:
        signature = bytes.fromhex(invitation.signature)
        name = contract.coordinator.name
        coordinator.verify(INVITATION, invitation._statement(), signature, member=name)
    except SignatureInvalid:
        problem = "it is not signed by the contract's coordinator, or was changed"
        raise InvitationInvalid(problem=problem) from None
    if invitation.member != member:
        raise InvitationInvalid(problem=f"it is for {invitation.member}, this node is {member}")
    if contract.key_of(member) != key:
        raise InvitationInvalid(
            problem="the contract gives this member another key than this node's"
        )
    if now >= min(invitation.expires, contract.expires):
        raise InvitationInvalid(problem="it has expired")
    return invitation, contract


def merged_signatures(contract: Collaboration, document: str | None) -> dict[str, str]:
    """Return the signatures in a signatures file that are of this very contract."""
    if document is None:
        return {}
    try:
        value = json.loads(document)
    except json.JSONDecodeError:
        return {}
    if not isinstance(value, dict) or value.get("contract") != contract.hash:
        return {}
    found = value.get("signatures")
    return dict(found) if isinstance(found, dict) else {}
