"""Faulty updates move a robust sum by no more than its docstring says, whatever they hold."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmkt.core.errors import SettingInvalid, UpdatesTooFew
from fedmkt.horizontal.robust import (
    LARGEST,
    Combined,
    bounded_mean,
    krum,
    median,
    multi_krum,
    square_distances,
    trimmed_mean,
)

# How many faulty updates of n each rule bears, and the rule told so.
Rule = Callable[[np.ndarray, int], Combined]
BEARS: dict[str, tuple[Callable[[int], int], Rule]] = {
    "median": (lambda n: (n - 1) // 2, lambda rows, _: median(rows)),
    "trimmed mean": (lambda n: (n - 1) // 2, lambda rows, f: trimmed_mean(rows, faulty=f)),
    "krum": (lambda n: (n - 3) // 2, lambda rows, f: krum(rows, faulty=f)),
    "multi-krum": (
        lambda n: (n - 3) // 2,
        lambda rows, f: multi_krum(rows, faulty=f, keep=max(1, len(rows) - f)),
    ),
    "bounded mean": (lambda n: n - 1, lambda rows, _: bounded_mean(rows, l2_bound=1.5)),
}
every_rule = pytest.mark.parametrize("name", BEARS)
WILD = [0.0, 1e-30, 1e6, -1e6, LARGEST, -LARGEST, 1e300, np.inf, -np.inf, np.nan]


@st.composite
def rounds(draw, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw honest updates, faulty ones as many as the rule bears, and their number."""
    partners = draw(st.integers(3, 11))
    faulty = draw(st.integers(0, BEARS[name][0](partners)))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    honest = seed.normal(size=(partners - faulty, 3)) * draw(st.sampled_from([0.0, 1.0, 1e4]))
    wild = st.sampled_from(WILD) | st.floats(-5, 5)
    values = draw(st.lists(wild, min_size=3 * faulty, max_size=3 * faulty))
    hostile = np.reshape(values, (faulty, 3))
    if draw(st.booleans()) and faulty:  # all faulty partners say the same
        hostile[:] = hostile[0]
    return honest, hostile, faulty


def near_honest(update: np.ndarray, honest: np.ndarray, hostile: np.ndarray) -> bool:
    """Say whether an update lies within Krum's bound of an honest one."""
    left_out = int((~(np.abs(hostile) <= LARGEST).all(axis=1)).sum())
    n, f = len(honest) + len(hostile) - left_out, len(hostile) - left_out
    widest = np.sqrt(square_distances(honest).max())
    bound = widest * np.sqrt((n - f - 2) / (n - 2 * f - 1))
    return np.linalg.norm(honest - update, axis=1).min() <= bound * (1 + 1e-9)


@pytest.mark.parametrize("name", ["median", "trimmed mean"])
@given(data=st.data())
def test_each_parameter_stays_among_those_of_honest_partners(name, data):
    honest, hostile, faulty = data.draw(rounds(name))
    update = BEARS[name][1](np.concatenate([honest, hostile]), faulty).update
    assert (honest.min(axis=0) <= update).all()
    assert (update <= honest.max(axis=0)).all()


@given(data=st.data())
def test_krum_takes_an_update_near_an_honest_one(data):
    honest, hostile, faulty = data.draw(rounds("krum"))
    assert near_honest(
        krum(np.concatenate([honest, hostile]), faulty=faulty).update, honest, hostile
    )


@given(data=st.data())
def test_every_update_that_multi_krum_takes_is_near_an_honest_one(data):
    honest, hostile, faulty = data.draw(rounds("multi-krum"))
    rows = np.concatenate([honest, hostile])
    combined = multi_krum(rows, faulty=faulty, keep=len(honest))
    assert len(combined.taken) == len(honest)
    for place in combined.taken:
        assert near_honest(rows[place], honest, hostile)


