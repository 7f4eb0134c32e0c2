"""The group against published vectors and plain arithmetic, and lists that attack it."""

import copy
import hashlib
import pickle
import secrets

import numpy as np
import pytest
from nacl.bindings import crypto_core_ed25519_from_uniform, crypto_scalarmult
from nacl.exceptions import RuntimeError as RefusedByLibrary
from scipy.stats import binomtest

from fedmkt.core.errors import PointInvalid, SetReplayed, SetSizeWrong
from fedmkt.security.psi import group
from fedmkt.security.psi.group import (
    SMALL_ORDER,
    BlindingKey,
    blind,
    check_points,
    hash_to_points,
)
from fedmkt.security.psi.linking import find_positions, link
from fedmkt.security.psi.lists import own_list, pass_on, shuffled, tags_from_bytes, tags_to_bytes

P = 2**255 - 19
A = 486662  # v^2 = u^3 + A u^2 + u
ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 7748, section 4.1
IDENTIFIERS = [f"person{i}@example.org".encode() for i in range(400)]


def points_of(*encodings):
    return np.frombuffer(b"".join(encodings), np.uint8).reshape(-1, 32)


def encoded(*values):
    return points_of(*(value.to_bytes(32, "little") for value in values))


def numbers(points):
    return [int.from_bytes(point.tobytes(), "little") for point in points]


def random_points(count):
    return hash_to_points([secrets.token_bytes(32) for _ in range(count)], domain=b"random")


