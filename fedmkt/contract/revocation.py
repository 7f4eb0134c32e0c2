"""A revocation: one party's signed word that a member's key is to be trusted no longer.

Guarantee: it is signed by another party of the contract (a member or the coordinator) and names one
key, so a later contract that gives the member a new key is not held up by it, while a contract with
other terms and the same key is. It holds from the moment it is seen, whatever time stands in it.
Coordinator and nodes look before every exchange at the statements that lie in their own home, and
all that lie there count. A home takes none of a party whose key was revoked there before.
Not guaranteed: that one reaches them. A statement that was not handed over stops nothing. Nor that
of two parties that revoke each other the right one is believed: a home believes whom it heard
first, until its keeper takes that file away.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.membership import Signature
from fedmkt.contract.schema import Identifier
from fedmkt.core.errors import MemberRevoked, RevocationInvalid, SettingInvalid, SignatureInvalid
from fedmkt.core.frozen import Frozen, first_problem
from fedmkt.identity.keys import Identity, PublicIdentity
from fedmkt.wire.canonical import canonical_json

LABEL = "revocation"


class Revocation(Frozen):
    """`by` says that `key` of `member` is not to be trusted. contract: the collaboration's name."""

    schema_version: Literal[1] = 1
    contract: Identifier
    member: Identifier
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    by: Identifier
    at: AwareDatetime
    signature: Signature = "0" * 128

    def statement(self) -> bytes:
        """Return the canonical bytes that are signed."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))

    def signed(self, identity: Identity) -> "Revocation":
        """Return the revocation with the signature of `by`."""
        signature = identity.sign(LABEL, self.statement()).hex()
        return self.model_copy(update={"signature": signature})


def parse_revocation(text: str, *, source: str) -> Revocation:
    """Parse a revocation (JSON); its signature is checked against a contract later.

    Raises: RevocationInvalid.
    """
    try:
        return Revocation.model_validate_json(text)
    except ValidationError as error:
        raise RevocationInvalid(revocation=source, problem=first_problem(error)) from None


def verify_revocation(contract: Collaboration, revocation: Revocation) -> None:
    """Check that another party of this contract signed it, about a key that the contract gives.

    Raises: RevocationInvalid.
    """

    def invalid(problem: str) -> RevocationInvalid:
        return RevocationInvalid(revocation=f"of {revocation.member}", problem=problem)

    if revocation.contract != contract.name:
        raise invalid(f"it is of the collaboration {revocation.contract}")
    given = contract.key_of(revocation.member)
    if given is None:
        raise invalid("the contract has no such member")
    if given != revocation.key:
        raise invalid("the contract gives this member another key than the one it revokes")
    if revocation.by == revocation.member:
        raise invalid("nobody revokes itself; the coordinator or another member has to")
    signer = contract.key_of(revocation.by)
    if signer is None:
        raise invalid(f"{revocation.by}, who signed it, is no party of the contract")
    try:
        key, signature = PublicIdentity(signer), bytes.fromhex(revocation.signature)
        key.verify(LABEL, revocation.statement(), signature, member=revocation.by)
    except (SignatureInvalid, SettingInvalid):
        raise invalid(f"it is not signed by {revocation.by}, or was changed") from None


def verify_news(
    contract: Collaboration, revocation: Revocation, known: Iterable[Revocation]
) -> None:
    """Check a revocation that a home is to take beside the `known` ones.

    Raises: RevocationInvalid, also where its signer's key is among the revoked ones.
    """
    verify_revocation(contract, revocation)
    try:
        check_not_revoked(contract, known, {revocation.by})
    except MemberRevoked as error:
        # Security: a stolen key must not take those along that say it was stolen. What it said
        # before stays: forgetting that could let in whom its owner shut out.
        by = error.fields["by"]
        raise RevocationInvalid(
            revocation=f"of {revocation.member}",
            problem=f"{revocation.by}, who signed it, was itself revoked here by {by}",
        ) from None


def revoked_members(contract: Collaboration, revocations: Iterable[Revocation]) -> frozenset[str]:
    """Return the members whose key of this contract was revoked. Raises: RevocationInvalid."""
    found = set()
    for one in revocations:
        if one.key == contract.key_of(one.member):
            verify_revocation(contract, one)
            found.add(one.member)
    return frozenset(found)


def check_not_revoked(
    contract: Collaboration, revocations: Iterable[Revocation], members: Iterable[str]
) -> None:
    """Refuse where the key that the contract gives one of `members` was revoked.

    Raises: MemberRevoked; RevocationInvalid for one about such a key that cannot be believed.
    """
    asked = set(members)
    for one in revocations:
        if one.member not in asked or one.key != contract.key_of(one.member):
            continue
        # Security: one that does not hold is no reason to go on as if nobody had spoken.
        verify_revocation(contract, one)
        raise MemberRevoked(member=one.member, by=one.by, at=f"{one.at:%d %B %Y}")
