"""Rounds of the protected inner product: vectors, tampered messages, and attacks.

Each protection is shown twice: the attack fails against it and succeeds without it. Two attacks by
members that break the protocol succeed; they are the documented limits.
"""

import itertools
import pickle

import numpy as np
import pytest
from scipy.stats import binomtest

from fedmkt.core.errors import PointInvalid, RangeExceeded, SetSizeWrong, TotalsImplausible
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.security.inner_product import bins, elgamal, opening
from fedmkt.security.inner_product.elgamal import Ciphertexts, OwnerKey, encrypt, prepare
from fedmkt.security.inner_product.points import (
    ORDER,
    WIRE_BYTES,
    G,
    add,
    from_wire,
    multiply,
    multiply_base,
    negate_scalars,
    scalar_of,
    scalars_from,
    sum_groups,
    to_wire,
)
from fedmkt.security.inner_product.small_logs import find_logs

SIZES = (3, 4)  # the last bin of either feature is empty
BINS = sum(SIZES)
BINNING = Binning(
    tuple(
        FeatureBins(f"f{place}", tuple(map(str, range(size))), (), ordered=False)
        for place, size in enumerate(SIZES)
    )
)
NUMBERS = np.array([2048, -2048, 0, 7, -7, 4096, -4096, 1])
CODES = np.array([[0, 0], [0, 1], [1, 2], [0, 2], [0, 2], [1, 0], [1, 1], [1, 1]], dtype=np.uint16)
SUMS = [0, 1, 0, 6144, -6143, 0, 0]  # by hand, bin after bin
ROWS = len(NUMBERS)
SEED = bytes(range(32))
NO_NOISE = np.zeros(BINS, dtype=np.int64)


class Round:
    """One round of an owner and a partner; every message is kept."""

    def __init__(self, numbers=NUMBERS, codes=CODES, noise=NO_NOISE, *, seed=SEED, **form):
        self.key, self.seed, self.noise, self.form = OwnerKey.generate(), seed, noise, form
        self.multiples = prepare(self.key, len(numbers))
        self.encrypted = encrypt(self.key, numbers, self.multiples, **form)
        self.masked = self.products(self.encrypted, codes)

    def products(self, encrypted, codes=CODES):
        return bins.masked_products(
            encrypted, codes, BINNING, mask_seed=self.seed, member="owner", **self.form
        )

    def opened(self, masked=None):
        data = self.masked if masked is None else masked
        return opening.open_noised(self.key, data, self.noise, member="partner", **self.form)

    def sums(self, opened=None, **changed):
        arguments = {
            "bins": BINS,
            "mask_seed": self.seed,
            "limit": 2**20,
            "round_number": 3,
            "member": "owner",
            **self.form,
            **changed,
        }
        return bins.unmasked_sums(self.opened() if opened is None else opened, **arguments)


# --- what comes out --------------------------------------------------------------------------


def test_a_round_gives_every_bins_sum_and_zero_for_empty_bins():
    assert Round().sums().tolist() == SUMS


def test_noise_is_added_bin_by_bin():
    noise = np.array([5, -5, 1, -6144, 6143, 2**19, -(2**19)])
    assert Round(noise=noise).sums().tolist() == (np.array(SUMS) + noise).tolist()


@pytest.mark.parametrize("largest", [2**13, 2**13 + 1, 2**40])
def test_numbers_within_the_table_and_past_it_are_encrypted_alike(largest):
    numbers = np.array([largest, -largest, 0, 1 - largest, largest, -largest, 5, 0])
    key = OwnerKey.generate()
    assert decrypted(key, encrypt(key, numbers, prepare(key, ROWS))) == multiples_of(numbers)


def multiples_of(numbers):
    """The wire form of r G, None for 0."""
    return [to_wire(multiply_base(scalar_of(int(r)))).tobytes() if r else None for r in numbers]


def decrypted(key, data):
    """The wire form of second - x first of every row, None for the identity."""
    public, numbers = elgamal.read_encrypted(data, rows=ROWS, member="owner")
    assert np.array_equal(public, key.public)
    points, there = add(numbers.second, multiply(numbers.first, negate_scalars(key.scalar)))
    return [
        to_wire(points[at : at + 1]).tobytes() if there[at] else None for at in range(len(there))
    ]


def test_a_ciphertext_opens_to_its_number_by_the_textbook():
    one = Round()
    assert decrypted(one.key, one.encrypted) == multiples_of(NUMBERS)


def test_multiples_are_encryptions_of_zero():
    key = OwnerKey.from_bytes(scalar_of(12345).tobytes())
    made = prepare(key, 3)
    assert np.array_equal(key.public, multiply_base(scalar_of(12345)))
    assert np.array_equal(multiply(made.first, scalar_of(12345)), made.second)


