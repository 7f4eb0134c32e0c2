"""A clock that is off is found, and never called worse than it is."""

from datetime import UTC, datetime, timedelta

import pytest

from fedmkt.core.errors import ClockSkewed
from fedmkt.deployment.clock_skew import (
    MOST_AHEAD,
    MOST_BEHIND,
    in_words,
    is_refused,
    least_skew,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seen(true_s: float, *, way_s: float, told_late_s: float) -> float:
    """Return what is found of a clock `true_s` ahead, when the way there takes a second half."""
    asked = NOON + timedelta(seconds=true_s)
    told = (NOON + timedelta(seconds=way_s - told_late_s)).replace(microsecond=0)
    return least_skew(asked, told, asked + timedelta(seconds=2 * way_s)).total_seconds()


@pytest.mark.parametrize("true_s", [-10_800.0, -400.0, -4.0, 0.0, 4.0, 60.0, 10_800.0])
@pytest.mark.parametrize("way_s", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("told_late_s", [0.0, 0.9])
def test_what_is_found_is_never_more_than_the_true_difference_and_seldom_much_less(
    true_s: float, way_s: float, told_late_s: float
) -> None:
    found = seen(true_s, way_s=way_s, told_late_s=told_late_s)
    assert abs(found) <= abs(true_s)
    assert found * true_s >= 0
    # The header's two seconds, and the way in both directions.
    assert abs(found - true_s) <= 2 + 2 * way_s


def test_it_is_refused_where_flower_refuses_it() -> None:
    from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

    assert MOST_AHEAD.total_seconds() == SYSTEM_TIME_TOLERANCE
    assert MOST_BEHIND.total_seconds() == TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    second = timedelta(seconds=1)
    assert not is_refused(MOST_AHEAD - second)
    assert is_refused(MOST_AHEAD)
    assert not is_refused(second - MOST_BEHIND)
    assert is_refused(-MOST_BEHIND)


def test_the_error_says_which_way_the_clock_is_off() -> None:
    ahead = ClockSkewed(difference=in_words(timedelta(hours=3)))
    assert "10800 s ahead of the coordinator's" in str(ahead)
    assert in_words(timedelta(seconds=-400)) == "400 s behind"