def on_curve(points):
    """Euler's criterion for u^3 + A u^2 + u; a u-coordinate for which it fails is the twist's."""
    return [pow((u**3 + A * u**2 + u) % P, (P - 1) // 2, P) != P - 1 for u in numbers(points)]


def doubled(u):
    """RFC 7748's curve in plain fractions: u(2 Q) = (u^2 - 1)^2 / (4 u (u^2 + A u + 1))."""
    return (u * u - 1) ** 2 * pow(4 * u * (u * u + A * u + 1), -1, P) % P


def elligator(r):
    """RFC 9380, section 6.7.1, with Z = 2: u = -A / (1 + 2 r^2), or -u - A on the twist."""
    u = -A * pow(1 + 2 * r * r, -1, P) % P
    return u if on_curve(encoded(u))[0] else (-u - A) % P


# --- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "point", "result"),
    [
        (  # RFC 7748, section 5.2, first vector
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (  # RFC 7748, section 6.1
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ],
)
def test_blinding_is_x25519(scalar, point, result):
    key = BlindingKey.from_bytes(bytes.fromhex(scalar))
    assert blind(points_of(bytes.fromhex(point)), key, member="a").tobytes().hex() == result


def test_mapping_to_the_curve_is_elligator_2_times_the_cofactor():
    # RFC 9380, appendix J.4.2 (curve25519_XMD:SHA-512_ELL2_NU_, empty message): u[0], Q.x, P.x.
    r = 0x608D892B641F0328523802A6603427C26E55E6F27E71A91A478148D45B5093CD
    before = 0x51125222DA5E763D97F3C10FCC92EA6860B9CCBBD2EB1285728F566721C1E65B
    after = 0x1BB913F0C9DAEFA0B3375378FFA534BDA5526C97391952A7789EB976EDFE4D08
    assert elligator(r) == before
    assert doubled(doubled(doubled(before))) == after
    mapped = group._to_montgomery([crypto_core_ed25519_from_uniform(r.to_bytes(32, "little"))])
    assert numbers(points_of(*mapped)) == [after]


def test_hashing_is_the_plain_arithmetic_over_the_prefixed_hash():
    values = [b"", b"a@example.org", bytes(100)]
    expected = []
    for value in values:
        data = hashlib.blake2b(b"\x00\x03run" + value, digest_size=32).digest()
        r = int.from_bytes(data, "little") % 2**255  # the top bit chooses between P and -P only
        expected.append(doubled(doubled(doubled(elligator(r)))))
    assert numbers(hash_to_points(values, domain=b"run")) == expected


def test_hashed_points_lie_in_the_prime_order_subgroup():
    # l Q = 0 exactly if (l - 1) Q = -Q; u-coordinates drop the sign. X25519 clamps l - 1, so the
    # multiple is taken by plain doubling and differential addition.
    for u in numbers(hash_to_points(IDENTIFIERS[:5], domain=b"d")):
        assert multiple(ORDER - 1, u) == u
        assert multiple(ORDER + 1, u) == u


def multiple(scalar, u):
    """Montgomery's ladder without clamping (RFC 7748, section 5)."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in map(int, f"{scalar:b}"):
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        x3, z3 = (x2 * x3 - z2 * z3) ** 2 % P, u * (x2 * z3 - z2 * x3) ** 2 % P
        square = x2 * x2 + A * x2 * z2 + z2 * z2
        x2, z2 = (x2 * x2 - z2 * z2) ** 2 % P, 4 * x2 * z2 * square % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, -1, P) % P


def test_equal_values_under_different_domains_give_different_points():
    domains = [b"", b"a", b"ab", b"b"]
    points = [hash_to_points([b"bc", b"c"], domain=domain).tobytes() for domain in domains]
    assert len({half for each in points for half in (each[:32], each[32:])}) == 8


@pytest.mark.parametrize("workers", [1, 3, None])
@pytest.mark.parametrize("count", [0, 1, group._CHUNK, 2 * group._CHUNK + 1])
def test_results_do_not_depend_on_threads_and_chunks(workers, count):
    values = [b"%d" % i for i in range(count)]
    key = BlindingKey.from_bytes(bytes(range(32)))
    points = hash_to_points(values, domain=b"d", workers=workers)
    blinded = blind(points, key, member="a", workers=workers)
    assert points.shape == blinded.shape == (count, 32)
    for at in {0, count // 2, count - 1} if count else ():
        single = hash_to_points([values[at]], domain=b"d", workers=1)
        assert points[at].tobytes() == single.tobytes()
        assert blinded[at].tobytes() == crypto_scalarmult(key.to_bytes(), single.tobytes())


# --- the bit of the twist -----------------------------------------------------------------------


def naive_points(values):
    """Each identifier's hash, taken as a u-coordinate as it is."""
    return encoded(*(int.from_bytes(hashlib.sha256(v).digest(), "little") % P for v in values))


def guessed_owners(points_by_guess, blinded):
    """For each tag, which of two guessed identifiers it is by the twist bit; None if both fit."""
    first, second = (on_curve(points) for points in points_by_guess)
    return [
        None if one == other else (0 if one == seen else 1)
        for one, other, seen in zip(first, second, on_curve(blinded), strict=True)
    ]


def twist_attack(hashing):
    """Guess, without the key, which of two known people each blinded tag is: (right, wrong)."""
    pairs = IDENTIFIERS[:200], IDENTIFIERS[200:]
    truth = [secrets.randbelow(2) for _ in pairs[0]]
    chosen = [pairs[which][at] for at, which in enumerate(truth)]
    blinded = blind(hashing(chosen), BlindingKey.generate(), member="a")
    guesses = guessed_owners([hashing(each) for each in pairs], blinded)
    right = sum(guess == true for guess, true in zip(guesses, truth, strict=True))
    return right, sum(guess is not None for guess in guesses) - right


def test_the_twist_bit_tells_people_apart_under_naive_hashing():
    right, wrong = twist_attack(naive_points)
    # About half of the 200 pairs lie on different sides; each of those is told apart.
    assert right > 50
    assert wrong == 0


def test_the_twist_bit_tells_nothing_under_ours():
    assert twist_attack(lambda values: hash_to_points(values, domain=b"d")) == (0, 0)


def test_blinded_dummies_lie_where_identifiers_do():
    tags, _ = own_list([[None] * 50], padded_rows=100, domain=b"d", key=BlindingKey.generate())
    assert all(on_curve(tags[0]))


def test_a_blinded_tag_has_no_visible_bias():
    # A tag's lowest bit tells nothing about its identifier's: 1,200 fair coins, two-sided.
    values = [b"%d" % i for i in range(1200)]
    points = hash_to_points(values, domain=b"d")
    blinded = blind(points, BlindingKey.generate(), member="a")
    same = int(((points[:, 0] ^ blinded[:, 0]) & 1 == 0).sum())
    assert binomtest(same, len(values)).pvalue > 1e-6


# --- points that a hostile member may send -------------------------------------------------------


def test_small_order_points_are_those_every_key_takes_to_zero():
    for point in SMALL_ORDER:
        with pytest.raises(RefusedByLibrary):
            crypto_scalarmult(secrets.token_bytes(32), point)
    # Order 2; twice 4, since doubling gives 0, whose order is 2; twice 8, since it gives 1.
    u = numbers(points_of(*SMALL_ORDER))
    assert u[:3] == [0, 1, P - 1]
    assert [(v * v - 1) % P == 0 for v in u[1:3]] == [True, True]
    assert [doubled(v) for v in u[3:]] == [1, 1]


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:6])
def test_small_order_is_refused_when_received_and_when_blinded(point):
    column = np.concatenate([random_points(3), points_of(point)])
    with pytest.raises(PointInvalid) as caught:
        check_points(column, member="b")
    assert caught.value.fields["member"] == "b"
    with pytest.raises(PointInvalid):
        pass_on(column[None], BlindingKey.generate(), member="b")


@pytest.mark.parametrize("value", [P, P + 1, P + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_encodings_that_are_not_canonical_are_refused(value):
    with pytest.raises(PointInvalid):
        check_points(np.concatenate([random_points(2), encoded(value)]), member="b")


@pytest.mark.parametrize("value", [2, 9, P - 2, 2**254, 2**64 - 1, P - 2**64, P - 2**192])
def test_canonical_encodings_of_large_order_are_accepted(value):
    check_points(encoded(value), member="b")


def test_one_point_in_two_encodings_would_pass_as_two_without_the_check():
    key = BlindingKey.generate()
    twice = encoded(9, P + 9)
    one, other = blind(twice, key, member="b")
    assert one.tobytes() == other.tobytes()
    with pytest.raises(PointInvalid):
        check_points(twice, member="b")


@pytest.mark.parametrize(
    "points",
    [np.zeros((2, 31), np.uint8), np.zeros(32, np.uint8), np.ones((2, 32), np.int64)],
    ids=["31 bytes", "no rows", "another type"],
)
def test_other_shapes_and_types_are_refused(points):
    with pytest.raises(PointInvalid):
        check_points(points, member="b")


def test_a_point_that_stands_twice_is_refused():
    column = random_points(5)
    column[4] = column[1]
    with pytest.raises(SetReplayed) as caught:
        check_points(column, member="b")
    assert caught.value.fields["member"] == "b"


def test_a_small_order_part_buys_a_second_row_no_match_that_passes():
    # The sum of a point and the point of order 2 has u-coordinate 1 / u: another encoding that
    # passes the first check, blinds to the same tag, and falls to the check of the next member.
    u = numbers(hash_to_points([b"x"], domain=b"d"))[0]
    column = encoded(u, pow(u, -1, P))
    check_points(column, member="b")
    passed = pass_on(column[None], BlindingKey.generate(), member="b")
    with pytest.raises(SetReplayed):
        check_points(passed[0], member="b")


def test_a_twist_point_stays_on_the_twist_and_matches_nobody():
    twist = encoded(*(u for u in range(2, 30) if not on_curve(encoded(u))[0]))
    check_points(twist, member="b")
    key = BlindingKey.generate()
    assert not any(on_curve(pass_on(twist[None], key, member="b")[0]))


# --- lists ---------------------------------------------------------------------------------------


def full_lists(mine, yours, *, rows=(8, 8), columns=1):
    """Both members' fully blinded lists and orders, over the bytes that travel."""
    keys = BlindingKey.generate(), BlindingKey.generate()
    full, orders = {}, {}
    for at, (name, values) in enumerate((("a", mine), ("b", yours))):
        tags, orders[name] = own_list(values, padded_rows=rows[at], domain=b"run", key=keys[at])
        data = tags_to_bytes(tags)
        tags = tags_from_bytes(data, columns=columns, rows=rows[at], member=name)
        full[name] = pass_on(tags, keys[1 - at], member=name)
    return full, orders


def test_equal_identifiers_are_found_and_blanks_and_dummies_match_nothing():
    full, orders = full_lists([[b"x", None, b"y", b"z"]], [[b"z", b"w", None, None, b"x"]])
    links = link(full)
    found = {name: find_positions(own, links, alignment="one") for name, own in full.items()}
    pairs = {
        (int(orders["a"][i]), int(orders["b"][j]))
        for i, j in zip(found["a"], found["b"], strict=True)
    }
    assert pairs == {(0, 4), (3, 0)}
    assert links.count == 2


def test_equal_identifiers_in_different_key_columns_do_not_match():
    # "x" stands in column 0 of a and in column 1 of b.
    full, _ = full_lists([[b"x"], [b"p"]], [[b"q"], [b"x"]], columns=2)
    assert link(full).count == 0
    again, _ = full_lists([[b"x"], [b"p"]], [[b"x"], [b"p"]], columns=2)
    assert link(again).count == 1


def test_orders_of_a_list_hold_every_customer_once_and_dummies_besides():
    tags, order = own_list(
        [[b"a", b"b", None]], padded_rows=6, domain=b"d", key=BlindingKey.generate()
    )
    assert tags.shape == (1, 6, 32)
    assert sorted(order.tolist()) == [-1, -1, -1, 0, 1, 2]


def test_every_order_of_a_list_is_as_likely():
    # 24 orders of 4 rows, 2,400 draws: a chi-square with 23 degrees of freedom above 85 has chance
    # 4e-9.
    counts = {}
    tags = np.zeros((1, 4, 32), np.uint8)
    tags[0, :, 0] = range(4)
    for _ in range(2400):
        order = tuple(shuffled(tags)[0, :, 0].tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 85


def test_two_runs_share_no_tag():
    first, second = (
        own_list([[b"x", b"y"]], padded_rows=2, domain=b"d", key=BlindingKey.generate())[0]
        for _ in range(2)
    )
    assert not {each.tobytes() for each in first[0]} & {each.tobytes() for each in second[0]}


@pytest.mark.parametrize(
    ("change", "found"),
    [(lambda d: d[:-32], "5"), (lambda d: d + d[:32], "7"), (lambda d: d[:-1], "5.96875")],
    ids=["one less", "one more", "cut off"],
)
def test_a_list_of_another_size_than_signed_is_refused(change, found):
    tags, _ = own_list([[b"x"], [b"1"]], padded_rows=3, domain=b"d", key=BlindingKey.generate())
    with pytest.raises(SetSizeWrong) as caught:
        tags_from_bytes(change(tags_to_bytes(tags)), columns=2, rows=3, member="b")
    assert caught.value.fields == {"member": "b", "declared": 6, "found": found}


def test_a_bad_point_in_any_column_of_a_list_is_refused():
    tags, _ = own_list([[b"x"], [b"1"]], padded_rows=3, domain=b"d", key=BlindingKey.generate())
    for column in range(2):
        small, replayed = tags.copy(), tags.copy()
        small[column, 1] = 0
        replayed[column, 1] = replayed[column, 2]
        for forged, error in ((small, PointInvalid), (replayed, SetReplayed)):
            with pytest.raises(error):
                tags_from_bytes(tags_to_bytes(forged), columns=2, rows=3, member="b")


# --- keys ----------------------------------------------------------------------------------------


def test_a_blinding_key_never_prints_copies_or_pickles():
    key = BlindingKey.from_bytes(b"S" * 32)
    assert "S" * 4 not in f"{key!r} {key}"
    assert BlindingKey.from_bytes(key.to_bytes()).to_bytes() == b"S" * 32
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(key)


def test_fresh_blinding_keys_differ():
    assert BlindingKey.generate().to_bytes() != BlindingKey.generate().to_bytes()
