"""Server steps follow the printed formulas, change no state in place and stop on divergence."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from fedmkt.contract.network_settings import ServerSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.horizontal.server_steps import advance, initial

RULES = ("fedavg", "fedavgm", "fedadam", "fedyogi")
MEAN_UPDATES = [[0.5, -1.0], [-0.25, 3.0], [0.0, 1e-4], [2.0, 0.125]]
FIRST = np.array([1.0, -2.0], dtype=np.float32)


def written_out(settings: ServerSettings, place: int) -> float:
    """Return one parameter after all updates, by the formulas with plain numbers."""
    x, m, v = float(FIRST[place]), 0.0, settings.tau**2
    for update in MEAN_UPDATES:
        d = update[place]
        if settings.rule == "fedavg":
            x += settings.rate * d
            continue
        if settings.rule == "fedavgm":
            m = settings.momentum * m + d
            x += settings.rate * m
            continue
        m = settings.beta_1 * m + (1 - settings.beta_1) * d
        if settings.rule == "fedadam":
            v = settings.beta_2 * v + (1 - settings.beta_2) * d * d
        else:
            sign = (v > d * d) - (v < d * d)
            v = v - (1 - settings.beta_2) * d * d * sign
        x += settings.rate * m / (math.sqrt(v) + settings.tau)
    return x


@pytest.mark.parametrize("rule", RULES)
def test_parameters_follow_the_printed_formula(rule):
    settings = ServerSettings(rule=rule, rate=0.3, momentum=0.7, beta_1=0.8, beta_2=0.9, tau=0.05)
    state = initial(settings, FIRST)
    for update in MEAN_UPDATES:
        state = advance(state, np.array(update))
    expected = [written_out(settings, place) for place in range(2)]
    np.testing.assert_allclose(state.exact, expected, rtol=1e-14)
    assert state.rounds == len(MEAN_UPDATES)


def test_fedavg_with_rate_one_takes_the_mean_update_as_it_is():
    state = advance(initial(ServerSettings(), FIRST), np.array([0.5, 0.25]))
    assert state.parameters.tolist() == [1.5, -1.75]
    assert state.parameters.dtype == np.float32


@pytest.mark.parametrize("rule", RULES)
def test_a_state_is_never_changed_in_place(rule):
    state = initial(ServerSettings(rule=rule), FIRST)
    before = [one.copy() for one in (state.exact, state.momentum, state.spread)]
    once = advance(state, np.array([1.0, 2.0]))
    again = advance(state, np.array([1.0, 2.0]))
    assert np.array_equal(once.exact, again.exact)
    after = (state.exact, state.momentum, state.spread)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert state.exact is not FIRST


def test_steps_too_small_for_one_float32_add_up():
    state = initial(ServerSettings(), np.ones(1, dtype=np.float32))
    step = np.finfo(np.float32).eps / 8
    for _ in range(16):
        state = advance(state, np.array([step]))
    assert state.parameters[0] == np.float32(1 + 2 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_training_that_leaves_the_finite_numbers_stops_and_names_the_round(rule, value):
    settings = ServerSettings(rule=rule, rate=1e3)
    state = advance(initial(settings, FIRST), np.zeros(2))
    with pytest.raises(TrainingDiverged) as stopped:
        advance(state, np.array([0.0, value]))
    assert stopped.value.fields["round"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "fedadagrad"},
        {"rate": 0.0},
        {"rate": math.nan},
        {"momentum": 1.0},
        {"beta_1": -0.1},
        {"beta_2": 1.0},
        {"tau": 0.0},
        {"tau": math.inf},
    ],
)
def test_settings_that_are_no_step_are_refused(wrong):
    with pytest.raises(ValidationError):
        ServerSettings(**wrong)
