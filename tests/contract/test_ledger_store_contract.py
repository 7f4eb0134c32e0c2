"""What every node store must do, whichever database is under it.

PostgreSQL takes part when FEDMKT_TEST_POSTGRESQL holds a URL; `.ci/postgresql` makes one.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import (
    AuditCut,
    BudgetExceeded,
    CapConflict,
    DatasetUnknown,
    ExactScoresExceeded,
    ExactScoresNotAllowed,
    RequestConflict,
    ReservationClosed,
    ReservationUnknown,
    UnprotectedNotAllowed,
    UsesExceeded,
)
from fedmkt.identity.hash_chain import Head
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    Window,
)
from fedmkt.privacy.events import Event, ExactEvent, GaussianEvent, NonPrivateEvent, Release
from fedmkt.privacy.filter import FilterTerms, cost_nano
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage.begun_runs import BegunRuns
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

URL = os.environ.get("FEDMKT_TEST_POSTGRESQL")
ORDER = 10
EVENT = GaussianEvent(noise_multiplier=5.0, sigma=100.0, shares=1, dimensions=3)
COST = cost_nano(EVENT, ORDER)
LIFETIME = Window("lifetime", None)
PERIOD = Window("period", 30)
ROOT = Scope("people")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    if request.param == "sqlite":
        yield tmp_path / "node.db"
        return
    if not URL:
        pytest.skip("FEDMKT_TEST_POSTGRESQL is not set: no PostgreSQL to test against")
    schema = f"t{uuid.uuid4().hex}"
    admin = sa.create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
    with admin.begin() as tx:
        tx.execute(sa.text(f"CREATE SCHEMA {schema}"))
    yield f"{URL}?options=-csearch_path%3D{schema}"
    with admin.begin() as tx:
        tx.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def store(location: str | Path, clock: ManualClock) -> Iterator[NodeStore]:
    opened = NodeStore.open(location, clock)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: NodeStore) -> LedgerStore:
    return LedgerStore(store)


def epsilon(budget: int, *, order: int = ORDER, cap: float = 1.0) -> EpsilonLimit:
    return EpsilonLimit(cap, 1e-5, FilterTerms(order, budget))


def plan(*accounts: Account, dataset: str = "cards", population: str = "people") -> DatasetAccounts:
    return DatasetAccounts(dataset, population, accounts)


def room_for(releases: int, *, window: Window = LIFETIME) -> DatasetAccounts:
    return plan(Account(Scope("people"), window, epsilon(releases * COST)))


def asked(run: str, releases: int = 1, **changed: str) -> Reservation:
    planned = tuple(Release(index, f"sum {index}", EVENT) for index in range(releases))
    names = {"job": "spring", "dataset": "cards", "purpose": "lookalike", "requester": "bank"}
    return Reservation(run=run, releases=planned, **(names | changed))


def states(ledger: LedgerStore, tx: sa.Connection, run: str) -> list[str]:
    return [entry.state for entry in ledger.entries(tx, run)]


Reserve = Callable[..., None]


@pytest.fixture
def reserve(store: NodeStore, ledger: LedgerStore) -> Reserve:
    def once(reservation: Reservation) -> None:
        with store.transaction() as tx:
            ledger.reserve(tx, reservation)

    return once


@pytest.fixture
def open_accounts(store: NodeStore, ledger: LedgerStore) -> Callable[[DatasetAccounts], None]:
    def once(planned: DatasetAccounts) -> None:
        with store.transaction() as tx:
            ledger.open_accounts(tx, planned)

    return once


Open = Callable[[DatasetAccounts], None]


def test_a_cap_is_reached_to_the_nano_and_not_passed(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(room_for(3))
    reserve(asked("first", 2))
    with pytest.raises(BudgetExceeded):
        reserve(asked("too much", 2))
    reserve(asked("last", 1))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    assert (balance.lifetime_used_nano, balance.lifetime_left) == (3 * COST, 0.0)


def test_a_commit_is_durable_and_its_replay_changes_nothing(
    open_accounts: Open, reserve: Reserve, store: NodeStore, location: str, clock: ManualClock
) -> None:
    open_accounts(room_for(3))
    reserve(asked("run", 2))
    with store.transaction() as tx:
        LedgerStore(store).commit(tx, "run", 0)
        spent = LedgerStore(store).entries(tx)
    store.close()
    clock.advance(timedelta(days=1))
    again = NodeStore.open(location, clock)
    with again.transaction() as tx:
        LedgerStore(again).commit(tx, "run", 0)
        assert LedgerStore(again).entries(tx) == spent
        assert states(LedgerStore(again), tx, "run") == ["spent", "planned"]
    again.close()


def test_give_back_returns_only_what_was_never_committed(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(room_for(3))
    reserve(asked("run", 3))
    with store.transaction() as tx:
        ledger.commit(tx, "run", 1)
        assert ledger.give_back(tx, "run") == 2
        assert ledger.give_back(tx, "run") == 0
        assert states(ledger, tx, "run") == ["returned", "spent", "returned"]
    reserve(asked("next", 2))
    with pytest.raises(BudgetExceeded):
        reserve(asked("one more"))


def test_commit_after_give_back_is_refused(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(room_for(3))
    reserve(asked("run"))
    with store.transaction() as tx:
        ledger.give_back(tx, "run")
    with pytest.raises(ReservationClosed), store.transaction() as tx:
        ledger.commit(tx, "run", 0)
    with pytest.raises(ReservationClosed):
        reserve(asked("run"))


@pytest.mark.parametrize(("run", "release"), [("another", 0), ("run", 1)])
def test_commit_without_reservation_is_refused(
    run: str,
    release: int,
    open_accounts: Open,
    reserve: Reserve,
    store: NodeStore,
    ledger: LedgerStore,
) -> None:
    open_accounts(room_for(3))
    reserve(asked("run"))
    with pytest.raises(ReservationUnknown), store.transaction() as tx:
        ledger.commit(tx, run, release)


def test_the_same_reservation_again_is_charged_once(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(room_for(2))
    reserve(asked("run", 2))
    reserve(asked("run", 2))
    with store.transaction() as tx:
        assert len(ledger.entries(tx)) == 2


@pytest.mark.parametrize(
    "other",
    [
        asked("run", 3),
        asked("run", 2, job="autumn"),
        asked("run", 2, purpose="value"),
        asked("run", 2, requester="retailer"),
    ],
)
def test_another_reservation_under_a_runs_name_is_refused(
    other: Reservation, open_accounts: Open, reserve: Reserve
) -> None:
    open_accounts(room_for(9))
    reserve(asked("run", 2))
    with pytest.raises(RequestConflict):
        reserve(other)


def test_a_dataset_without_accounts_is_refused(reserve: Reserve) -> None:
    with pytest.raises(DatasetUnknown):
        reserve(asked("run"))


def test_a_release_without_noise_is_refused_by_any_epsilon_account(
    open_accounts: Open, reserve: Reserve
) -> None:
    exact = (Release(0, "exact sum", NonPrivateEvent(dimensions=3)),)
    naked = Reservation("run", "spring", "cards", "lookalike", "bank", exact)
    open_accounts(room_for(1000))
    with pytest.raises(UnprotectedNotAllowed):
        reserve(naked)


def test_a_dataset_without_epsilon_cap_may_be_used_without_noise(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    exact = (Release(0, "exact sum", NonPrivateEvent(dimensions=3)),)
    open_accounts(plan(dataset="demo", population="nobody"))
    reserve(Reservation("run", "spring", "demo", "lookalike", "bank", exact))
    with store.transaction() as tx:
        assert states(ledger, tx, "run") == ["planned"]
        (balance,) = ledger.balances(tx)
    assert (balance.dataset, balance.lifetime_cap) == ("demo", None)


def test_a_new_epsilon_cap_over_people_released_without_noise_is_refused(
    open_accounts: Open, reserve: Reserve
) -> None:
    exact = (Release(0, "exact sum", NonPrivateEvent(dimensions=3)),)
    open_accounts(plan())
    reserve(Reservation("run", "spring", "cards", "lookalike", "bank", exact))
    with pytest.raises(CapConflict):
        open_accounts(room_for(1000))


# --- windows and clocks ---------------------------------------------------------------------------


def test_period_budget_comes_back_after_the_period_and_lifetime_budget_never(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore, clock: ManualClock
) -> None:
    root = Scope("people")
    lifetime = Account(root, LIFETIME, epsilon(3 * COST))
    open_accounts(plan(lifetime, Account(root, PERIOD, epsilon(2 * COST))))
    reserve(asked("first", 2))
    with store.transaction() as tx:
        ledger.commit(tx, "first", 0)
        ledger.commit(tx, "first", 1)
    clock.advance(timedelta(days=30))
    with pytest.raises(BudgetExceeded, match="30 days"):
        reserve(asked("within"))
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(BudgetExceeded, match="lifetime"):
        reserve(asked("more than life allows", 2))
    reserve(asked("after"))


def test_a_reservation_counts_in_the_period_however_old_it_is(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore, clock: ManualClock
) -> None:
    # Otherwise old plans and new ones, all sent on one day, would pass the period's cap.
    open_accounts(room_for(2, window=PERIOD))
    reserve(asked("old", 2))
    clock.advance(timedelta(days=365))
    with pytest.raises(BudgetExceeded):
        reserve(asked("new"))
    with store.transaction() as tx:
        ledger.commit(tx, "old", 0)
        ledger.give_back(tx, "old")
    clock.advance(timedelta(days=29))
    reserve(asked("one fits"))
    with pytest.raises(BudgetExceeded):
        reserve(asked("two do not"))


def test_a_clock_set_back_frees_no_period_budget(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore, clock: ManualClock
) -> None:
    open_accounts(room_for(2, window=PERIOD))
    clock.advance(timedelta(days=100))
    reserve(asked("first"))
    with store.transaction() as tx:
        ledger.commit(tx, "first", 0)
    clock.advance(timedelta(days=-90))
    reserve(asked("backdated"))
    with store.transaction() as tx:
        ledger.commit(tx, "backdated", 0)
        at = [entry.at for entry in ledger.entries(tx)]
    assert at == [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=100)] * 2
    clock.advance(timedelta(days=90 + 29))
    with pytest.raises(BudgetExceeded):
        reserve(asked("both still count"))


@pytest.mark.parametrize(
    ("window", "days"),
    [(Window("uses_day", 1), 1), (Window("uses_week", 7), 7), (Window("uses_month", 30), 30)],
)
def test_uses_are_counted_by_run_over_rolling_days(
    window: Window, days: int, open_accounts: Open, reserve: Reserve, clock: ManualClock
) -> None:
    open_accounts(plan(Account(Scope("people"), window, UsesLimit(2))))
    reserve(asked("first", 5))
    reserve(asked("second"))
    clock.advance(timedelta(days=days))
    with pytest.raises(UsesExceeded) as refusal:
        reserve(asked("third"))
    assert (refusal.value.fields["used"], refusal.value.fields["allowed"]) == (2, 2)
    assert refusal.value.fields["spent_by"] == "first, second"
    clock.advance(timedelta(microseconds=1))
    reserve(asked("third"))


def test_a_use_for_life_is_not_freed_by_giving_back(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan(Account(Scope("people"), Window("uses_lifetime", None), UsesLimit(1))))
    reserve(asked("first"))
    with store.transaction() as tx:
        ledger.give_back(tx, "first")
    with pytest.raises(UsesExceeded):
        reserve(asked("second"))


# --- what is shown exactly ------------------------------------------------------------------------

SCORES, ALIGNMENT, SIZES = ExactEvent("scores"), ExactEvent("alignment"), ExactEvent("sizes")
EXACT_SCORES, ALIGNMENTS = Window("exact_scores", None), Window("alignments", None)


def test_a_requesters_runs_are_counted_by_the_hour_and_a_jump_of_the_clock_is_mended(
    store: NodeStore, clock: ManualClock
) -> None:
    def begun(run: str, requester: str = "bank") -> bool:
        with store.transaction() as tx:
            return BegunRuns(clock).begin(tx, run, requester, allowed=2) is None

    clock.advance(timedelta(days=30))
    assert [begun("a"), begun("a"), begun("b"), begun("c")] == [True, True, True, False]
    assert begun("d", "retailer")
    clock.advance(-timedelta(days=30))
    assert not begun("e")
    clock.advance(timedelta(hours=1))
    assert [begun("e"), begun("f"), begun("g")] == [True, True, False]


def showing(run: str, *events: Event, **changed: str) -> Reservation:
    planned = tuple(Release(index, f"part {index}", event) for index, event in enumerate(events))
    names = {"job": "spring", "dataset": "cards", "purpose": "lookalike", "requester": "bank"}
    return Reservation(run=run, releases=planned, **(names | changed))


def counting(allowed: int, *, window: Window = EXACT_SCORES, scope: Scope = ROOT) -> Account:
    return Account(scope, window, ExactLimit(allowed))


def test_exact_scores_are_counted_release_by_release_and_alignments_beside_them(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan(counting(4), counting(1, window=ALIGNMENTS)))
    reserve(showing("first", SCORES, ExactEvent("scores", 2), ALIGNMENT, SIZES))
    with pytest.raises(ExactScoresExceeded, match="first 3"):
        reserve(showing("too much", SCORES, SCORES))
    with pytest.raises(ExactScoresExceeded, match="alignments for life"):
        reserve(showing("again", ALIGNMENT))
    reserve(showing("last", SCORES, SIZES))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    found = {one.window: (one.allowed, one.used) for one in balance.uses}
    assert found == {"exact_scores": (4, 4), "alignments": (1, 1)}


def test_an_exact_count_that_was_not_sent_is_given_back_and_what_was_sent_counts_for_life(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore, clock: ManualClock
) -> None:
    open_accounts(plan(counting(3)))
    reserve(showing("first", SCORES, SCORES, SCORES))
    with store.transaction() as tx:
        ledger.commit(tx, "first", 0)
    with pytest.raises(ExactScoresExceeded):
        reserve(showing("while reserved", SCORES))
    with store.transaction() as tx:
        ledger.give_back(tx, "first")
    clock.advance(timedelta(days=100_000))
    with pytest.raises(ExactScoresExceeded):
        reserve(showing("too much", *[SCORES] * 3))
    reserve(showing("rest", SCORES, SCORES))


def test_without_a_count_nothing_exact_leaves_and_nothing_is_written(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    narrow = Scope("people", "cards", "value")
    open_accounts(plan(Account(ROOT, LIFETIME, epsilon(9 * COST)), counting(9, scope=narrow)))
    with pytest.raises(ExactScoresNotAllowed):
        reserve(showing("run", EVENT, SCORES))
    with store.transaction() as tx:
        assert ledger.entries(tx) == ()
    reserve(showing("counted", EVENT, SCORES, purpose="Value"))


def test_exact_releases_cost_no_epsilon_and_make_no_run_unprotected(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan(Account(ROOT, LIFETIME, epsilon(COST)), counting(9)))
    reserve(showing("run", SCORES, EVENT, SIZES))
    reserve(showing("after the budget", SCORES))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    assert (balance.lifetime_used_nano, balance.uses[0].used) == (COST, 2)


def test_a_new_count_is_charged_with_what_its_scope_already_showed(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    wide = counting(99)
    open_accounts(plan(wide))
    reserve(showing("first", SCORES, SCORES, ExactEvent("scores", 5)))
    reserve(showing("elsewhere", SCORES, purpose="value"))
    with store.transaction() as tx:
        ledger.commit(tx, "first", 2)
        ledger.give_back(tx, "first")
    reserve(showing("planned", SCORES))
    narrow = counting(6, scope=Scope("people", "cards", "lookalike"))
    open_accounts(plan(wide, narrow))
    with store.transaction() as tx:
        used = [one.used for balance in ledger.balances(tx) for one in balance.uses]
    # All purposes: 5 + 1 + 1; lookalike alone: 5 sent and 1 planned.
    assert used == [7, 6]
    with pytest.raises(ExactScoresExceeded, match="purpose lookalike"):
        reserve(showing("one more", SCORES))


def test_a_new_epsilon_cap_over_people_shown_exactly_is_opened_at_its_whole_budget(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan(counting(9), counting(9, window=ALIGNMENTS)))
    reserve(showing("run", SCORES, ALIGNMENT, SIZES))
    open_accounts(room_for(2))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    assert (balance.lifetime_used_nano, balance.lifetime_budget_nano) == (0, 2 * COST)


def test_a_new_count_over_people_released_without_noise_counts_exact_releases_alone(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan())
    reserve(showing("run", NonPrivateEvent(3), EVENT))
    open_accounts(plan(counting(2)))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    assert balance.uses[0].used == 0


# --- scopes ---------------------------------------------------------------------------------------


def test_datasets_about_one_population_share_the_root(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    root = Account(Scope("people"), LIFETIME, epsilon(2 * COST))
    open_accounts(plan(root, dataset="cards"))
    open_accounts(plan(root, dataset="visits"))
    reserve(asked("first", dataset="cards"))
    reserve(asked("second", dataset="visits"))
    with pytest.raises(BudgetExceeded):
        reserve(asked("third", dataset="visits"))
    with store.transaction() as tx:
        balances = ledger.balances(tx)
    assert [(one.dataset, one.lifetime_used_nano) for one in balances] == [
        ("cards", 2 * COST),
        ("visits", 2 * COST),
    ]


def test_datasets_about_one_population_share_its_exact_count(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(plan(counting(3), dataset="cards"))
    open_accounts(plan(counting(3), dataset="visits"))
    reserve(showing("first", SCORES, SCORES, dataset="cards"))
    with pytest.raises(ExactScoresExceeded):
        reserve(showing("second", SCORES, SCORES, dataset="visits"))
    reserve(showing("second", SCORES, dataset="visits"))
    with store.transaction() as tx:
        used = [(one.dataset, one.uses[0].used) for one in ledger.balances(tx)]
    assert used == [("cards", 3), ("visits", 3)]


def test_caps_nest_and_the_narrower_one_refuses_alone(
    open_accounts: Open, reserve: Reserve
) -> None:
    root = Account(Scope("people"), LIFETIME, epsilon(9 * COST))
    narrow = Account(Scope("people", "cards", "lookalike"), LIFETIME, epsilon(COST))
    narrower = Account(Scope("people", "cards", "value", "bank"), LIFETIME, epsilon(COST))
    open_accounts(plan(root, narrow, narrower))
    reserve(asked("first"))
    with pytest.raises(BudgetExceeded, match="purpose lookalike"):
        reserve(asked("second"))
    reserve(asked("third", 3, purpose="value", requester="retailer"))
    with pytest.raises(BudgetExceeded, match="requester bank"):
        reserve(asked("fourth", 2, purpose="value"))


@pytest.mark.parametrize(
    "spelling", ["LOOKALIKE", "Lookalike", "ｌｏｏｋａｌｉｋｅ", " lookalike "]
)
def test_another_spelling_of_a_purpose_is_charged_to_the_same_account(
    spelling: str, open_accounts: Open, reserve: Reserve
) -> None:
    open_accounts(plan(Account(Scope("people", "cards", "lookalike"), LIFETIME, epsilon(COST))))
    reserve(asked("first"))
    with pytest.raises(BudgetExceeded):
        reserve(asked("second", purpose=spelling))


def test_another_spelling_in_a_contract_opens_no_second_account(
    open_accounts: Open, reserve: Reserve
) -> None:
    open_accounts(plan(Account(Scope("people", "cards", "value"), LIFETIME, epsilon(COST))))
    reserve(asked("first", purpose="value"))
    spelt = Account(Scope("People", "Cards", "Value"), LIFETIME, epsilon(COST))
    open_accounts(plan(spelt, dataset="Cards", population="PEOPLE"))
    with pytest.raises(BudgetExceeded):
        reserve(asked("second", purpose="Value", dataset="CARDS"))


# --- opening --------------------------------------------------------------------------------------


def test_opening_again_keeps_the_order_and_budget_the_account_opened_with(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    root = Scope("people")
    open_accounts(plan(Account(root, LIFETIME, epsilon(COST, order=ORDER))))
    open_accounts(plan(Account(root, LIFETIME, epsilon(50 * COST, order=2))))
    reserve(asked("first"))
    with store.transaction() as tx:
        (balance,) = ledger.balances(tx)
    assert (balance.lifetime_used_nano, balance.lifetime_budget_nano) == (COST, COST)


@pytest.mark.parametrize(
    ("window", "first", "second"),
    [
        (LIFETIME, epsilon(COST, cap=1.0), epsilon(COST, cap=1.5)),
        (LIFETIME, epsilon(COST), EpsilonLimit(1.0, 1e-6, FilterTerms(ORDER, COST))),
        (Window("uses_day", 1), UsesLimit(1), UsesLimit(2)),
        (Window("exact_scores", None), ExactLimit(1), ExactLimit(2)),
        (Window("alignments", None), ExactLimit(2), ExactLimit(1)),
    ],
)
def test_an_open_account_keeps_its_terms(
    window: Window,
    first: EpsilonLimit | UsesLimit | ExactLimit,
    second: EpsilonLimit | UsesLimit | ExactLimit,
    open_accounts: Open,
) -> None:
    open_accounts(plan(Account(Scope("people"), window, first)))
    with pytest.raises(CapConflict):
        open_accounts(plan(Account(Scope("people"), window, second)))


def test_another_length_of_period_is_a_conflict_not_a_new_account(open_accounts: Open) -> None:
    open_accounts(room_for(1, window=Window("period", 30)))
    with pytest.raises(CapConflict):
        open_accounts(room_for(1, window=Window("period", 31)))


def test_a_dataset_stays_with_its_population(open_accounts: Open) -> None:
    open_accounts(room_for(1))
    fresh = Account(Scope("new people"), LIFETIME, epsilon(COST))
    with pytest.raises(CapConflict):
        open_accounts(plan(fresh, dataset="CARDS", population="new people"))


def test_a_new_cap_is_charged_with_what_its_scope_already_used(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    root = Account(Scope("people"), LIFETIME, epsilon(99 * COST))
    open_accounts(plan(root))
    reserve(asked("first", 3))
    reserve(asked("elsewhere", purpose="value"))
    with store.transaction() as tx:
        ledger.commit(tx, "first", 0)
        ledger.give_back(tx, "first")
    reserve(asked("second"))
    narrow = Scope("people", "cards", "lookalike")
    capped = Account(narrow, LIFETIME, epsilon(2 * COST))
    counted = Account(narrow, Window("uses_month", 30), UsesLimit(2))
    open_accounts(plan(root, capped, counted))
    with store.transaction() as tx:
        balance = ledger.balances(tx)[1]
    assert (balance.lifetime_used_nano, balance.uses[0].used) == (2 * COST, 2)


# --- transactions ---------------------------------------------------------------------------------


def test_an_error_in_a_transaction_undoes_spend_state_and_reply(
    open_accounts: Open, reserve: Reserve, store: NodeStore, ledger: LedgerStore
) -> None:
    open_accounts(room_for(1))
    reserve(asked("run"))
    runs = RunStore()

    def fail_at_the_end() -> None:
        with store.transaction() as tx:
            ledger.commit(tx, "run", 0)
            runs.save(tx, "run", b"sealed")
            runs.remember_reply(tx, "run", "mask/0", "hash", b"reply")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_at_the_end()
    with store.transaction() as tx:
        assert states(ledger, tx, "run") == ["planned"]
        assert runs.load(tx, "run") is None
        assert runs.reply(tx, "run", "mask/0") is None


def test_concurrent_reservations_never_pass_a_cap(location: str | Path, clock: ManualClock) -> None:
    room, threads, tries = 25, 4, 12
    first = NodeStore.open(location, clock)
    with first.transaction() as tx:
        LedgerStore(first).open_accounts(tx, room_for(room))
    first.close()
    refused: list[str] = []

    def spend(name: int) -> None:
        mine = NodeStore.open(location, clock)
        for number in range(tries):
            run = f"{name}/{number}"
            try:
                with mine.transaction() as tx:
                    LedgerStore(mine).reserve(tx, asked(run))
            except BudgetExceeded:
                refused.append(run)
        mine.close()

    workers = [threading.Thread(target=spend, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    last = NodeStore.open(location, clock)
    with last.transaction() as tx:
        assert len(LedgerStore(last).entries(tx)) == room
    last.close()
    assert len(refused) == threads * tries - room


def test_runs_at_once_never_pass_an_exact_count(location: str | Path, clock: ManualClock) -> None:
    allowed, shown, threads, tries = 31, 2, 4, 8
    first = NodeStore.open(location, clock)
    with first.transaction() as tx:
        LedgerStore(first).open_accounts(tx, plan(counting(allowed)))
    refused: list[str] = []

    def show(name: int) -> None:
        mine = NodeStore.open(location, clock)
        for number in range(tries):
            run = f"{name}/{number}"
            try:
                with mine.transaction() as tx:
                    LedgerStore(mine).reserve(tx, showing(run, ExactEvent("scores", shown)))
            except ExactScoresExceeded:
                refused.append(run)
        mine.close()

    workers = [threading.Thread(target=show, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with first.transaction() as tx:
        (balance,) = LedgerStore(first).balances(tx)
        # Fifteen times two fit under 31; the one that is left fits a run that asks for no more.
        assert balance.uses[0].used == 30
        LedgerStore(first).reserve(tx, showing("the last", SCORES))
    first.close()
    assert len(refused) == threads * tries - allowed // shown


def test_opening_at_once_makes_one_schema(location: str | Path, clock: ManualClock) -> None:
    opened: list[NodeStore] = []
    workers = [
        threading.Thread(target=lambda: opened.append(NodeStore.open(location, clock)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(opened) == 4
    for store in opened:
        store.close()


# --- run store ------------------------------------------------------------------------------------


def test_a_state_is_replaced_and_a_reply_never(store: NodeStore) -> None:
    runs = RunStore()
    with store.transaction() as tx:
        runs.save(tx, "run", b"one")
        runs.save(tx, "run", b"two")
        runs.remember_reply(tx, "run", "mask/0", "hash", b"\x00reply")
        runs.remember_reply(tx, "run", "mask/0", "hash", b"\x00reply")
        assert runs.load(tx, "run") == b"two"
        assert runs.reply(tx, "run", "mask/0") == ("hash", b"\x00reply")
        for request_hash, reply in (("hash", b"other"), ("other", b"\x00reply")):
            with pytest.raises(RequestConflict):
                runs.remember_reply(tx, "run", "mask/0", request_hash, reply)
        assert runs.reply(tx, "run", "mask/1") is None


def test_heads_only_go_on_and_a_fork_is_named(store: NodeStore) -> None:
    runs = RunStore()
    with store.transaction() as tx:
        assert runs.remember_head(tx, "bank", 5, "a" * 64) == Head(5, "a" * 64)
        assert runs.remember_head(tx, "bank", 4, "b" * 64) == Head(5, "a" * 64)
        assert runs.remember_head(tx, "bank", 7, "c" * 64) == Head(7, "c" * 64)
        with pytest.raises(AuditCut):
            runs.remember_head(tx, "bank", 7, "d" * 64)
        assert runs.heads(tx) == {"bank": Head(7, "c" * 64)}