@given(data=st.data())
def test_faulty_updates_move_a_bounded_mean_by_twice_their_share_of_the_bound(data):
    honest, hostile, faulty = data.draw(rounds("bounded mean"))
    silent = np.concatenate([honest, np.zeros_like(hostile)])
    # From what they sent to silence is one bound each, from there to anything else another.
    moved = bounded_mean(np.concatenate([honest, hostile]), l2_bound=1.5).update
    still = bounded_mean(silent, l2_bound=1.5).update
    assert np.linalg.norm(moved - still) <= faulty * 1.5 / len(silent) * (1 + 1e-9)


@every_rule
@given(data=st.data())
def test_the_order_of_partners_changes_no_bit(name, data):
    honest, hostile, faulty = data.draw(rounds(name))
    rows = np.concatenate([honest, hostile])
    turned = np.array(data.draw(st.permutations(range(len(rows)))))
    first, second = (BEARS[name][1](one, faulty) for one in (rows, rows[turned]))
    assert np.array_equal(first.update, second.update)
    assert {int(turned[place]) for place in second.left_out} == set(first.left_out)


@every_rule
@given(value=st.floats(-0.5, 0.5), partners=st.integers(3, 9))
def test_equal_updates_give_that_update(name, value, partners):
    rows = np.full((partners, 3), value)
    combined = BEARS[name][1](rows, BEARS[name][0](partners))
    np.testing.assert_allclose(combined.update, rows[0], rtol=1e-15)


@every_rule
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * LARGEST])
def test_an_update_that_is_no_float32_is_left_out_and_its_place_named(name, value):
    rows = np.random.default_rng(1).normal(size=(7, 3))
    rows[4, 1] = value
    combined = BEARS[name][1](rows, 1)
    assert combined.left_out == (4,)
    assert 4 not in combined.taken
    assert np.isfinite(combined.update).all()


@pytest.mark.parametrize(
    ("name", "faulty", "most_refused"),
    [("trimmed mean", 2, 4), ("krum", 2, 6), ("multi-krum", 2, 6), ("median", 0, 0)],
)
def test_one_partner_fewer_than_the_breakdown_allows_is_refused(name, faulty, most_refused):
    draw = np.random.default_rng(2)
    BEARS[name][1](draw.normal(size=(most_refused + 1, 3)), faulty)
    with pytest.raises(UpdatesTooFew) as refused:
        BEARS[name][1](draw.normal(size=(most_refused, 3)), faulty)
    assert refused.value.fields["needed"] == most_refused + 1


@pytest.mark.parametrize("name", ["median", "trimmed mean", "krum", "multi-krum"])
def test_more_unusable_updates_than_may_be_faulty_are_refused(name):
    faulty = BEARS[name][0](7)
    rows = np.random.default_rng(3).normal(size=(7, 3))
    rows[: faulty + 1] = np.nan
    with pytest.raises(UpdatesTooFew):
        BEARS[name][1](rows, faulty)


def test_multi_krum_refuses_to_keep_as_many_as_may_be_faulty():
    rows = np.random.default_rng(4).normal(size=(7, 3))
    for keep in (0, 6):
        with pytest.raises(SettingInvalid):
            multi_krum(rows, faulty=2, keep=keep)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.inf, np.nan])
def test_a_norm_bound_that_bounds_nothing_is_refused(bound):
    with pytest.raises(SettingInvalid):
        bounded_mean(np.zeros((3, 2)), l2_bound=bound)


def test_fewer_than_no_faulty_partners_are_refused():
    with pytest.raises(SettingInvalid):
        trimmed_mean(np.zeros((3, 2)), faulty=-1)


def test_close_neighbours_far_from_zero_are_told_apart():
    """Where |a|^2 + |b|^2 - 2ab has lost them: 1e-3 beside 1e8, squares beyond double precision."""
    rows = 1e8 + np.array([[0.0], [0.001], [0.003]])
    assert np.allclose(square_distances(rows)[0], [0, 1e-6, 9e-6], rtol=1e-3)
