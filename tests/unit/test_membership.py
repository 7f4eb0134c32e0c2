"""Cards, invitations, rotations and revocations: signed whole, checked whole, refused by name."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tomli_w

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, Member
from fedmkt.contract.membership import (
    Invitation,
    MemberCard,
    Rotation,
    check_keys,
    open_invitation,
    parse_card,
    parse_rotation,
)
from fedmkt.contract.revocation import (
    Revocation,
    check_not_revoked,
    parse_revocation,
    revoked_members,
    verify_revocation,
)
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.contract.signatures import sign_contract, signatures_document
from fedmkt.core.errors import (
    CardInvalid,
    ContractUnsigned,
    InvitationInvalid,
    MemberRevoked,
    RevocationInvalid,
)
from fedmkt.identity.keys import Identity

NOW = datetime(2026, 12, 1, tzinfo=UTC)
BANK, SHOP, HUB, STRANGER = (Identity(bytes([number]) * 32) for number in range(1, 5))
DATASET = Dataset(
    name="prospects",
    population="customers",
    holders=("bank",),
    uses={"prospecting": ("bank",)},
    table=TableSchema(
        customer_key="id", columns=(Column(name="age", kind="number", bounds=(0, 99)),)
    ),
)


def contract(**changes: Any) -> Collaboration:
    terms: dict[str, Any] = {
        "name": "trial",
        "expires": NOW + timedelta(days=100),
        "coordinator": Member(name="hub", key=HUB.public.hex),
        "members": (
            Member(name="bank", key=BANK.public.hex),
            Member(name="shop", key=SHOP.public.hex),
        ),
        "datasets": (DATASET,),
        "caps": (Cap(dataset="prospects", lifetime_epsilon=3.0),),
    }
    return Collaboration(**{**terms, **changes})


def signatures(of: Collaboration, *names: str) -> str:
    identities = {"bank": BANK, "shop": SHOP, "hub": HUB}
    return signatures_document(of, {name: sign_contract(of, identities[name]) for name in names})


def invitation(**changes: Any) -> Invitation:
    of = contract()
    terms: dict[str, Any] = {
        "member": "bank",
        "address": "hub.example:9443",
        "certificate": "a certificate",
        "contract": tomli_w.dumps(of.model_dump(mode="json", exclude_none=True)),
        "signatures": signatures(of, "bank", "shop", "hub"),
        "expires": NOW + timedelta(days=14),
    }
    return Invitation(**{**terms, **changes}).signed(HUB)


def opened(
    of: Invitation, *, member: str = "bank", key: str = BANK.public.hex, now: datetime = NOW
) -> Collaboration:
    return open_invitation(of.model_dump_json(), member=member, key=key, now=now)[1]


def card() -> MemberCard:
    made = MemberCard(name="bank", key=BANK.public.hex, link_key="pem", datasets=(DATASET,))
    return made.signed(BANK)


def rotation() -> Rotation:
    made = Rotation(name="bank", old=BANK.public.hex, new=SHOP.public.hex, at=NOW)
    return made.signed(BANK)


def revocation(*, by: str = "hub", identity: Identity = HUB, **changes: Any) -> Revocation:
    terms: dict[str, Any] = {"contract": "trial", "member": "bank", "key": BANK.public.hex}
    return Revocation(**{**terms, "by": by, "at": NOW, **changes}).signed(identity)


CHANGED: dict[str, Any] = {
    "name": "shop",
    "contract": "other",
    "member": "shop",
    "by": "shop",
    "key": STRANGER.public.hex,
    "old": STRANGER.public.hex,
    "new": STRANGER.public.hex,
    "link_key": "another",
    "datasets": (),
    "at": NOW + timedelta(days=1),
    "signature": "0" * 128,
    "address": "evil.example:9443",
    "certificate": "another",
    "signatures": "",
    "expires": NOW + timedelta(days=15),
}
"""What each field becomes when it is tampered with; no field may be left out."""


def tampered() -> Iterator[Any]:
    checks: tuple[tuple[Any, Callable[[Any], object], type[Exception]], ...] = (
        (card(), lambda one: parse_card(one.model_dump_json(), source="card"), CardInvalid),
        (rotation(), lambda one: one.verify(), CardInvalid),
        (revocation(), lambda one: verify_revocation(contract(), one), RevocationInvalid),
        (invitation(), opened, InvitationInvalid),
    )
    for value, check, error in checks:
        for field in sorted(set(type(value).model_fields) - {"schema_version"}):
            change = CHANGED[field]
            if isinstance(value, Invitation) and field in ("contract", "signatures"):
                # Spaces change neither the contract nor whose signatures are there: what notices
                # them is the invitation's own signature.
                change = getattr(value, field) + " \n"
            bad = value.model_copy(update={field: change})
            yield pytest.param(value, bad, check, error, id=f"{type(value).__name__}.{field}")


@pytest.mark.parametrize(("good", "bad", "check", "error"), [*tampered()])
def test_each_field_of_a_signed_file_is_under_its_signature(
    good: Any, bad: Any, check: Callable[[Any], object], error: Any
) -> None:
    check(good)
    with pytest.raises(error):
        check(bad)


def test_a_signature_of_one_kind_of_file_is_none_of_another() -> None:
    one = rotation()
    stolen = one.model_copy(update={"signature": card().signature})
    with pytest.raises(CardInvalid):
        stolen.verify()


# --- invitations ------------------------------------------------------------------------------


def test_an_invitation_gives_the_contract_that_all_signed() -> None:
    assert opened(invitation()).hash == contract().hash


def test_an_invitation_is_for_its_member_and_that_members_key() -> None:
    with pytest.raises(InvitationInvalid, match="it is for bank"):
        opened(invitation(), member="shop", key=SHOP.public.hex)
    with pytest.raises(InvitationInvalid, match="another key"):
        opened(invitation(), key=STRANGER.public.hex)


def test_an_invitation_signed_by_another_than_the_coordinator_is_refused() -> None:
    with pytest.raises(InvitationInvalid, match="not signed by the contract's coordinator"):
        opened(invitation().signed(SHOP))


def test_an_invitation_to_other_terms_than_all_signed_is_refused() -> None:
    text = invitation().contract
    looser = text.replace("lifetime_epsilon = 3.0", "lifetime_epsilon = 9.0")
    assert looser != text
    with pytest.raises(ContractUnsigned, match="bank"):
        opened(invitation(contract=looser))


@pytest.mark.parametrize("missing", ["bank", "shop", "hub"])
def test_an_invitation_to_a_contract_that_somebody_did_not_sign_is_refused(missing: str) -> None:
    names = {"bank", "shop", "hub"} - {missing}
    with pytest.raises(ContractUnsigned, match=missing):
        opened(invitation(signatures=signatures(contract(), *names)))


def test_an_invitation_ends_with_its_time_and_with_the_contracts() -> None:
    opened(invitation(), now=NOW + timedelta(days=13))
    with pytest.raises(InvitationInvalid, match="expired"):
        opened(invitation(), now=NOW + timedelta(days=14))
    endless = invitation(expires=NOW + timedelta(days=9999))
    opened(endless, now=NOW + timedelta(days=99))
    with pytest.raises(InvitationInvalid, match="expired"):
        opened(endless, now=NOW + timedelta(days=100))


def test_a_time_without_a_zone_is_refused_by_name() -> None:
    text = invitation().model_dump_json().replace("2026-12-15T00:00:00Z", "2026-12-15T00:00:00")
    with pytest.raises(InvitationInvalid, match="expires"):
        open_invitation(text, member="bank", key=BANK.public.hex, now=NOW)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"member": 1}', "\x00"])
def test_what_is_no_such_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(CardInvalid):
        parse_card(text, source="card")
    with pytest.raises(InvitationInvalid):
        open_invitation(text, member="bank", key=BANK.public.hex, now=NOW)
    with pytest.raises(RevocationInvalid):
        parse_revocation(text, source="file")
    with pytest.raises(CardInvalid):
        parse_rotation(text, source="file")


# --- keys that changed ------------------------------------------------------------------------


def card_of(name: str, identity: Identity) -> MemberCard:
    return MemberCard(name=name, key=identity.public.hex).signed(identity)


def vouching(name: str, old: Identity, new: Identity) -> Rotation:
    made = Rotation(name=name, old=old.public.hex, new=new.public.hex, at=NOW).signed(old)
    return parse_rotation(made.model_dump_json(), source="file")


def test_a_card_has_the_key_of_the_contract_before_or_one_that_this_vouches_for() -> None:
    same = [card_of("hub", HUB), card_of("bank", BANK), card_of("comes anew", STRANGER)]
    check_keys(contract(), same, ())
    first, second = Identity(bytes([7]) * 32), Identity(bytes([8]) * 32)
    led = (vouching("bank", first, second), vouching("bank", BANK, first))
    check_keys(contract(), [card_of("bank", second)], led)
    check_keys(contract(), [card_of("bank", first)], led)
    for card, rotations in (
        (card_of("bank", second), led[:1]),
        (card_of("bank", STRANGER), led),
        (card_of("shop", first), led),
        (card_of("bank", first), (vouching("shop", BANK, first),)),
        (card_of("bank", first), (vouching("bank", STRANGER, first),)),
    ):
        with pytest.raises(CardInvalid, match="no rotation vouches"):
            check_keys(contract(), [card], rotations)


# --- revocations ------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "identity"), [("hub", HUB), ("shop", SHOP)])
def test_the_coordinator_and_any_other_member_can_revoke(by: str, identity: Identity) -> None:
    stated = [parse_revocation(revocation(by=by, identity=identity).model_dump_json(), source="f")]
    with pytest.raises(MemberRevoked, match=f"revoked by {by} on 01 December 2026"):
        check_not_revoked(contract(), stated, ["shop", "bank"])
    check_not_revoked(contract(), stated, ["shop"])
    check_not_revoked(contract(), [], ["shop", "bank"])


def test_the_coordinators_key_can_be_revoked_too() -> None:
    stated = revocation(by="shop", identity=SHOP, member="hub", key=HUB.public.hex)
    with pytest.raises(MemberRevoked, match="hub"):
        check_not_revoked(contract(), [stated], ["hub"])


def test_a_revocation_holds_whatever_time_stands_in_it() -> None:
    for days in (-900, 900):
        with pytest.raises(MemberRevoked):
            check_not_revoked(contract(), [revocation(at=NOW + timedelta(days=days))], ["bank"])


def test_a_revocation_survives_new_terms_and_ends_with_the_key() -> None:
    renewed = contract(caps=(Cap(dataset="prospects", lifetime_epsilon=9.0),))
    with pytest.raises(MemberRevoked):
        check_not_revoked(renewed, [revocation()], ["bank"])
    shop = Member(name="shop", key=SHOP.public.hex)
    rekeyed = contract(members=(Member(name="bank", key=STRANGER.public.hex), shop))
    check_not_revoked(rekeyed, [revocation()], ["bank"])


def test_a_revocation_that_cannot_be_believed_stops_the_run_by_its_own_name() -> None:
    for bad, words in (
        (revocation(by="bank", identity=BANK), "nobody revokes itself"),
        (revocation(by="stranger", identity=STRANGER), "is no party"),
        (revocation(by="shop", identity=STRANGER), "not signed by shop"),
        (revocation(contract="other"), "of the collaboration other"),
    ):
        with pytest.raises(RevocationInvalid, match=words):
            check_not_revoked(contract(), [bad], ["bank"])
        with pytest.raises(RevocationInvalid, match=words):
            revoked_members(contract(), [bad])
