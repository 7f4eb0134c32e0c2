"""What a lying coordinator, a lying member or a broken wire may try, and where it ends."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fedmkt.core.errors import (
    AlreadyOpened,
    MessageInvalid,
    SealBroken,
    ShareInvalid,
    SignatureInvalid,
    SurvivorsInvalid,
    TooFewMembers,
)
from fedmkt.security.secure_sum import masks, member, messages, opening, shamir
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.wire.canonical import decode, encode


def flips(data):
    """Every byte once, with a different bit turned from byte to byte."""
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        yield bytes(changed)


# --- key bundles ------------------------------------------------------------------------------


def test_key_swapped_by_the_coordinator_is_caught(secure_sum_run):
    run, forged = secure_sum_run(3), secure_sum_run(3)
    with pytest.raises(SignatureInvalid) as caught:
        member.share(run.states["m0"], run.bundles | {"m1": forged.bundles["m1"]}, run.directory)
    assert caught.value.fields["member"] == "m1"


def test_bundle_signed_by_another_member_of_the_contract_is_caught(secure_sum_run):
    run = secure_sum_run(3)
    body, _ = messages.signed_parts(run.bundles["m1"])
    signature = run.identities["m2"].sign(messages.KEYS_LABEL, body)
    bundle = encode({"body": body, "signature": signature})
    with pytest.raises(SignatureInvalid):
        member.share(run.states["m0"], run.bundles | {"m1": bundle}, run.directory)


def test_flipped_bit_anywhere_in_a_bundle_is_caught(secure_sum_run):
    run = secure_sum_run(3)
    for changed in flips(run.bundles["m1"]):
        with pytest.raises((SignatureInvalid, MessageInvalid)):
            member.share(run.states["m0"], run.bundles | {"m1": changed}, run.directory)


def test_altered_own_bundle_is_caught(secure_sum_run):
    run = secure_sum_run(3)
    again = secure_sum_run(3, identities=run.identities)
    with pytest.raises(MessageInvalid, match="own bundle"):
        member.share(run.states["m0"], run.bundles | {"m0": again.bundles["m0"]}, run.directory)


def test_bundle_of_another_run_is_caught(secure_sum_run):
    run = secure_sum_run(3)
    other = secure_sum_run(3, run="run-2", identities=run.identities)
    with pytest.raises(MessageInvalid, match="another run"):
        member.share(run.states["m0"], run.bundles | {"m1": other.bundles["m1"]}, run.directory)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context", "fedmkt/v1/other"),
        ("run", "run-2"),
        ("member", "m2"),
        ("roster", ["m0", "m1", "m3"]),
        ("roster", ["m0", "m2", "m1"]),
        ("threshold", 2),
        ("bits", 32),
        ("share_key", bytes(32)),
        ("share_key", (2**255 - 18).to_bytes(32, "little")),
        ("share_key", b"short"),
        ("mask_keys", [bytes([1]) + bytes(31), bytes([9]) + bytes(31)]),
        ("mask_keys", []),
        ("seed_commitments", [bytes(32)]),
        ("seed_commitments", [bytes(32), bytes(32)]),
    ],
)
def test_member_signing_a_wrong_field_is_refused(secure_sum_run, field, value):
    run = secure_sum_run(3)
    body = decode(messages.signed_parts(run.bundles["m1"])[0], kind="bundle")
    assert body[field] != value
    signed = encode(body | {field: value})
    signature = run.identities["m1"].sign(messages.KEYS_LABEL, signed)
    bundle = encode({"body": signed, "signature": signature})
    with pytest.raises(MessageInvalid):
        member.share(run.states["m0"], run.bundles | {"m1": bundle}, run.directory)


def test_missing_bundle_or_identity_is_refused(secure_sum_run):
    run = secure_sum_run(3)
    without = {name: run.bundles[name] for name in ("m0", "m1")}
    with pytest.raises(MessageInvalid):
        member.share(run.states["m0"], without, run.directory)
    directory = {name: run.directory[name] for name in ("m0", "m1")}
    with pytest.raises(MessageInvalid):
        member.share(run.states["m0"], run.bundles, directory)


def secrets_with(sums=2, **same):
    fresh = opening._Secrets.fresh(sums)
    return replace(fresh, **same)


@pytest.mark.parametrize("field", ["seeds", "mask_secrets"])
def test_one_secret_for_two_sums_is_refused(secure_sum_run, field):
    one = bytes(range(32))
    secrets = {name: secrets_with() for name in ("m0", "m1", "m2")}
    secrets["m1"] = secrets_with(**{field: (one, one)})
    run = secure_sum_run(3, secrets=secrets)
    with pytest.raises(MessageInvalid, match="twice"):
        run.share()


@pytest.mark.parametrize("field", ["seeds", "mask_secrets", "share_secret"])
def test_one_secret_of_two_members_is_refused(secure_sum_run, field):
    secrets = {name: secrets_with() for name in ("m0", "m1", "m2")}
    secrets["m2"] = replace(secrets["m2"], **{field: getattr(secrets["m1"], field)})
    run = secure_sum_run(3, secrets=secrets)
    with pytest.raises(MessageInvalid, match="twice"):
        run.share()


# --- sealed shares ----------------------------------------------------------------------------


def test_flipped_bit_anywhere_in_a_sealed_share_is_caught(secure_sum_run):
    run = secure_sum_run(3, sums=1).share()
    inbox = run.inbox("m0")
    for changed in flips(inbox["m1"]):
        with pytest.raises(SealBroken):
            member.receive_shares(run.states["m0"], inbox | {"m1": changed})


def test_share_of_another_run_receiver_or_sender_is_caught(secure_sum_run):
    run = secure_sum_run(3).share()
    other = secure_sum_run(3, run="run-2", identities=run.identities).share()
    for foreign in (
        other.sealed["m1"]["m0"],
        run.sealed["m1"]["m2"],
        run.sealed["m2"]["m0"],
        run.sealed["m0"]["m1"],
        b"",
    ):
        with pytest.raises(SealBroken):
            member.receive_shares(run.states["m0"], run.inbox("m0") | {"m1": foreign})


def test_members_shown_different_bundles_cannot_read_each_others_shares(secure_sum_run):
    # m2 signs two bundles and the coordinator shows one to m0, the other to m1.
    run = secure_sum_run(3)
    twin = secure_sum_run(3, identities=run.identities)
    _, outbox = member.share(run.states["m0"], run.bundles, run.directory)
    shown = run.bundles | {"m2": twin.bundles["m2"]}
    state, _ = member.share(run.states["m1"], shown, run.directory)
    with pytest.raises(SealBroken):
        member.receive_shares(state, {"m0": outbox["m1"], "m2": b""})


# --- transcripts and votes --------------------------------------------------------------------


def test_flipped_bit_anywhere_in_a_transcript_is_caught(secure_sum_run):
    run = secure_sum_run(3).ready()
    transcript = run.transcript(0, run.mask(0, run.updates()))
    accepted = []
    for at, changed in enumerate(flips(transcript)):
        try:
            member.vote(run.states["m0"], 0, changed, run.identities["m0"])
        except (MessageInvalid, SurvivorsInvalid):
            continue
        accepted.append((at, changed))
    # m0 cannot know the fingerprints of the others; each of them checks its own.
    others = [messages.parse_transcript(transcript).fingerprints[i] for i in (1, 2)]
    places = [transcript.index(each) for each in others]
    assert all(any(place <= at < place + 16 for place in places) for at, _ in accepted)
    for at, changed in accepted:
        owner = "m1" if at < places[1] else "m2"
        with pytest.raises(SurvivorsInvalid):
            member.vote(run.states[owner], 0, changed, run.identities[owner])


def changed_transcript(transcript, **fields):
    return replace(messages.parse_transcript(transcript), **fields).to_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"run": "run-2"},
        {"sum_index": 1},
        {"circle": bytes(32)},
        {"survivors": ("m1", "m2", "m3", "m4"), "fingerprints": (bytes(16),) * 4},
        {"survivors": ("m0", "m1", "m2", "zed"), "fingerprints": (bytes(16),) * 4},
        {"request_hash": "another model"},
        {"fingerprints": (bytes(16),) * 5},
    ],
    ids=["run", "sum", "circle", "without the voter", "stranger", "request", "fingerprint"],
)
def test_vote_refuses_a_transcript_with_a_wrong_field(secure_sum_run, fields):
    run = secure_sum_run(5).ready()
    transcript = run.transcript(0, run.mask(0, run.updates()))
    with pytest.raises(SurvivorsInvalid):
        run.vote(0, changed_transcript(transcript, **fields), ["m0"])


@pytest.mark.parametrize(
    "fields",
    [
        {"survivors": ("m1", "m0", "m2", "m3", "m4")},
        {"survivors": ("m0", "m0", "m1", "m2", "m3")},
        {"survivors": ("m0", "m1", "m2", "m3")},
    ],
    ids=["unsorted", "one twice", "fewer than fingerprints"],
)
def test_vote_refuses_a_malformed_list_of_survivors(secure_sum_run, fields):
    run = secure_sum_run(5).ready()
    transcript = run.transcript(0, run.mask(0, run.updates()))
    with pytest.raises(MessageInvalid):
        run.vote(0, changed_transcript(transcript, **fields), ["m0"])


def test_masked_input_altered_on_its_way_is_caught_before_unmasking(secure_sum_run):
    run = secure_sum_run(3).ready()
    masked = run.mask(0, run.updates())
    masked["m1"] = masked["m1"].copy()
    masked["m1"][3] ^= np.uint64(1)
    transcript = run.transcript(0, masked)
    run.vote(0, transcript, ["m0"])
    with pytest.raises(SurvivorsInvalid):
        run.vote(0, transcript, ["m1"])


def test_members_asked_different_things_do_not_open_together(secure_sum_run):
    run = secure_sum_run(3).ready()
    updates = run.updates()
    run.circle = ("m0", "m1")
    masked = run.mask(0, updates, request="model A")
    run.circle = ("m2",)
    masked |= run.mask(0, updates, request="model B")
    run.circle = run.roster
    transcript = run.transcript(0, masked, request="model A")
    run.vote(0, transcript, ["m0", "m1"])
    with pytest.raises(SurvivorsInvalid):
        run.vote(0, transcript, ["m2"])


def test_flipped_bit_anywhere_in_a_vote_is_caught(secure_sum_run):
    run = secure_sum_run(3).ready()
    votes = run.vote(0, run.transcript(0, run.mask(0, run.updates())), run.roster)
    for changed in [*flips(votes["m1"]), b""]:
        with pytest.raises(SignatureInvalid):
            member.unmask(run.states["m0"], 0, votes | {"m1": changed})


def test_vote_replayed_from_another_sum_or_run_is_caught(secure_sum_run):
    run = secure_sum_run(3).ready()
    other = secure_sum_run(3, run="run-2", identities=run.identities).ready()
    updates = run.updates()
    votes = [
        each.vote(index, each.transcript(index, each.mask(index, updates)), each.roster)
        for each, index in ((run, 0), (run, 1), (other, 0))
    ]
    for replayed in votes[1:]:
        with pytest.raises(SignatureInvalid):
            member.unmask(run.states["m0"], 0, votes[0] | {"m1": replayed["m1"]})


def test_vote_of_a_dropped_member_does_not_count(secure_sum_run):
    run = secure_sum_run(5).ready()
    masked = run.mask(0, run.updates())
    late = run.transcript(0, masked)
    del masked["m4"]
    votes = run.vote(0, run.transcript(0, masked), masked)
    votes |= run.vote(0, late, ["m4"])
    with pytest.raises(SurvivorsInvalid):
        run.unmask(0, votes, ["m0"])


# --- the unmask trick: everybody alive and dead at once ---------------------------------------


def test_second_survivor_set_is_refused_by_who_voted(secure_sum_run):
    run = secure_sum_run(5).ready()
    masked = run.mask(0, run.updates())
    run.vote(0, run.transcript(0, masked), run.roster)
    without = {name: masked[name] for name in ("m1", "m2", "m3", "m4")}
    for name in without:
        with pytest.raises(AlreadyOpened):
            run.vote(0, run.transcript(0, without), [name])


def test_two_survivor_sets_voted_to_different_members_open_neither(secure_sum_run):
    run = secure_sum_run(5).ready()
    masked = run.mask(0, run.updates())
    everybody = run.transcript(0, masked)
    without = run.transcript(0, {name: masked[name] for name in ("m1", "m2", "m3", "m4")})
    votes = run.vote(0, everybody, ["m0", "m1", "m2"]) | run.vote(0, without, ["m3", "m4"])
    with pytest.raises(SignatureInvalid):
        run.unmask(0, votes, ["m0"])
    with pytest.raises((SignatureInvalid, SurvivorsInvalid)):
        run.unmask(0, votes, ["m3"])
    with pytest.raises(TooFewMembers):
        run.unmask(0, {name: votes[name] for name in ("m0", "m1", "m2")}, ["m0"])


def test_no_reply_ever_holds_both_shares_of_a_member(secure_sum_run):
    run = secure_sum_run(6).ready()
    masked = run.mask(0, run.updates(), absent=["m5"])
    votes = run.vote(0, run.transcript(0, masked), masked)
    for data in run.unmask(0, votes, masked).values():
        reply = messages.parse_unmask_reply(data)
        assert reply.seed_shares.keys() == set(masked)
        assert reply.key_shares.keys() == {"m5"}


def test_a_survivor_whose_vote_is_kept_back_is_not_opened_as_dropped(secure_sum_run):
    # The trick needs a coordinator that says who is dead; the voted transcript alone decides.
    run = secure_sum_run(6).ready()
    masked = run.mask(0, run.updates())
    votes = run.vote(0, run.transcript(0, masked), masked)
    votes.pop("m5")
    (data,) = run.unmask(0, votes, ["m0"]).values()
    reply = messages.parse_unmask_reply(data)
    assert reply.seed_shares.keys() == set(run.roster)
    assert reply.key_shares == {}


def test_unmask_reply_of_another_sum_or_altered_is_caught(secure_sum_run):
    run = secure_sum_run(3).ready()
    opened = []
    for index in (0, 1):
        masked = run.mask(index, run.updates())
        transcript = run.transcript(index, masked)
        votes = run.vote(index, transcript, run.roster)
        opened.append((masked, transcript, run.unmask(index, votes, run.roster)))
    masked, transcript, replies = opened[0]
    with pytest.raises(MessageInvalid):
        run.combine(0, masked, transcript, replies | {"m1": opened[1][2]["m1"]})
    with pytest.raises(MessageInvalid):
        run.combine(0, masked, transcript, replies | {"m1": replies["m0"]})
    with pytest.raises(SurvivorsInvalid):
        run.combine(1, masked, transcript, replies)
    for changed in flips(replies["m1"]):
        with pytest.raises((MessageInvalid, ShareInvalid)):
            run.combine(0, masked, transcript, replies | {"m1": changed})


# --- one sum opened, another closed -----------------------------------------------------------


def open_around(run, victim):
    """Sum 0 opens with everybody; in sum 1 the victim's input is kept and it is called dead.

    Returns the victim's input of sum 1 and every secret of the victim the openings gave away.
    """
    updates, found = run.updates(length=64), []
    for index, dead in ((0, ()), (1, (victim,))):
        masked = run.mask(index, updates)
        kept = masked[victim]
        alive = {name: each for name, each in masked.items() if name not in dead}
        transcript = run.transcript(index, alive)
        replies = run.unmask(index, run.vote(index, transcript, alive), alive)
        total = run.combine(index, alive, transcript, replies)
        np.testing.assert_array_equal(total, sum(updates[name] for name in alive))
        parsed = {
            1 + run.roster.index(name): messages.parse_unmask_reply(data)
            for name, data in replies.items()
        }
        kind = "key_shares" if dead else "seed_shares"
        shares = {
            point: int.from_bytes(getattr(reply, kind)[victim], "big")
            for point, reply in parsed.items()
        }
        secret = shamir.combine(shares, shamir.weights_at_zero(list(shares)))
        found.append(secret.to_bytes(32, "big"))
    return updates[victim], kept, found


def strip_masks(run, victim, masked, found):
    """The coordinator's best try at the victim's sum 1 with all it has learnt."""
    context = run.states[victim].context(1)
    for seed in found:
        for mask_secret in found:
            streams = [(masks.self_mask_key(context, victim, seed), -1)]
            for name in run.roster:
                if name != victim:
                    public = run.states[victim].peers[name].mask_keys[1]
                    key = masks.pair_mask_key(context, victim, mask_secret, name, public)
                    streams.append((key, -masks.pair_sign(victim, name)))
            guess = masked.copy()
            masks.add_masks(guess, streams)
            plain = Ring(64).from_ring(guess)
            # 64 values below 2**20 by chance: (2**21 / 2**64)**64, never.
            if np.abs(plain).max() < 2**20:
                return plain
    return None


def test_alive_in_one_sum_and_dead_in_another_gives_no_update_away(secure_sum_run):
    run = secure_sum_run(5).ready()
    _, masked, found = open_around(run, "m2")
    assert strip_masks(run, "m2", masked, found) is None


def test_the_same_attack_reads_the_update_when_one_seed_serves_two_sums(
    secure_sum_run, monkeypatch
):
    monkeypatch.setattr(opening, "_refuse_repeats", lambda bundles: None)
    secrets = {f"m{i}": secrets_with() for i in range(5)}
    secrets["m2"] = secrets_with(seeds=(bytes(range(32)),) * 2)
    run = secure_sum_run(5, secrets=secrets).ready()
    update, masked, found = open_around(run, "m2")
    np.testing.assert_array_equal(strip_masks(run, "m2", masked, found), update)


# --- what a masked input looks like -----------------------------------------------------------


def byte_chi_square(values):
    counts = np.bincount(values.view(np.uint8), minlength=256)
    return stats.chisquare(counts).statistic


# One false alarm in 1e9: the upper tail of chi-square with 255 degrees of freedom.
LIMIT = stats.chi2.isf(1e-9, 255)


@pytest.mark.parametrize("bits", [32, 64])
def test_masked_values_are_uniform(secure_sum_run, bits):
    run = secure_sum_run(3, bits=bits).ready()
    same = {name: np.full(50_000, 7) for name in run.roster}
    masked = [run.mask(index, same) for index in (0, 1)]
    for each in [*masked[0].values(), *masked[1].values()]:
        assert byte_chi_square(each) < LIMIT
    # Nor do two masks of one member or two members of one sum have anything in common.
    assert byte_chi_square(masked[0]["m0"] - masked[1]["m0"]) < LIMIT
    assert byte_chi_square(masked[0]["m0"] - masked[0]["m1"]) < LIMIT


@pytest.mark.parametrize("dropped", ["self", "pair"])
def test_masked_values_stay_uniform_with_one_kind_of_mask_known(
    secure_sum_run, monkeypatch, dropped
):
    monkeypatch.setattr(
        "fedmkt.security.secure_sum.member.add_masks",
        lambda values, streams: masks.add_masks(
            values, streams[1:] if dropped == "self" else streams[:1]
        ),
    )
    run = secure_sum_run(3).ready()
    masked = run.mask(0, {name: np.full(50_000, 7) for name in run.roster})
    assert byte_chi_square(masked["m0"]) < LIMIT


def test_without_masks_the_values_are_there_to_read(secure_sum_run, monkeypatch):
    monkeypatch.setattr("fedmkt.security.secure_sum.member.add_masks", lambda values, streams: None)
    run = secure_sum_run(3).ready()
    updates = {name: np.full(50_000, 7) for name in run.roster}
    masked = run.mask(0, updates)
    assert byte_chi_square(masked["m0"]) > LIMIT
    np.testing.assert_array_equal(Ring(64).from_ring(masked["m0"]), updates["m0"])


def test_two_shares_of_three_do_not_give_a_seed(secure_sum_run):
    run = secure_sum_run(3).ready()
    held = {
        1 + at: int.from_bytes(run.states[name].sums[0].seed_shares["m0"], "big")
        for at, name in enumerate(run.roster)
    }
    seed = int.from_bytes(run.states["m0"].sums[0].seed, "big")
    two = {point: held[point] for point in (2, 3)}
    assert shamir.combine(held, shamir.weights_at_zero([1, 2, 3])) == seed
    assert shamir.combine(two, shamir.weights_at_zero([2, 3])) != seed


# --- secrets stay inside ----------------------------------------------------------------------


def test_no_secret_is_in_a_bundle_or_the_representation_of_a_state(secure_sum_run):
    run = secure_sum_run(3)
    state = run.states["m0"]
    secrets = [state.share_secret, state.polynomial_seed]
    secrets += [each for one in state.sums for each in (one.seed, one.mask_secret)]
    shown = repr(state) + str(state) + repr(state.sums)
    for secret in secrets:
        assert secret not in run.bundles["m0"]
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_state_is_not_pickled(secure_sum_run):
    import copy
    import pickle

    state = secure_sum_run(3).states["m0"]
    for value in (state, state.sums[0]):
        with pytest.raises(TypeError):
            pickle.dumps(value)
        with pytest.raises(TypeError):
            copy.deepcopy(value)


def test_cut_or_altered_state_is_refused(secure_sum_run):
    data = secure_sum_run(3).states["m0"].to_bytes()
    for broken in (b"", data[:-1], data + b"\0", encode({"run": "x"})):
        with pytest.raises(MessageInvalid):
            member.MemberState.from_bytes(broken)
