"""Colluding members learn the sum of the honest, and a single honest member's update."""

import numpy as np
import pytest

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import LocalUpdate, NoiselessUpdate, PrivateUpdate
from fedmkt.privacy.mechanisms import ReproducibleNoise, add_noise
from fedmkt.simulation.attacks.collusion import attack_collusion, remaining_noise

MEMBERS = tuple(f"m{place}" for place in range(5))
LENGTH = 4_000
BOUND = 2.0**24
MULTIPLIER = 2.0


def updates() -> dict[str, NoiselessUpdate]:
    draw = np.random.default_rng(1)
    return {name: NoiselessUpdate(draw.integers(-(2**30), 2**30, LENGTH)) for name in MEMBERS}


@pytest.mark.parametrize("colluding", [0, 1, 3])
def test_with_two_honest_members_nothing_but_their_sum_is_learnt(colluding):
    found = attack_collusion(updates(), colluding)
    # The correlation of 4,000 independent pairs has standard error .016; five of them.
    assert abs(found.value) < 0.08


def test_all_but_one_learn_the_last_ones_update():
    found = attack_collusion(updates(), len(MEMBERS) - 1)
    assert found.value == pytest.approx(1.0)
    (error,) = found.series_named("error of the best guess").y
    assert error == 0.0


def test_colluding_needs_an_honest_member():
    with pytest.raises(SettingInvalid):
        attack_collusion(updates(), len(MEMBERS))


def shared_noise(may_collude: int) -> tuple[dict[str, PrivateUpdate], dict[str, np.ndarray]]:
    honest = len(MEMBERS) - may_collude
    exact = {name: one.values for name, one in updates().items()}
    noised = {
        name: add_noise(
            LocalUpdate(values, BOUND),
            noise_multiplier=MULTIPLIER,
            shares=honest,
            trust="distributed",
            source=ReproducibleNoise(place),
        )
        for place, (name, values) in enumerate(exact.items())
    }
    return noised, exact


@pytest.mark.parametrize("colluding", range(5))
def test_noise_left_to_colluders_is_the_honest_members_share_of_it(colluding):
    may_collude = 2
    noised, exact = shared_noise(may_collude)
    found = remaining_noise(noised, exact, colluding, l2_bound=BOUND, stated=MULTIPLIER)
    honest = len(MEMBERS) - colluding
    expected = MULTIPLIER * (honest / (len(MEMBERS) - may_collude)) ** 0.5
    # A standard deviation of 4,000 values is off by 1.1%; five of them.
    assert found.value == pytest.approx(expected, rel=0.06)
    assert (found.high < MULTIPLIER) == (colluding > may_collude)
