"""What the coordinator makes of updates it sees, and of means over rounds."""

import numpy as np
import pytest
from end_to_end.network_trial import network_job, shape_of
from end_to_end.small_world import members_named

from fedmkt.contract.job import NetworkJob
from fedmkt.core.errors import UpdatesTooFew
from fedmkt.horizontal.network_plan import UNIT
from fedmkt.horizontal.network_server import advanced, counted, initial_network, joined, result

MEMBERS = members_named(5)


def change(length: int, value: float, weight: float = 100.0) -> np.ndarray:
    return np.rint(np.append(np.full(length, value), 1.0) * weight / UNIT).astype(np.int64)


def seen_job(rule: str, **joining: object) -> NetworkJob:
    return network_job(MEMBERS, joining={"rule": rule, **joining})


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
def test_one_partner_that_sends_what_it_likes_moves_no_parameter_past_the_honest_ones(rule):
    job = seen_job(rule, **({} if rule == "median" else {"faulty": 1}))
    length = shape_of(job).length
    honest = [change(length, value) for value in (0.1, 0.2, 0.3, 0.4)]
    start = initial_network(job, shape_of(job))
    for hostile in (change(length, -50.0), change(length, 60.0, weight=1e6)):
        after, spoilt = joined(start, job, [hostile, *honest])
        moved = after.parameters - start.parameters
        assert ((moved > 0.1 - 1e-6) & (moved < 0.4 + 1e-6)).all()
        assert spoilt == ()


def test_an_update_that_is_no_change_is_left_out_and_its_place_is_named():
    job = seen_job("trimmed_mean", faulty=1)
    length = shape_of(job).length
    honest = [change(length, 0.2) for _ in range(4)]
    start = initial_network(job, shape_of(job))
    nothing = np.zeros(length + 1, dtype=np.int64)  # a weight of 0
    after, spoilt = joined(start, job, [honest[0], nothing, *honest[1:]])
    assert spoilt == (1,)
    np.testing.assert_allclose(after.parameters - start.parameters, 0.2, atol=1e-5)
    with pytest.raises(UpdatesTooFew):
        joined(start, job, [nothing, nothing, *honest[:3]])


def test_the_mean_over_rounds_weighs_them_by_its_decay():
    job = network_job(MEMBERS, server={"average": 0.5})
    length = shape_of(job).length
    state = counted(initial_network(job, shape_of(job)), np.array([2**26 * 500]))
    start = state.parameters
    state = advanced(state, job, change(length, 0.4), survivors=5)
    np.testing.assert_allclose(result(state, job).parameters - start, 0.4, atol=1e-5)
    state = advanced(state, job, change(length, 0.3), survivors=5)
    # Weights 1/4 and 1/2 of the two rounds, over 3/4.
    expected = (0.25 * 0.4 + 0.5 * 0.7) / 0.75
    np.testing.assert_allclose(result(state, job).parameters - start, expected, atol=1e-5)
