"""Whole runs: the sum is exact, and it opens with drop-outs down to the threshold, not below."""

import numpy as np
import pytest

from fedmkt.core.errors import (
    AlreadyOpened,
    MessageInvalid,
    ShareInvalid,
    SignatureInvalid,
    StepOutOfOrder,
    SurvivorsInvalid,
    TooFewMembers,
)
from fedmkt.core.stages import NoiselessUpdate, PrivateUpdate
from fedmkt.identity.keys import Identity
from fedmkt.security.secure_sum import collector, member
from fedmkt.security.secure_sum.masks import _TILE_BYTES
from fedmkt.security.secure_sum.ring import Ring
from fedmkt.wire.canonical import decode, encode


def added(updates, names):
    return np.sum([updates[name] for name in names], axis=0)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("members", [3, 4, 5, 8])
def test_sum_is_exact(secure_sum_run, members, bits):
    run = secure_sum_run(members, bits=bits).ready()
    updates = run.updates()
    for sum_index in (0, 1):
        total = run.whole_sum(sum_index, updates)
        np.testing.assert_array_equal(total, added(updates, run.roster))


def test_sum_is_exact_over_several_tiles_and_a_rest(secure_sum_run):
    run = secure_sum_run(3).ready()
    updates = run.updates(length=2 * (_TILE_BYTES // 8) + 13, size=2**40)
    np.testing.assert_array_equal(run.whole_sum(0, updates), added(updates, run.roster))


@pytest.mark.parametrize("phase", ["unmasked", "voteless", "silent"])
@pytest.mark.parametrize("members", [5, 6])
def test_sum_opens_after_a_drop_out_in_each_phase(secure_sum_run, members, phase):
    run = secure_sum_run(members).ready()
    updates = run.updates()
    total = run.whole_sum(0, updates, **{phase: ["m1"]})
    inside = run.roster if phase != "unmasked" else [n for n in run.roster if n != "m1"]
    np.testing.assert_array_equal(total, added(updates, inside))


def test_member_back_for_the_next_sum_is_counted_again(secure_sum_run):
    run = secure_sum_run(5).ready()
    updates = run.updates()
    run.whole_sum(0, updates, unmasked=["m4"])
    np.testing.assert_array_equal(run.whole_sum(1, updates), added(updates, run.roster))


def test_member_absent_from_the_shares_is_left_out_of_all_sums(secure_sum_run):
    run = secure_sum_run(5).ready(absent=["m2"])
    updates = run.updates()
    for sum_index in (0, 1):
        total = run.whole_sum(sum_index, updates)
        np.testing.assert_array_equal(total, added(updates, run.circle))


@pytest.mark.parametrize("members", [5, 6])
def test_shares_of_fewer_than_the_threshold_are_refused(secure_sum_run, members):
    run = secure_sum_run(members).share()
    with pytest.raises(TooFewMembers):
        member.receive_shares(run.states["m0"], run.inbox("m0", absent=["m1", "m2"]))


@pytest.mark.parametrize("members", [3, 5, 6])
def test_vote_below_the_threshold_is_refused(secure_sum_run, members):
    run = secure_sum_run(members).ready()
    threshold = max(3, 2 * members // 3 + 1)
    masked = run.mask(0, run.updates(), absent=run.roster[threshold - 1 :])
    if threshold > 3:
        with pytest.raises(TooFewMembers):
            run.vote(0, run.transcript(0, masked), ["m0"])
    else:
        with pytest.raises(TooFewMembers):
            run.transcript(0, masked)


@pytest.mark.parametrize("members", [3, 5, 6])
def test_unmask_with_fewer_votes_than_the_threshold_is_refused(secure_sum_run, members):
    run = secure_sum_run(members).ready()
    threshold = max(3, 2 * members // 3 + 1)
    masked = run.mask(0, run.updates())
    votes = run.vote(0, run.transcript(0, masked), run.roster)
    few = {name: votes[name] for name in run.roster[: threshold - 1]}
    with pytest.raises(TooFewMembers):
        run.unmask(0, few, ["m0"])


@pytest.mark.parametrize("members", [3, 5, 6])
def test_fewer_replies_than_the_threshold_do_not_open(secure_sum_run, members):
    run = secure_sum_run(members).ready()
    masked = run.mask(0, run.updates())
    transcript = run.transcript(0, masked)
    votes = run.vote(0, transcript, run.roster)
    replies = run.unmask(0, votes, run.roster[: max(3, 2 * members // 3 + 1) - 1])
    with pytest.raises(TooFewMembers):
        run.combine(0, masked, transcript, replies)


def test_sum_waits_and_goes_on_when_the_member_is_back(secure_sum_run):
    run = secure_sum_run(3).ready()
    updates = run.updates()
    masked = run.mask(0, updates, absent=["m2"])
    with pytest.raises(TooFewMembers):
        run.transcript(0, masked)
    run.circle = ("m2",)
    masked |= run.mask(0, updates)
    run.circle = run.roster
    transcript = run.transcript(0, masked)
    replies = run.unmask(0, run.vote(0, transcript, run.roster), run.roster)
    total = run.combine(0, masked, transcript, replies)
    np.testing.assert_array_equal(total, added(updates, run.roster))


def test_state_survives_a_restart_between_any_two_messages(secure_sum_run):
    run = secure_sum_run(5)

    def restart():
        for name, state in run.states.items():
            run.states[name] = member.MemberState.from_bytes(state.to_bytes())
            assert run.states[name] == state

    restart()
    run.share()
    restart()
    for name in run.roster:
        run.states[name] = member.receive_shares(run.states[name], run.inbox(name))
    restart()
    updates = run.updates()
    masked = run.mask(0, updates, absent=["m3"])
    restart()
    transcript = run.transcript(0, masked)
    votes = run.vote(0, transcript, masked)
    restart()
    replies = run.unmask(0, votes, masked)
    restart()
    total = run.combine(0, masked, transcript, replies)
    np.testing.assert_array_equal(total, added(updates, masked))


def test_state_of_three_members_and_eight_sums_stays_within_8_kilobytes(secure_sum_run):
    run = secure_sum_run(3, sums=8).ready()
    assert len(run.states["m0"].to_bytes()) < 8192


def test_secrets_leave_the_state_once_used(secure_sum_run):
    run = secure_sum_run(3)
    own = run.states["m0"]
    secrets = [own.share_secret, own.polynomial_seed, own.sums[0].mask_secret, own.sums[0].seed]
    run.ready()
    masked = run.mask(0, run.updates())
    stored = run.states["m0"].to_bytes()
    assert not any(secret in stored for secret in secrets)
    votes = run.vote(0, run.transcript(0, masked), run.roster)
    shares = run.states["m0"].sums[0].seed_shares.values()
    run.unmask(0, votes, run.roster)
    stored = run.states["m0"].to_bytes()
    assert not any(each in stored for each in shares)


def test_mask_is_used_once(secure_sum_run):
    run = secure_sum_run(3).ready()
    run.mask(0, run.updates())
    with pytest.raises(AlreadyOpened):
        run.mask(0, run.updates())


def test_sum_is_unmasked_once(secure_sum_run):
    run = secure_sum_run(3).ready()
    votes = run.vote(0, run.transcript(0, run.mask(0, run.updates())), run.roster)
    run.unmask(0, votes, ["m0"])
    with pytest.raises(AlreadyOpened):
        run.unmask(0, votes, ["m0"])


def test_same_vote_again_gives_the_same_signature_even_after_opening(secure_sum_run):
    run = secure_sum_run(3).ready()
    transcript = run.transcript(0, run.mask(0, run.updates()))
    votes = run.vote(0, transcript, run.roster)
    assert run.vote(0, transcript, run.roster) == votes
    run.unmask(0, votes, run.roster)
    assert run.vote(0, transcript, run.roster) == votes


def test_noised_and_noiseless_updates_take_their_own_door(secure_sum_run):
    run = secure_sum_run(3).ready()
    noised = PrivateUpdate(np.arange(3), sigma=2.0, trust="local")
    bare = NoiselessUpdate(np.arange(3))
    member.mask(run.states["m0"], 0, noised, request_hash="r")
    with pytest.raises(TypeError, match="PrivateUpdate"):
        member.mask(run.states["m0"], 0, bare, request_hash="r")
    with pytest.raises(TypeError, match="NoiselessUpdate"):
        member.mask_noiseless(run.states["m0"], 0, noised, request_hash="r")


def test_steps_out_of_order_are_refused(secure_sum_run):
    run = secure_sum_run(3)
    state = run.states["m0"]
    with pytest.raises(StepOutOfOrder):
        member.receive_shares(state, {})
    with pytest.raises(StepOutOfOrder):
        member.mask_noiseless(state, 0, NoiselessUpdate(np.arange(2)), request_hash="r")
    run.ready()
    state = run.states["m0"]
    with pytest.raises(StepOutOfOrder):
        member.share(state, run.bundles, run.directory)
    with pytest.raises(StepOutOfOrder):
        member.receive_shares(state, run.inbox("m0"))
    with pytest.raises(StepOutOfOrder):
        member.vote(state, 0, b"", run.identities["m0"])
    with pytest.raises(StepOutOfOrder):
        member.unmask(state, 0, {})
    for beyond in (-1, 2):
        with pytest.raises(StepOutOfOrder):
            member.mask_noiseless(state, beyond, NoiselessUpdate(np.arange(2)), request_hash="r")


def test_vote_with_another_identity_is_refused(secure_sum_run):
    run = secure_sum_run(3).ready()
    transcript = run.transcript(0, run.mask(0, run.updates()))
    with pytest.raises(SignatureInvalid):
        member.vote(run.states["m0"], 0, transcript, run.identities["m1"])


@pytest.mark.parametrize(
    ("roster", "sums", "error"),
    [
        (("a", "b"), 1, TooFewMembers),
        (("a", "b", "b"), 1, MessageInvalid),
        (("b", "c", "d"), 1, MessageInvalid),
        (("a", "b", "c"), 0, MessageInvalid),
    ],
    ids=["two members", "one twice", "not among them", "no sum"],
)
def test_run_without_three_distinct_members_or_a_sum_is_not_opened(roster, sums, error):
    with pytest.raises(error):
        member.open_member(
            identity=Identity.generate(),
            member="a",
            run="r",
            roster=roster,
            sums=sums,
            ring=Ring(64),
        )


def test_inputs_of_different_lengths_are_not_added(secure_sum_run):
    run = secure_sum_run(3).ready()
    updates = run.updates() | {"m1": np.arange(3)}
    with pytest.raises(MessageInvalid):
        run.whole_sum(0, updates)


def test_wrong_share_is_noticed_and_named(secure_sum_run):
    run = secure_sum_run(5).ready()
    masked = run.mask(0, run.updates(), absent=["m4"])
    transcript = run.transcript(0, masked)
    replies = run.unmask(0, run.vote(0, transcript, masked), masked)
    for kind, owner in (("seed_shares", "m2"), ("key_shares", "m4")):
        reply = decode(replies["m1"], kind="reply")
        reply[kind][owner] = bytes([*reply[kind][owner][:-1], reply[kind][owner][-1] ^ 1])
        with pytest.raises(ShareInvalid) as caught:
            run.combine(0, masked, transcript, replies | {"m1": encode(reply)})
        assert caught.value.fields["member"] == owner


def test_missing_share_is_noticed(secure_sum_run):
    run = secure_sum_run(3).ready()
    masked = run.mask(0, run.updates())
    transcript = run.transcript(0, masked)
    replies = run.unmask(0, run.vote(0, transcript, masked), masked)
    reply = decode(replies["m1"], kind="reply")
    del reply["seed_shares"]["m2"]
    with pytest.raises(ShareInvalid):
        run.combine(0, masked, transcript, replies | {"m1": encode(reply)})


def test_stranger_is_refused_in_inbox_and_transcript(secure_sum_run):
    run = secure_sum_run(3).share()
    with pytest.raises(MessageInvalid):
        member.receive_shares(run.states["m0"], run.inbox("m0") | {"zed": b"x"})
    run = secure_sum_run(3).ready()
    masked = run.mask(0, run.updates())
    with pytest.raises(SurvivorsInvalid):
        collector.transcript(run.run, 0, run.roster, masked | {"zed": masked["m0"]}, "request")
