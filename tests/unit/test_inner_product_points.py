"""What is called of libsecp256k1 against plain arithmetic: the contract a new release must keep."""

from types import SimpleNamespace

import numpy as np
import pytest
from coincurve._libsecp256k1 import ffi, lib

from fedmkt.core.errors import PointInvalid, SetSizeWrong
from fedmkt.security.inner_product import points
from fedmkt.security.inner_product.points import (
    ORDER,
    UNSHIFT,
    G,
    add,
    check_library,
    from_wire,
    multiply,
    multiply_base,
    multiply_scalars,
    negate_scalars,
    progression,
    random_scalars,
    scalar_of,
    shifted,
    sum_groups,
    to_wire,
)

P = 2**256 - 2**32 - 977  # SEC 2 version 2.0, section 2.4.1
BASE = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def plain_sum(one, other):
    """Affine addition on y^2 = x^3 + 7 (SEC 1, section 2.2.1); None is the identity."""
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = 3 * x1 * x1 * pow(2 * y1, -1, P) if x1 == x2 else (y2 - y1) * pow(x2 - x1, -1, P)
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def plain_multiple(scalar, point=BASE):
    """Doubling and adding, for a scalar modulo the order."""
    total, scalar = None, scalar % ORDER
    while scalar:
        if scalar & 1:
            total = plain_sum(total, point)
        point, scalar = plain_sum(point, point), scalar >> 1
    return total


def coordinates(many):
    return [
        (int.from_bytes(row[:32].tobytes(), "big"), int.from_bytes(row[32:].tobytes(), "big"))
        for row in to_wire(many)
    ]


def numbers(scalars):
    return [int.from_bytes(row.tobytes(), "big") for row in scalars]


def encoded(x, y):
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def test_the_base_point_is_the_standards():
    assert coordinates(G) == [BASE]
    assert plain_multiple(ORDER) is None
    assert coordinates(UNSHIFT) == [plain_multiple(-(2**64))]


def test_multiples_and_sums_are_those_of_plain_arithmetic():
    scalars = np.concatenate([scalar_of(1), scalar_of(-1), random_scalars(3)])
    many = multiply_base(scalars)
    assert coordinates(many) == [plain_multiple(k) for k in numbers(scalars)]
    factors = random_scalars(5)
    expected = [
        plain_multiple(k * f) for k, f in zip(numbers(scalars), numbers(factors), strict=True)
    ]
    assert coordinates(multiply(many, factors)) == expected
    total, there = sum_groups(many, np.arange(5), np.array([0, 5]))
    assert there.all()
    assert coordinates(total) == [plain_multiple(sum(numbers(scalars)))]


def test_scalars_are_numbers_modulo_the_order():
    scalars = np.concatenate([scalar_of(5), scalar_of(-5), random_scalars(4)])
    assert numbers(scalars[:2]) == [5, ORDER - 5]
    assert numbers(negate_scalars(scalars)) == [ORDER - k for k in numbers(scalars)]
    factor = random_scalars(1)
    assert numbers(multiply_scalars(scalars, factor)) == [
        k * numbers(factor)[0] % ORDER for k in numbers(scalars)
    ]


def test_shifted_numbers_are_never_zero_and_exact_to_the_last_of_64_bits():
    values = [0, 1, -1, 2**13, -(2**13), 2**63 - 1, -(2**63)]
    assert numbers(shifted(np.array(values))) == [value + 2**64 for value in values]


def test_one_point_or_scalar_serves_for_many_and_the_arguments_stay_as_they_were():
    scalars = random_scalars(3)
    before = scalars.copy(), G.copy()
    assert np.array_equal(multiply(G, scalars), multiply_base(scalars))
    many = multiply_base(scalars)
    assert coordinates(multiply(many, scalar_of(2))) == coordinates(add(many, many)[0])
    assert coordinates(add(many, G)[0]) == [plain_multiple(k + 1) for k in numbers(scalars)]
    assert np.array_equal(scalars, before[0])
    assert np.array_equal(G, before[1])