def test_no_rows_and_one_row_are_rounds_too():
    empty = Round(NUMBERS[:0], CODES[:0])
    assert empty.sums().tolist() == [0] * BINS
    assert Round(NUMBERS[:1], CODES[:1]).sums().tolist() == [2048, 0, 0, 2048, 0, 0, 0]


def test_the_number_of_threads_changes_nothing():
    for workers in (1, 3):
        assert Round(workers=workers).sums().tolist() == SUMS


def test_sizes_depend_on_rows_and_layout_alone():
    one_bin = np.zeros((ROWS, 2), dtype=np.uint16)
    for numbers, codes in ((NUMBERS, CODES), (np.zeros(ROWS, dtype=np.int64), one_bin)):
        one = Round(numbers, codes)
        assert len(one.encrypted) == (1 + 2 * ROWS) * WIRE_BYTES
        assert len(one.masked) == 2 * BINS * WIRE_BYTES
        assert len(one.opened()) == BINS * WIRE_BYTES


# --- what is refused -------------------------------------------------------------------------


def off_curve(data, place):
    """Change the last byte of a point."""
    at = 64 * place + 63
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("place", [0, 1, ROWS, 2 * ROWS], ids=["key", "first", "last", "second"])
def test_a_partner_refuses_residuals_off_the_curve(place):
    one = Round()
    with pytest.raises(PointInvalid) as caught:
        one.products(off_curve(one.encrypted, place))
    assert caught.value.fields["member"] == "owner"


@pytest.mark.parametrize("place", [0, BINS, 2 * BINS - 1])
def test_an_owner_refuses_products_off_the_curve(place):
    one = Round()
    with pytest.raises(PointInvalid) as caught:
        one.opened(off_curve(one.masked, place))
    assert caught.value.fields["member"] == "partner"


def test_a_partner_refuses_sums_off_the_curve():
    one = Round()
    with pytest.raises(PointInvalid):
        one.sums(off_curve(one.opened(), 2))


@pytest.mark.parametrize("change", [lambda d: d[:-64], lambda d: d + d[-64:], lambda d: b""])
def test_every_message_of_another_size_than_agreed_is_refused(change):
    one = Round()
    steps = ((one.products, one.encrypted), (one.opened, one.masked), (one.sums, one.opened()))
    for step, data in steps:
        with pytest.raises(SetSizeWrong):
            step(change(data))


def test_a_code_outside_its_features_bins_is_refused():
    one = Round()
    codes = CODES.copy()
    codes[0, 0] = SIZES[0]  # would be the first bin of the next feature
    with pytest.raises(RangeExceeded):
        one.products(one.encrypted, codes)
    with pytest.raises(RangeExceeded):
        one.products(one.encrypted, CODES[:, :1])


def test_a_number_past_the_largest_is_refused():
    key = OwnerKey.generate()
    for number in (2**40 + 1, -(2**40) - 1, -(2**63)):
        with pytest.raises(RangeExceeded):
            encrypt(key, np.array([number]), prepare(key, 1))


def test_multiples_of_another_key_or_number_do_not_fit():
    key = OwnerKey.generate()
    for multiples in (prepare(OwnerKey.generate(), ROWS), prepare(key, ROWS + 1)):
        with pytest.raises(AssertionError):
            encrypt(key, NUMBERS, multiples)


def test_sums_past_the_limit_are_refused_and_the_round_is_named():
    one = Round()
    assert one.sums(limit=6144).tolist() == SUMS
    with pytest.raises(TotalsImplausible) as caught:
        one.sums(limit=6143)
    assert caught.value.fields["round"] == 3


def test_limits_may_be_stated_for_each_bin():
    one, limits = Round(), np.abs(SUMS)
    assert one.sums(limit=limits).tolist() == SUMS
    for place in np.flatnonzero(limits):
        tight = limits.copy()
        tight[place] -= 1
        with pytest.raises(TotalsImplausible):
            one.sums(limit=tight)


def test_another_key_or_another_mask_gives_no_sums():
    one = Round()
    with pytest.raises(TotalsImplausible):
        one.sums(mask_seed=bytes(32))
    stranger = opening.open_noised(OwnerKey.generate(), one.masked, NO_NOISE, member="partner")
    with pytest.raises(TotalsImplausible):
        one.sums(stranger)


