"""One requester begins no more runs within a window than a node allows, whatever its clock does."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import RunsTooOften
from fedmkt.storage import tables
from fedmkt.storage.begun_runs import WINDOW, BegunRuns
from fedmkt.storage.node_store import NodeStore

START = datetime(2026, 1, 1, tzinfo=UTC)
ALLOWED = 3
SECOND = timedelta(seconds=1)


@dataclass
class Trial:
    """A store whose clock may be moved. waited: the time that truly passed."""

    store: NodeStore
    clock: ManualClock
    waited: timedelta = timedelta()
    asked: int = 0
    begun: list[tuple[str, timedelta]] = field(default_factory=list)

    def wait(self, step: timedelta) -> None:
        self.clock.advance(step)
        self.waited += step

    def ask(self, requester: str = "bank", run: str | None = None) -> RunsTooOften | None:
        self.asked += 1
        run = run or f"run-{self.asked}"
        with self.store.transaction() as tx:
            refusal = BegunRuns(self.clock).begin(tx, run, requester, allowed=ALLOWED)
        if refusal is None:
            self.begun.append((requester, self.waited))
        return refusal

    def most_in_a_window(self, requester: str) -> int:
        times = [at for who, at in self.begun if who == requester]
        return max((sum(at <= one < at + WINDOW for one in times) for at in times), default=0)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    clock = ManualClock(START)
    store = NodeStore.open(tmp_path / "node.db", clock)
    yield Trial(store, clock)
    store.close()


MOVES = st.tuples(
    st.integers(0, 2400).map(lambda seconds: seconds * SECOND),  # true time that passes
    st.integers(0, 9000).map(lambda seconds: seconds * SECOND) | st.just(timedelta()),  # set back
    st.sampled_from(["bank", "retailer"]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(MOVES, max_size=24))
def test_no_window_of_true_time_holds_more_than_allowed_though_the_clock_is_set_back(
    trial: Trial, moves: list[tuple[timedelta, timedelta, str]]
) -> None:
    with trial.store.transaction() as tx:
        tx.execute(sa.delete(tables.begun_runs))
    again = Trial(trial.store, trial.clock)
    for passed, back, requester in moves:
        again.wait(passed)
        again.clock.advance(-back)
        again.ask(requester)
    for requester in ("bank", "retailer"):
        assert again.most_in_a_window(requester) <= ALLOWED


def test_the_next_run_is_refused_and_let_in_when_the_window_has_passed(trial: Trial) -> None:
    for _ in range(ALLOWED):
        assert trial.ask() is None
        trial.wait(timedelta(minutes=1))
    refusal = trial.ask()
    assert refusal is not None
    assert refusal.fields == {"requester": "bank", "allowed": ALLOWED, "minutes": 57}
    trial.wait(timedelta(minutes=57) - SECOND)
    assert trial.ask() is not None
    trial.wait(SECOND)
    assert trial.ask() is None
    assert trial.ask() is not None, "the second of the first three still counts"


def test_each_requester_has_a_count_of_its_own(trial: Trial) -> None:
    while trial.ask("bank") is None:
        pass
    assert [trial.ask("retailer") is None for _ in range(ALLOWED + 1)] == [True] * ALLOWED + [False]


def test_a_run_that_goes_on_counts_once(trial: Trial) -> None:
    for _ in range(ALLOWED + 2):
        assert trial.ask(run="the same") is None
    assert [trial.ask() is None for _ in range(ALLOWED)] == [True] * (ALLOWED - 1) + [False]


def test_what_was_counted_outlasts_the_process(tmp_path: Path) -> None:
    clock = ManualClock(START)
    for number in range(ALLOWED + 1):
        store = NodeStore.open(tmp_path / "node.db", clock)
        refused = Trial(store, clock).ask(run=f"run-{number}")
        store.close()
    assert refused is not None


class UndoneError(Exception):
    """Ends a transaction."""


def undone(trial: Trial, run: str) -> None:
    """Count a run in a transaction that fails."""
    with trial.store.transaction() as tx:
        BegunRuns(trial.clock).begin(tx, run, "bank", allowed=ALLOWED)
        raise UndoneError


def test_a_run_that_did_not_begin_after_all_is_not_counted(trial: Trial) -> None:
    for number in range(ALLOWED + 1):
        with pytest.raises(UndoneError):
            undone(trial, f"undone-{number}")
    assert trial.ask() is None


def test_a_clock_that_jumped_ahead_and_back_locks_a_requester_out_for_one_window_at_most(
    trial: Trial,
) -> None:
    trial.clock.advance(timedelta(days=365))
    while trial.ask() is None:
        pass
    trial.clock.advance(-timedelta(days=365))
    for _ in range(59):  # asking meanwhile must not make it longer
        assert trial.ask() is not None
        trial.wait(timedelta(minutes=1))
    assert trial.ask() is not None
    trial.wait(timedelta(minutes=1))
    assert trial.ask() is None
