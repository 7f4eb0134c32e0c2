"""Finding the number behind a point: every edge of the search, by a small table."""

import numpy as np
import pytest

from fedmkt.core.errors import RangeExceeded
from fedmkt.security.inner_product import small_logs
from fedmkt.security.inner_product.points import add, multiply_base, random_scalars, scalar_of
from fedmkt.security.inner_product.small_logs import LARGEST_LIMIT, REACH, find_logs

SMALL = 4  # steps of 9: -4..4, then 5..13 and -13..-5, ...


def points_of(values):
    return multiply_base(np.concatenate([scalar_of(int(value)) for value in values]))


def logs(values, limit, reach=SMALL):
    limits = np.broadcast_to(np.int64(limit), len(values))
    return find_logs(points_of(values), limit=limits, reach=reach)


def test_every_number_within_the_limit_is_found():
    values = np.array([v for v in range(-60, 61) if v])  # 0 has no point
    found = logs(values, 60)
    assert found[0].tolist() == values.tolist()
    assert found[1].all()


@pytest.mark.parametrize("limit", [0, 3, 4, 5, 9, 13, 14, 31])
def test_the_limit_is_found_and_the_number_past_it_is_not(limit):
    values = np.array([limit + 1, -limit - 1, *([limit, -limit] if limit else [])])
    numbers, found = logs(values, limit)
    assert found.tolist() == [False, False, *[True] * (len(values) - 2)]
    assert numbers.tolist() == [0, 0, *values[2:]]


def test_each_point_has_its_own_limit():
    numbers, found = logs([40, 40, -40, -40], [39, 40, 40, 39])
    assert found.tolist() == [False, True, True, False]
    assert numbers.tolist() == [0, 40, -40, 0]


def test_the_real_table_finds_the_edges_of_its_steps():
    width = 2 * REACH + 1
    values = [1, REACH, REACH + 1, width, width + REACH, 5 * width, 9 * width + 3, 4096 * 50_000]
    values += [-value for value in values]
    numbers, found = logs(values, 2**28, reach=REACH)
    assert numbers.tolist() == values
    assert found.all()


def test_a_random_point_is_not_found():
    numbers, found = find_logs(
        multiply_base(random_scalars(20)), limit=np.full(20, 10_000), reach=SMALL
    )
    assert not found.any()
    assert not numbers.any()


def test_no_points_give_no_numbers():
    none = np.zeros(0, dtype=np.int64)
    numbers, found = find_logs(points_of([1])[:0], limit=none)
    assert numbers.shape == found.shape == (0,)


def test_a_hit_that_its_multiple_does_not_bear_out_is_not_returned(monkeypatch):
    # A table that says another number for every point, as a collision of eight bytes would.
    wrong = small_logs._table(SMALL)
    table = small_logs._Table(wrong.words, wrong.numbers % SMALL + 1, wrong.odd)
    monkeypatch.setattr(small_logs, "_table", lambda reach: table)
    numbers, found = logs([1, 2, 3, 4], 4)
    assert not found.any()
    assert not numbers.any()


def test_a_limit_that_would_search_for_hours_is_refused():
    with pytest.raises(RangeExceeded):
        logs([1], LARGEST_LIMIT + 1)


def test_the_search_ends_with_the_limit_and_not_later(monkeypatch):
    # Numbers up to 4 + 9 k need steps up to k on both sides: limit 40 needs 4, so 1 + 8 probes.
    probed = []

    def counted(points, table):
        probed.append(len(points))
        return small_logs_near(points, table)

    small_logs_near = small_logs._near
    monkeypatch.setattr(small_logs, "_near", counted)
    logs([10**6], 40)
    assert 9 <= sum(probed) <= 2 * 9


def test_numbers_far_out_in_a_large_batch_are_found_in_blocks_that_fit_in_memory(monkeypatch):
    monkeypatch.setattr(small_logs, "_MOST_PROBES", 8)
    values = [1000, -1000, 999, 3, -5, 600]
    assert logs(values, 1000)[0].tolist() == values


def test_a_point_and_its_opposite_give_opposite_numbers():
    numbers, _ = logs([7, -7], 20)
    assert numbers.tolist() == [7, -7]
    _, there = add(points_of([7]), points_of([-7]))
    assert not there.any()