def test_a_sum_that_is_the_identity_is_said_to_be_no_point():
    pair = multiply_base(np.concatenate([scalar_of(3), scalar_of(-3), scalar_of(2)]))
    index, starts = np.array([0, 1, 0, 2, 0, 1, 2]), np.array([0, 2, 4, 7])
    sums, there = sum_groups(pair, index, starts)
    assert there.tolist() == [False, True, True]
    assert not sums[0].any()
    assert coordinates(sums[1:]) == [plain_multiple(5), plain_multiple(2)]


def test_a_progression_is_repeated_addition():
    first, step = multiply_base(scalar_of(10)), multiply_base(scalar_of(7))
    expected = [plain_multiple(10 + 7 * j) for j in range(11)]
    for count in (1, 2, 3, 8, 11):
        assert coordinates(progression(first, step, count)) == expected[:count]


@pytest.mark.parametrize("count", [0, 1, points._CHUNK, 2 * points._CHUNK + 1])
def test_results_do_not_depend_on_threads(count):
    scalars, starts = random_scalars(count), 2 * np.arange(count + 1)
    one, three = (multiply_base(scalars, workers=workers) for workers in (1, 3))
    assert np.array_equal(one, three)
    index = np.repeat(np.arange(count), 2)
    sums = [sum_groups(one, index, starts, workers=workers) for workers in (1, 3)]
    assert np.array_equal(sums[0][0], sums[1][0])
    products = [multiply(one, scalars, workers=workers) for workers in (1, 3)]
    assert np.array_equal(*products)
    back = from_wire(to_wire(one).tobytes(), count=count, member="b")
    assert np.array_equal(back, one)


def small_coordinates():
    """A point whose x, and one whose y, is small enough for a second encoding below 2^256."""
    assert P % 4 == 3
    y = pow(1 + 7, (P + 1) // 4, P)
    assert y * y % P == 1 + 7
    assert P % 9 == 7  # then a cube c has the root c^((P + 2) / 9)
    small, root = next(
        (small, root)
        for small in range(2, 100)
        if pow(root := pow(small * small - 7, (P + 2) // 9, P), 3, P) == (small * small - 7) % P
    )
    return (1, y), (root, small)


@pytest.mark.parametrize(
    "wrong",
    [
        encoded(0, 0),  # how the identity might be written
        encoded(BASE[0], BASE[1] + 1),
        encoded(5, 0),
        b"\xff" * 64,
    ],
    ids=["zeros", "off the curve", "no y", "ones"],
)
def test_what_is_no_point_is_refused(wrong):
    data = to_wire(G).tobytes() + wrong
    with pytest.raises(PointInvalid) as caught:
        from_wire(data, count=2, member="b")
    assert caught.value.fields["member"] == "b"


def test_a_point_has_one_encoding_only():
    (x, high), (wide, y) = small_coordinates()
    from_wire(encoded(x, high) + encoded(wide, y), count=2, member="b")
    for again in (encoded(x + P, high), encoded(wide, y + P)):
        with pytest.raises(PointInvalid):
            from_wire(again, count=1, member="b")


@pytest.mark.parametrize(("cut", "found"), [(-64, "1"), (-1, "1.98438"), (64, "3")])
def test_another_number_of_points_than_agreed_is_refused(cut, found):
    data = to_wire(np.concatenate([G, G])).tobytes()
    data = data[:cut] if cut < 0 else data + data[:cut]
    with pytest.raises(SetSizeWrong) as caught:
        from_wire(data, count=2, member="b")
    assert caught.value.fields == {"member": "b", "declared": 2, "found": found}


def test_groups_beyond_the_pool_are_never_handed_to_the_library():
    for index, starts in (([1], [0, 1]), ([-1], [0, 1]), ([0], [0, 0, 1])):
        with pytest.raises(AssertionError):
            sum_groups(G, np.array(index), np.array(starts))


def test_a_library_that_lacks_a_call_or_has_another_form_is_named():
    check_library(lib, ffi.sizeof("secp256k1_pubkey"))
    names = {name: None for name in points._USED if "combine" not in name}
    with pytest.raises(ImportError, match="secp256k1_ec_pubkey_combine"):
        check_library(SimpleNamespace(**names), 64)
    with pytest.raises(ImportError, match="64 bytes"):
        check_library(lib, 96)
