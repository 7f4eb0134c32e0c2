"""Laws of protected inner products over generated rows, bins, noise and scalars."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.security.inner_product import bins, elgamal, opening
from fedmkt.security.inner_product.points import (
    ORDER,
    add,
    from_wire,
    multiply,
    multiply_base,
    scalar_of,
    sum_groups,
    to_wire,
)
from fedmkt.security.inner_product.small_logs import find_logs

quick = settings(deadline=None, max_examples=40)
scalars = st.one_of(st.integers(1, 20), st.integers(ORDER - 20, ORDER - 1), st.integers(1, ORDER))
scalars = scalars.filter(lambda k: k % ORDER)
seeds = st.binary(min_size=32, max_size=32)


def points_of(numbers):
    return multiply_base(np.concatenate([scalar_of(k) for k in numbers]))


@st.composite
def rounds(draw):
    """Numbers, codes, sizes of the features and noise."""
    rows = draw(st.integers(0, 12))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    number = st.one_of(st.integers(-3, 3), st.integers(-4096, 4096), st.integers(-(2**17), 2**17))
    numbers = draw(st.lists(number, min_size=rows, max_size=rows))
    codes = [[draw(st.integers(0, size - 1)) for size in sizes] for _ in range(rows)]
    noise = draw(
        st.lists(st.integers(-(2**20), 2**20), min_size=sum(sizes), max_size=sum(sizes))
        | st.just([0] * sum(sizes))
    )
    return (
        np.array(numbers, dtype=np.int64),
        np.array(codes, dtype=np.uint16).reshape(rows, len(sizes)),
        sizes,
        np.array(noise, dtype=np.int64),
    )


def binning_of(sizes):
    return Binning(
        tuple(
            FeatureBins(f"f{place}", tuple(map(str, range(size))), (), ordered=False)
            for place, size in enumerate(sizes)
        )
    )


@quick
@given(rounds(), seeds)
def test_a_round_gives_the_exact_sum_of_every_bin_plus_its_noise(drawn, seed):
    numbers, codes, sizes, noise = drawn
    key = elgamal.OwnerKey.generate()
    data = elgamal.encrypt(key, numbers, elgamal.prepare(key, len(numbers)), workers=1)
    data = bins.masked_products(
        data, codes, binning_of(sizes), mask_seed=seed, member="owner", workers=1
    )
    data = opening.open_noised(key, data, noise, member="partner", workers=1)
    sums = bins.unmasked_sums(
        data,
        bins=sum(sizes),
        mask_seed=seed,
        limit=2**22,
        round_number=1,
        member="owner",
        workers=1,
    )
    exact = [
        numbers[codes[:, place] == code].sum()
        for place, size in enumerate(sizes)
        for code in range(size)
    ]
    assert sums.tolist() == (np.array(exact, dtype=np.int64) + noise).tolist()


@quick
@given(st.lists(scalars, min_size=1, max_size=6))
def test_a_sum_of_multiples_is_the_multiple_of_the_sum(numbers):
    sums, there = sum_groups(
        points_of(numbers), np.arange(len(numbers)), np.array([0, len(numbers)])
    )
    total = sum(numbers) % ORDER
    assert there[0] == (total != 0)
    if total:
        assert np.array_equal(sums, points_of([total]))


@quick
@given(scalars, scalars)
def test_multiplying_twice_is_multiplying_by_the_product(one, other):
    twice = multiply(points_of([one]), scalar_of(other))
    assert np.array_equal(twice, points_of([one * other]))


@quick
@given(st.lists(scalars, min_size=0, max_size=4))
def test_points_come_back_from_the_wire(numbers):
    many = points_of([1, *numbers])[1:]
    data = to_wire(many).tobytes()
    back = from_wire(data, count=len(many), member="m")
    assert np.array_equal(back, many)


@quick
@given(
    st.lists(st.integers(-3000, 3000).filter(bool), min_size=1, max_size=8),
    st.integers(1, 40),
    st.integers(0, 3000),
)
def test_exactly_the_numbers_within_the_limit_are_found(values, reach, limit):
    many = points_of(values)
    numbers, found = find_logs(many, limit=np.full(len(values), limit), reach=reach, workers=1)
    assert found.tolist() == [abs(value) <= limit for value in values]
    assert numbers[found].tolist() == [value for value in values if abs(value) <= limit]


@quick
@given(scalars, st.integers(-(2**40), 2**40))
def test_adding_a_number_to_a_point_moves_its_logarithm_by_it(start, number):
    if (start + number) % ORDER and number:
        moved, there = add(points_of([start]), points_of([number]))
        assert there.all()
        assert np.array_equal(moved, points_of([start + number]))
