"""Rules of the secure sum's parts that hold for all inputs."""

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedmkt.security.secure_sum import masks, shamir
from fedmkt.security.secure_sum.ring import Ring

secrets = st.binary(min_size=32, max_size=32)
contexts = st.builds(
    masks.SumContext,
    run=st.text(max_size=8),
    sum_index=st.integers(0, 100),
    keys=secrets,
    circle=secrets,
)
quick = settings(deadline=None, max_examples=60)


def mask_of(key, bits=64, length=8):
    values = np.zeros(length, Ring(bits).dtype)
    masks.add_masks(values, [(key, 1)])
    return values.tobytes()


@quick
@given(contexts, secrets, secrets)
def test_two_different_seeds_never_give_equal_masks(context, one, other):
    assume(one != other)
    keys = [masks.self_mask_key(context, "a", seed) for seed in (one, other)]
    assert mask_of(keys[0]) != mask_of(keys[1])


@quick
@given(contexts, contexts, secrets)
def test_one_seed_in_two_contexts_never_gives_equal_masks(one, other, seed):
    assume(one != other)
    keys = [masks.self_mask_key(context, "a", seed) for context in (one, other)]
    assert mask_of(keys[0]) != mask_of(keys[1])


@quick
@given(contexts, secrets, st.lists(st.text(max_size=4), min_size=2, max_size=2, unique=True))
def test_one_seed_of_two_members_never_gives_equal_masks(context, seed, names):
    keys = [masks.self_mask_key(context, name, seed) for name in names]
    assert mask_of(keys[0]) != mask_of(keys[1])


@quick
@given(contexts, secrets, secrets, st.sampled_from([32, 64]), st.integers(1, 40))
def test_masks_of_a_pair_cancel(context, one, other, bits, length):
    assume(one != other)
    publics = {"a": masks.public_key(one), "b": masks.public_key(other)}
    values = np.arange(length).astype(Ring(bits).dtype)
    added = values.copy()
    for owner, secret, peer in (("a", one, "b"), ("b", other, "a")):
        key = masks.pair_mask_key(context, owner, secret, peer, publics[peer])
        masks.add_masks(added, [(key, masks.pair_sign(owner, peer))])
    np.testing.assert_array_equal(added, values)


@quick
@given(
    st.binary(min_size=32, max_size=32),
    st.integers(2, 9).flatmap(
        lambda k: st.tuples(
            st.just(k),
            st.lists(st.integers(0, shamir.PRIME - 1), min_size=k - 1, max_size=k - 1),
            st.sets(st.integers(1, 12), min_size=k, max_size=k),
        )
    ),
)
def test_any_threshold_of_shares_gives_the_secret(secret, dealt):
    _, coefficients, points = dealt
    value = int.from_bytes(secret, "big")
    shares = dict(zip(range(1, 13), shamir.split(value, coefficients, range(1, 13)), strict=True))
    chosen = sorted(points)
    picked = {point: shares[point] for point in chosen}
    assert shamir.combine(picked, shamir.weights_at_zero(chosen)) == value


@quick
@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1), st.integers(0, shamir.PRIME - 1))
def test_two_shares_of_threshold_three_fit_every_secret(secret, other, coefficient):
    # Whatever two members hold, some polynomial explains it with any other secret:
    # add (other - secret) * (x - 1)(x - 2) / 2, which vanishes at their points.
    seen = shamir.split(secret, [coefficient, 7], [1, 2])
    half = pow(2, -1, shamir.PRIME)
    shift = (other - secret) * half
    explained = shamir.split(
        other,
        [(coefficient - 3 * shift) % shamir.PRIME, (7 + shift) % shamir.PRIME],
        [1, 2],
    )
    assert explained == seen


@quick
@given(
    st.sampled_from([32, 64]),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
)
def test_signed_values_come_back_from_the_ring(bits, values):
    ring = Ring(bits)
    array = np.array(values)
    np.testing.assert_array_equal(ring.from_ring(ring.to_ring(array)), array)


def test_no_two_keys_of_a_whole_run_are_equal():
    contexts = [masks.SumContext("r", index, bytes(32), bytes(32)) for index in range(4)]
    names, one = "abcde", bytes(range(32))
    keys = [masks.self_mask_key(context, name, one) for context in contexts for name in names]
    keys += [
        masks.pair_mask_key(context, a, one, b, masks.public_key(bytes(32)))
        for context in contexts
        for a, b in itertools.combinations(names, 2)
    ]
    assert len(set(keys)) == len(keys) == 4 * (5 + 10)
