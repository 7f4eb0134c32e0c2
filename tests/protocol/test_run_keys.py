"""Keys of a run over shared customers: signed bundles, seals, and what a coordinator can try."""

import pickle

import pytest

from fedmkt.core.errors import MessageInvalid, SealBroken, SetReplayed, SignatureInvalid
from fedmkt.identity.keys import Identity
from fedmkt.security.run_keys import RunKeys, open_keys, read_bundles
from fedmkt.wire.canonical import decode, encode

MEMBERS = ("bank", "retailer", "map_provider")
IDENTITIES = {member: Identity.generate() for member in MEMBERS}
DIRECTORY = {member: identity.public for member, identity in IDENTITIES.items()}
RUN, CONTRACT = "run-1", "c" * 64


def opened(run: str = RUN, contract: str = CONTRACT) -> tuple[dict[str, RunKeys], dict[str, bytes]]:
    made = {
        member: open_keys(
            IDENTITIES[member], run=run, contract=contract, member=member, facts={"rows": 7}
        )
        for member in MEMBERS
    }
    return {m: keys for m, (keys, _) in made.items()}, {
        m: bundle for m, (_, bundle) in made.items()
    }


def read(keys: RunKeys, bundles: dict[str, bytes]) -> RunKeys:
    return read_bundles(keys, bundles, contract=CONTRACT, roster=MEMBERS, directory=DIRECTORY)


def everybody() -> dict[str, RunKeys]:
    keys, bundles = opened()
    return {member: read(one, bundles) for member, one in keys.items()}


def test_a_seal_opens_at_its_receiver_alone() -> None:
    keys = everybody()
    sealed = keys["bank"].seal_to("retailer", "hop/1", b"tags")
    assert keys["retailer"].open_from("bank", "hop/1", sealed) == b"tags"
    with pytest.raises(SealBroken):
        keys["map_provider"].open_from("bank", "hop/1", sealed)


@pytest.mark.parametrize(("sender", "step"), [("map_provider", "hop/1"), ("bank", "hop/2")])
def test_a_seal_of_another_sender_or_step_does_not_open(sender: str, step: str) -> None:
    keys = everybody()
    sealed = keys["bank"].seal_to("retailer", "hop/1", b"tags")
    with pytest.raises(SealBroken):
        keys["retailer"].open_from(sender, step, sealed)


def test_a_seal_sent_back_to_its_sender_does_not_open_as_the_others() -> None:
    keys = everybody()
    sealed = keys["bank"].seal_to("retailer", "hop/1", b"tags")
    with pytest.raises(SealBroken):
        keys["bank"].open_from("retailer", "hop/1", sealed)


def test_every_altered_byte_breaks_the_seal() -> None:
    keys = everybody()
    sealed = keys["bank"].seal_to("retailer", "hop/1", b"tags")
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(SealBroken):
            keys["retailer"].open_from("bank", "hop/1", bytes(altered))


def test_yesterdays_seal_does_not_open_today() -> None:
    before, today = everybody(), everybody()
    sealed = before["bank"].seal_to("retailer", "hop/1", b"tags")
    with pytest.raises(SealBroken):
        today["retailer"].open_from("bank", "hop/1", sealed)


def test_a_member_can_seal_to_itself_for_later() -> None:
    keys = everybody()
    sealed = keys["bank"].seal_to("bank", "witness", b"tags")
    assert keys["bank"].open_from("bank", "witness", sealed) == b"tags"


def test_members_shown_different_bundles_cannot_open_each_others_seals() -> None:
    keys, bundles = opened()
    _, other = opened()
    fooled = read(keys["retailer"], {**bundles, "map_provider": other["map_provider"]})
    sealed = read(keys["bank"], bundles).seal_to("retailer", "hop/1", b"tags")
    with pytest.raises(SealBroken):
        fooled.open_from("bank", "hop/1", sealed)


def test_a_key_swapped_by_the_coordinator_is_found_by_its_signature() -> None:
    keys, bundles = opened()
    mine = Identity.generate()
    _, forged = open_keys(mine, run=RUN, contract=CONTRACT, member="bank", facts={"rows": 7})
    with pytest.raises(SignatureInvalid):
        read(keys["retailer"], {**bundles, "bank": forged})


@pytest.mark.parametrize(("run", "contract"), [("run-2", CONTRACT), (RUN, "d" * 64)])
def test_a_bundle_of_another_run_or_contract_is_refused(run: str, contract: str) -> None:
    keys, bundles = opened()
    _, others = opened(run, contract)
    with pytest.raises(MessageInvalid):
        read(keys["retailer"], {**bundles, "bank": others["bank"]})


def test_one_members_bundle_under_anothers_name_is_refused() -> None:
    keys, bundles = opened()
    with pytest.raises(SignatureInvalid):
        read(keys["retailer"], {**bundles, "bank": bundles["map_provider"]})


def test_a_member_that_repeats_anothers_key_is_refused() -> None:
    keys, bundles = opened()
    stated = decode(decode(bundles["bank"], kind="test")[0], kind="test")
    stated[2] = "map_provider"
    body = encode(stated)
    copied = encode([body, IDENTITIES["map_provider"].sign("shared.keys", body)])
    with pytest.raises(SetReplayed):
        read(keys["retailer"], {**bundles, "map_provider": copied})


def test_a_missing_or_additional_bundle_is_refused() -> None:
    keys, bundles = opened()
    with pytest.raises(MessageInvalid):
        read(keys["retailer"], {m: b for m, b in bundles.items() if m != "bank"})
    with pytest.raises(MessageInvalid):
        read(keys["retailer"], {**bundles, "stranger": bundles["bank"]})


def test_a_second_spelling_of_a_bundle_is_refused() -> None:
    keys, bundles = opened()
    with pytest.raises(MessageInvalid):
        read(keys["retailer"], {**bundles, "bank": bundles["bank"] + b"\x00"})


def test_both_of_a_pair_derive_the_same_secret_and_the_third_another() -> None:
    keys = everybody()
    assert keys["bank"].pair_secret("retailer", "x") == keys["retailer"].pair_secret("bank", "x")
    assert keys["bank"].pair_secret("retailer", "x") != keys["bank"].pair_secret("retailer", "y")
    assert keys["map_provider"].pair_secret("retailer", "x") != keys["bank"].pair_secret(
        "retailer", "x"
    )


def test_secrets_do_not_print_and_survive_their_plain_form() -> None:
    keys = everybody()["bank"]
    assert keys.secret.hex() not in repr(keys)
    assert repr(keys.secret) not in repr(keys)
    again = RunKeys.from_plain(decode(encode(keys.to_plain()), kind="test"))
    assert again == keys
    assert pickle.loads(pickle.dumps(again)) == keys
