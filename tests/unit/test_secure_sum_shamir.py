"""Shamir's shares against published numbers and plain algebra."""

import pytest

from fedmkt.core.errors import TooFewMembers
from fedmkt.security.secure_sum import shamir
from fedmkt.security.secure_sum.messages import threshold_of


def test_shares_of_the_textbook_polynomial():
    # Wikipedia, "Shamir's secret sharing", Preparation: f(x) = 1234 + 166 x + 94 x**2; its values
    # are smaller than the field, so they are the same here.
    shares = shamir.split(1234, [166, 94], range(1, 7))
    assert shares == [1494, 1942, 2578, 3402, 4414, 5614]


def test_textbook_secret_comes_back_from_its_three_points():
    # Ibid., Reconstruction: the points 2, 4 and 5.
    weights = shamir.weights_at_zero([2, 4, 5])
    assert shamir.combine({2: 1942, 4: 3402, 5: 4414}, weights) == 1234


def test_field_is_the_thirteenth_mersenne_prime():
    # Lucas-Lehmer: 2**p - 1 is prime exactly when s(p - 2) = 0, with s(0) = 4, s -> s**2 - 2.
    value = 4
    for _ in range(521 - 2):
        value = (value * value - 2) % shamir.PRIME
    assert value == 0


def test_a_share_has_66_bytes():
    assert len(shamir.to_bytes(shamir.PRIME - 1)) == 66 == (521 + 7) // 8


@pytest.mark.parametrize("points", [[1, 1], [0, 1]], ids=["one point twice", "the secret itself"])
def test_points_that_would_give_the_secret_or_nothing_away_are_our_own_mistake(points):
    with pytest.raises(AssertionError):
        shamir.split(1, [2], points)


def test_threshold_is_more_than_two_thirds_and_at_least_three():
    assert {k: threshold_of(k) for k in (3, 4, 5, 6, 7, 50)} == {
        3: 3,
        4: 3,
        5: 4,
        6: 5,
        7: 5,
        50: 34,
    }
    for members in range(3, 200):
        assert 3 * threshold_of(members) > 2 * members
        assert threshold_of(members) <= members
    with pytest.raises(TooFewMembers):
        threshold_of(2)
