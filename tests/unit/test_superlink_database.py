"""A SuperLink looks for expired tasks seldom, and with an untested Flower as Flower does."""

import pytest
from flwr.supercore.corestate.sql_corestate import SqlCoreState

from fedmkt.transport.superlink_database import (
    LOOK_S,
    at_most_every,
    spare_database,
)
from fedmkt.transport.tested import TESTED

LOOKS = "_cleanup_expired_task_tokens"


@pytest.fixture
def looked(monkeypatch):
    """The states that Flower's own look was made for."""
    states = []
    monkeypatch.setattr(SqlCoreState, LOOKS, states.append)
    return states


def test_a_look_is_made_once_a_second_and_none_that_is_due_is_left_out():
    now, made = 100.0, []
    seldom = at_most_every(1.0, made.append, lambda: now)
    for now in (100.0, 100.5, 100.99, 101.0, 101.5, 200.0):
        seldom(now)
    assert made == [100.0, 101.0, 200.0]


def test_a_look_that_failed_is_made_again_when_the_next_is_due():
    times, tries = iter((0.0, 0.0, 0.0, 1.0, 1.0)), []

    def fail(state):
        tries.append(state)
        raise RuntimeError("the database is locked")

    seldom = at_most_every(1.0, fail, lambda: next(times))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="locked"):
            seldom("state")
    assert tries == ["state"] * 2


def test_flowers_own_states_look_seldom(looked):
    assert spare_database(TESTED[0])
    state = object()
    for _ in range(3):
        getattr(SqlCoreState, LOOKS)(state)
    assert looked == [state]


def test_an_untested_flower_stays_as_it_is(looked):
    assert not spare_database("1.0.0")
    for _ in range(3):
        getattr(SqlCoreState, LOOKS)("state")
    assert looked == ["state"] * 3


def test_the_installed_flower_has_what_is_spared_and_patience_enough_for_it():
    from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, HEARTBEAT_PATIENCE

    assert callable(getattr(SqlCoreState, LOOKS))
    assert LOOK_S < HEARTBEAT_PATIENCE * HEARTBEAT_DEFAULT_INTERVAL / 10
