"""A node prices a training by its events, and refuses noise that could wrap a sum."""

import pytest
from end_to_end.network_trial import network_job, shape_of
from end_to_end.small_world import members_named

from fedmkt.core.errors import ClaimedEpsilonWrong, RangeExceeded
from fedmkt.horizontal.network_plan import network_releases
from fedmkt.node.training_data import checked_epsilon
from fedmkt.privacy.events import GaussianEvent, Release

MEMBERS = members_named(3)


def test_a_price_above_the_stated_epsilon_is_refused():
    job = network_job(MEMBERS, trust="local", epsilon=2.0)
    releases = network_releases(job, shape_of(job))
    assert checked_epsilon(job, releases) == pytest.approx(2.0, rel=2e-3)
    with pytest.raises(ClaimedEpsilonWrong):
        checked_epsilon(job, [*releases, *releases])


@pytest.mark.parametrize(("sigma", "fits"), [(2.0**50, True), (2.0**62, False)])
def test_noise_that_could_wrap_a_sum_is_refused(sigma, fits):
    job = network_job(MEMBERS, trust="local", epsilon=100.0)
    event = GaussianEvent(noise_multiplier=1e3, sigma=sigma, shares=1, dimensions=1)
    releases = [Release(0, "sums", event)]
    if fits:
        assert checked_epsilon(job, releases) < 0.1
        return
    with pytest.raises(RangeExceeded):
        checked_epsilon(job, releases)
