"""The ring: what fits comes back exactly, what could wrap is refused."""

import math

import numpy as np
import pytest

from fedmkt.core.errors import RangeExceeded
from fedmkt.security.secure_sum.ring import Ring, check_headroom


@pytest.mark.parametrize("bits", [32, 64])
def test_extremes_of_the_ring_come_back(bits):
    ring = Ring(bits)
    values = np.array([-(2 ** (bits - 1)), -1, 0, 1, 2 ** (bits - 1) - 1])
    elements = ring.to_ring(values)
    assert elements.dtype == ring.dtype
    assert elements.dtype.itemsize * 8 == bits
    np.testing.assert_array_equal(ring.from_ring(elements), values)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_value_beyond_32_bits_is_refused(value):
    with pytest.raises(RangeExceeded):
        Ring(32).to_ring(np.array([0, value]))


def test_ring_elements_are_a_copy():
    values = np.arange(3)
    Ring(64).to_ring(values)[:] = 9
    assert values.tolist() == [0, 1, 2]


def test_a_stated_width_gives_its_ring_and_other_widths_are_refused():
    assert (Ring.of(32), Ring.of(64)) == (Ring(32), Ring(64))
    for bits in (0, 16, 63, 128):
        with pytest.raises(RangeExceeded):
            Ring.of(bits)


def test_headroom_is_the_stated_tail_and_no_more():
    # 2 * 2**32 * exp(-t**2 / 2) = 2**-40 at t = sqrt(2 * 73 * ln 2) = 10.06.
    tail = math.sqrt(2 * 73 * math.log(2))
    room = Ring(32).largest
    check_headroom(room - math.ceil(tail * 1000), 1000.0, Ring(32))
    with pytest.raises(RangeExceeded):
        check_headroom(room - math.ceil(tail * 1000) + 1, 1000.0, Ring(32))


@pytest.mark.parametrize(("bound", "sigma"), [(-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_headroom_of_senseless_bounds_is_refused(bound, sigma):
    with pytest.raises(RangeExceeded):
        check_headroom(bound, sigma, Ring(64))


def test_headroom_without_noise_is_the_range_itself():
    check_headroom(Ring(64).largest, 0.0, Ring(64))
    with pytest.raises(RangeExceeded):
        check_headroom(Ring(64).largest + 1, 0.0, Ring(64))
