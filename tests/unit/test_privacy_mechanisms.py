"""What is added to sums, and when nothing may be added at all."""

import numpy as np
import pytest

from fedmkt.core.errors import EpsilonInvalid, RangeExceeded
from fedmkt.core.stages import LocalUpdate, NoiselessUpdate
from fedmkt.privacy.mechanisms import (
    OsNoise,
    ReproducibleNoise,
    add_noise,
    noise_event,
    without_noise,
)

BOUND = 2.0**26 * 3
SOURCES = [OsNoise(), ReproducibleNoise(1)]


def sums(*, value: int = 0, bound: float = BOUND) -> LocalUpdate:
    return LocalUpdate(values=np.full(50, value, dtype=np.int64), l2_bound=bound)


def noised(update: LocalUpdate, source, *, multiplier=4.0, shares=1, trust="local"):
    return add_noise(update, noise_multiplier=multiplier, shares=shares, trust=trust, source=source)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_event_known_beforehand_is_the_noise_that_is_added(source):
    event = noise_event(l2_bound=BOUND, noise_multiplier=4.0, shares=3, dimensions=50)
    private = noised(sums(), source, shares=3, trust="distributed")
    assert (private.sigma, len(private.values)) == (event.sigma, event.dimensions)
    assert private.values.dtype == np.int64
    assert private.trust == "distributed"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_two_calls_never_give_equal_noise(source):
    first, second = noised(sums(), source).values, noised(sums(), source).values
    # 50 values of scale 2^30: an accidental equality of any pair has probability below 1e-7.
    assert not (first == second).any()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_exact_sums_stay_as_they_are_under_the_noise(source):
    update = sums(value=7)
    noised(update, source)
    assert (update.values == 7).all()


def test_reproducible_noise_is_the_same_after_a_restart_label_by_label():
    first = noised(sums(), ReproducibleNoise(5).stream("run/0/bank"))
    used = ReproducibleNoise(5)
    noised(sums(), used)  # a process that drew other noise before
    again = noised(sums(), used.stream("run/0/bank"))
    other = noised(sums(), ReproducibleNoise(5).stream("run/1/bank"))
    seed = noised(sums(), ReproducibleNoise(6).stream("run/0/bank"))
    assert (first.values == again.values).all()
    assert not (first.values == other.values).any()
    assert not (first.values == seed.values).any()


def test_labels_nest_without_meeting():
    nested = noised(sums(), ReproducibleNoise(5).stream("a").stream("b"))
    flat = noised(sums(), ReproducibleNoise(5).stream("a b"))
    assert not (nested.values == flat.values).any()


def test_no_seed_reaches_the_operating_systems_noise():
    draws = []
    for _ in range(2):
        np.random.seed(0)
        draws.append(noised(sums(), OsNoise().stream("run/0/bank")).values)
    assert not (draws[0] == draws[1]).any()


def test_the_two_sources_are_unrelated_types():
    assert not isinstance(ReproducibleNoise(1), OsNoise)
    assert not isinstance(OsNoise(), ReproducibleNoise)
    assert (OsNoise.name, ReproducibleNoise.name) == ("operating system", "reproducible")


@pytest.mark.parametrize(("trust", "shares"), [("none", 1), ("local", 2), ("distributed", 0)])
def test_noise_that_would_not_carry_the_guarantee_is_refused(trust, shares):
    with pytest.raises(EpsilonInvalid):
        noised(sums(), OsNoise(), shares=shares, trust=trust)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("nan"), float("inf")])
def test_a_multiplier_that_is_no_noise_is_refused(multiplier):
    with pytest.raises(EpsilonInvalid):
        noised(sums(), OsNoise(), multiplier=multiplier)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    with pytest.raises(EpsilonInvalid):
        noise_event(l2_bound=bound, noise_multiplier=1.0, shares=1, dimensions=1)


def test_shares_too_small_to_add_up_are_refused_before_anything_leaves():
    with pytest.raises(EpsilonInvalid):
        noise_event(l2_bound=1.0, noise_multiplier=4.0, shares=2, dimensions=1)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_noise_that_could_leave_62_bits_is_refused(source):
    # 50 values pass sqrt(2 ln(2 * 50 * 2^40)) = 8.04 sigma with probability 2^-40.
    allowed, refused = (sums(bound=2.0**62 / sigmas) for sigmas in (8.1, 8.0))
    assert noised(allowed, source, multiplier=1.0).sigma < 2**60
    with pytest.raises(RangeExceeded):
        noised(refused, source, multiplier=1.0)


@pytest.mark.parametrize("value", [2**62, -(2**62), -(2**63)])
def test_values_near_the_edge_of_62_bits_are_refused(value):
    with pytest.raises(RangeExceeded):
        noised(sums(value=value), OsNoise())


def test_a_run_without_noise_carries_a_type_that_says_so():
    bare = without_noise(sums(value=3))
    assert isinstance(bare, NoiselessUpdate)
    assert (bare.values == 3).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_out_of_range_is_refused_without_the_sum(sign: int):
    largest = 2**62 - 12345
    with pytest.raises(RangeExceeded) as raised:
        noised(sums(value=sign * largest), OsNoise())
    assert "2^62" in str(raised.value)
    assert str(largest) not in str(raised.value)