def test_secrets_do_not_print_and_keys_are_not_pickled():
    key = OwnerKey.generate()
    texts = [repr(each) for each in (key, prepare(key, 1), Ciphertexts(G, G))]
    assert texts == ["OwnerKey(secret hidden)", "Multiples()", "Ciphertexts()"]
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert OwnerKey.from_bytes(key.to_bytes()).to_bytes() == key.to_bytes()


# --- a curious partner -----------------------------------------------------------------------


def test_equal_numbers_look_different_and_the_same_numbers_different_again():
    key = OwnerKey.generate()
    zeros = np.zeros(ROWS, dtype=np.int64)
    messages = [encrypt(key, zeros, prepare(key, ROWS))[64:] for _ in range(2)]
    points = {m[at : at + 64] for m in messages for at in range(0, len(m), 64)}
    assert len(points) == 2 * 2 * ROWS


def test_multiples_used_twice_show_the_difference_of_numbers():
    key = OwnerKey.generate()
    labels = np.array([0, 4096, 4096, 0, 0, 4096, 0, 4096])
    for again, shown in ((True, True), (False, False)):
        multiples = prepare(key, ROWS)
        data = encrypt(key, labels, multiples)
        later = encrypt(key, labels // 2, multiples if again else prepare(key, ROWS))
        seconds = [
            elgamal.read_encrypted(d, rows=ROWS, member="o")[1].second for d in (data, later)
        ]
        points, there = add(seconds[0], multiply(seconds[1], scalar_of(-1)))
        moved, found = find_logs(points[there], limit=np.full(there.sum(), 4096))
        assert found.all() == shown
        if shown:
            assert there.tolist() == (labels > 0).tolist()
            assert set(moved.tolist()) == {2048}


def test_a_partner_that_breaks_the_protocol_reads_single_labels():
    # The documented limit: weights 2^j instead of one-hot columns, one bin, through the noise.
    labels = np.random.default_rng(8).integers(0, 2, 14)
    residuals, noise = 4096 * labels - 2048, np.full(1, 1500)
    key = OwnerKey.generate()
    data = encrypt(key, residuals, prepare(key, len(labels)))
    public, numbers = elgamal.read_encrypted(data, rows=len(labels), member="owner")
    weights = np.concatenate([scalar_of(2**j) for j in range(len(labels))])
    covers = bins._covers(public, 1, SEED, 1)
    halves = []
    for half, cover in zip((numbers.first, numbers.second), covers, strict=True):
        pool = np.concatenate([multiply(half, weights), cover])
        halves.append(sum_groups(pool, np.arange(15), np.array([0, 15]))[0])
    opened = opening.open_noised(key, Ciphertexts(*halves).to_bytes(), noise, member="partner")
    total = bins.unmasked_sums(
        opened, bins=1, mask_seed=SEED, limit=2**26, round_number=1, member="owner"
    )
    # total = 4096 sum of 2^j labels - 2048 (2^14 - 1) + noise
    code = round((int(total[0]) + 2048 * (2**14 - 1)) / 4096)
    assert [code >> j & 1 for j in range(14)] == labels.tolist()


# --- a curious owner -------------------------------------------------------------------------


def rows_behind(one):
    """The owner looks for the set of rows whose k add up to a bin's first half: {bin: rows}."""
    first = from_wire(one.masked, count=2 * BINS, member="partner")[:BINS]
    taken, there = add(first, multiply_base(scalar_of(-1)))  # a cover of 1 G, where that is known
    seen = {row.tobytes(): place for place, row in enumerate(first)}
    seen |= {row.tobytes(): place for place, row in enumerate(taken) if there[place]}
    found = {}
    for size in range(1, ROWS + 1):
        for rows in itertools.combinations(range(ROWS), size):
            total, _ = sum_groups(one.multiples.first, np.array(rows), np.array([0, size]))
            if total.tobytes() in seen:
                found[seen[total.tobytes()]] = rows
    return found


def test_without_re_randomising_the_owner_finds_the_rows_of_every_bin(monkeypatch):
    def ones(count):
        return np.repeat(scalar_of(1), count, axis=0)

    monkeypatch.setattr(bins, "random_scalars", ones)
    expected = {
        offset + code: tuple(np.flatnonzero(CODES[:, place] == code).tolist())
        for place, offset in enumerate(BINNING.offsets)
        for code in range(SIZES[place])
        if (CODES[:, place] == code).any()
    }
    assert rows_behind(Round()) == expected


def test_with_re_randomising_the_owner_finds_no_rows():
    assert rows_behind(Round()) == {}


def sums_without_mask(one):
    """The owner takes its key off and looks the sums up: numbers and where it found one."""
    halves = Ciphertexts.from_bytes(one.masked, count=BINS, member="partner")
    points, there = add(halves.second, multiply(halves.first, negate_scalars(one.key.scalar)))
    assert there.all()
    return find_logs(points, limit=np.full(BINS, 2**20))


def test_without_masks_the_owner_reads_the_exact_sums(monkeypatch):
    monkeypatch.setattr(bins, "_masks", lambda seed, count: np.repeat(scalar_of(1), count, axis=0))
    numbers, found = sums_without_mask(Round())
    assert found.all()
    assert (numbers - 1).tolist() == SUMS


def test_with_masks_the_owner_reads_no_sum():
    assert not sums_without_mask(Round())[1].any()


def test_a_mask_seed_used_twice_shows_how_sums_moved():
    one, other = Round(), Round(NUMBERS // 2)
    opened = [
        multiply(from_wire(each.opened(), count=BINS, member="p"), scalar_of(sign))
        for each, sign in ((one, 1), (other, -1))
    ]
    points, there = add(*opened)
    numbers, found = find_logs(points[there], limit=np.full(there.sum(), 2**20))
    assert found.all()
    halved = [
        sum(NUMBERS[CODES[:, f] == c] // 2) for f, size in enumerate(SIZES) for c in range(size)
    ]
    assert numbers.tolist() == [s - h for s, h in zip(SUMS, halved, strict=True) if s != h]
    fresh = Round(NUMBERS // 2, seed=bytes(32))
    opened[1] = multiply(from_wire(fresh.opened(), count=BINS, member="p"), scalar_of(-1))
    points, there = add(*opened)
    assert there.all()
    assert not find_logs(points, limit=np.full(BINS, 2**20))[1].any()


def test_the_same_rows_and_masks_give_other_products_each_time():
    one = Round()
    answers = [one.products(one.encrypted) for _ in range(3)]
    points = {data[at : at + 64] for data in answers for at in range(0, len(data), 64)}
    assert len(points) == 3 * 2 * BINS


def test_masks_are_uniform_scalars_and_differ_from_bin_to_bin_and_seed_to_seed():
    masks = np.concatenate([bins._masks(seed, 500) for seed in (SEED, bytes(32))])
    assert len({row.tobytes() for row in masks}) == 1000
    ones = int(np.unpackbits(masks).sum())  # of 1,000 scalars of 256 bits
    assert binomtest(ones, 256_000).pvalue > 1e-6
    assert np.array_equal(masks[:500], bins._masks(SEED, 500))
    assert not np.array_equal(masks[:499], bins._masks(SEED, 499))  # nor in another layout


def test_points_that_cancel_out_do_not_show_which_rows_meet():
    # A hostile owner sends A and -A for two rows: their sum is the identity if they share a bin.
    pair = multiply_base(np.concatenate([scalar_of(99), scalar_of(-99)]))
    _, there = sum_groups(pair, np.array([0, 1]), np.array([0, 2]))
    assert not there[0]  # what a sum without a cover would stumble over
    message = to_wire(G).tobytes() + Ciphertexts(pair, pair).to_bytes()
    one = Round()
    for codes in ([[0, 0], [0, 0]], [[0, 0], [1, 1]]):
        data = one.products(message, np.array(codes, dtype=np.uint16))
        points = from_wire(data, count=2 * BINS, member="partner")
        assert len({row.tobytes() for row in points}) == 2 * BINS


def test_an_owner_may_return_any_number_it_likes():
    # The documented limit: within the limit nothing here tells a chosen number from a sum.
    chosen = np.arange(BINS) * 1000
    assert Round(noise=chosen - np.array(SUMS)).sums().tolist() == chosen.tolist()


def test_products_without_a_mask_that_come_to_nothing_are_refused():
    # (k G, k P) opens to 0, which is no point: only a member that left its masks off sends that.
    one = Round()
    made = prepare(one.key, BINS)
    with pytest.raises(PointInvalid) as caught:
        one.opened(Ciphertexts(made.first, made.second).to_bytes())
    assert caught.value.fields["member"] == "partner"


def test_what_the_owner_sees_has_no_visible_bias():
    # The lowest bits of x and y of the same sums, masked anew 40 times: 1,120 fair coins.
    one = Round()
    data = np.frombuffer(b"".join(one.products(one.encrypted) for _ in range(40)), np.uint8)
    bits = data.reshape(-1, 32)[:, 31] & 1
    assert binomtest(int(bits.sum()), bits.size).pvalue > 1e-6


def test_keys_come_from_any_32_secret_bytes_that_are_a_scalar():
    assert scalars_from(OwnerKey.generate().to_bytes()).shape == (1, 32)
    for wrong in (bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32):
        with pytest.raises(AssertionError):
            OwnerKey.from_bytes(wrong)
