"""Whatever order runs, crashes and clocks come in: no cap is passed and nothing spent comes back.

The machine keeps a plain model of its own (a list of releases with times) and compares each
decision of the ledger with it.
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import (
    BudgetExceeded,
    ExactScoresExceeded,
    ReservationClosed,
    UsesExceeded,
)
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    Window,
)
from fedmkt.privacy.events import Event, ExactEvent, GaussianEvent, Release
from fedmkt.privacy.filter import FilterTerms
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore

START = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD_DAYS = 30
DAILY_RUNS = 4
SHOWN = 0  # stands, in place of a noise multiplier, for exact scores
SHOWN_FOR_LIFE, SHOWN_NARROWLY = 3, 1
# Budgets in nano-RDP for a noise multiplier of 1, 2 or 3: order / (2 z^2), rounded up.
LIFETIME_ORDER, LIFETIME_BUDGET = 4, 9_000_000_000
PERIOD_ORDER, PERIOD_BUDGET = 8, 9_000_000_000
NARROW_ORDER, NARROW_BUDGET = 2, 2_000_000_000
ROOT = Scope("people")
ACCOUNTS = (
    Account(
        ROOT,
        Window("lifetime", None),
        EpsilonLimit(3.0, 1e-5, FilterTerms(LIFETIME_ORDER, LIFETIME_BUDGET)),
    ),
    Account(
        ROOT,
        Window("period", PERIOD_DAYS),
        EpsilonLimit(1.0, 1e-5, FilterTerms(PERIOD_ORDER, PERIOD_BUDGET)),
    ),
    Account(
        Scope("people", "cards", "value"),
        Window("lifetime", None),
        EpsilonLimit(0.5, 1e-5, FilterTerms(NARROW_ORDER, NARROW_BUDGET)),
    ),
    Account(ROOT, Window("uses_day", 1), UsesLimit(DAILY_RUNS)),
    Account(ROOT, Window("exact_scores", None), ExactLimit(SHOWN_FOR_LIFE)),
    Account(
        Scope("people", "cards", "value"),
        Window("exact_scores", None),
        ExactLimit(SHOWN_NARROWLY),
    ),
)


def price(multiplier: int, order: int) -> int:
    return 0 if multiplier == SHOWN else -(-order * 10**9 // (2 * multiplier**2))


@dataclass
class Planned:
    """The model's view of one release."""

    run: str
    dataset: str
    purpose: str
    multiplier: int
    state: str
    at: datetime

    def under_narrow_cap(self) -> bool:
        return self.dataset == "cards" and self.purpose.casefold() == "value"


def _multipliers(bounds: tuple[int, int]) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(*bounds), min_size=1, max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    """Reserve, commit, give back, move the clock either way, reopen; in any order."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a folder: rules are tested here, not the disk.
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.clock = ManualClock(START)
        self.latest = datetime.min.replace(tzinfo=UTC)  # of what the ledger stored
        self.model: dict[str, list[Planned]] = {}
        self.reserved: dict[str, datetime] = {}
        self.spent_before = 0
        self.open()

    def open(self) -> None:
        self.store = NodeStore.open(self.folder / "node.db", self.clock)
        self.ledger = LedgerStore(self.store)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def now(self) -> datetime:
        return max(self.latest, self.clock.now())

    def held(self) -> list[Planned]:
        every = [release for releases in self.model.values() for release in releases]
        return [release for release in every if release.state != "returned"]

    @initialize()
    def accounts_open(self) -> None:
        with self.store.transaction() as tx:
            for dataset in ("cards", "visits"):
                self.ledger.open_accounts(tx, DatasetAccounts(dataset, "people", ACCOUNTS))

    @rule(
        target=runs,
        dataset=st.sampled_from(["cards", "visits"]),
        purpose=st.sampled_from(["value", "VALUE", "lookalike"]),
        multipliers=st.sampled_from([(1, 3), (SHOWN, SHOWN), (SHOWN, 3)]).flatmap(_multipliers),
    )
    def reserve(self, dataset: str, purpose: str, multipliers: list[int]) -> object:
        run = f"run-{len(self.reserved)}-{len(self.model)}"
        assume(run not in self.model)
        now = self.now()
        asked = [Planned(run, dataset, purpose, one, "planned", now) for one in multipliers]
        allowed = self._model_allows(asked, now)
        try:
            with self.store.transaction() as tx:
                self.ledger.reserve(tx, _reservation(asked))
        except (BudgetExceeded, UsesExceeded, ExactScoresExceeded):
            assert not allowed
            return multiple()
        assert allowed
        self.model[run], self.reserved[run], self.latest = asked, now, now
        return run

    def _model_allows(self, asked: list[Planned], now: datetime) -> bool:
        everything = self.held() + asked
        recent = [
            one
            for one in everything
            if one.state == "planned" or one.at >= now - timedelta(days=PERIOD_DAYS)
        ]
        narrow = [one for one in everything if one.under_narrow_cap()]
        today = [at for at in self.reserved.values() if at >= now - timedelta(days=1)]
        return (
            _sum(everything, LIFETIME_ORDER) <= LIFETIME_BUDGET
            and _sum(recent, PERIOD_ORDER) <= PERIOD_BUDGET
            and (not asked[0].under_narrow_cap() or _sum(narrow, NARROW_ORDER) <= NARROW_BUDGET)
            and len(today) < DAILY_RUNS
            and _within_counts(everything, narrow, asked)
        )

    @rule(run=runs)
    def reserve_again(self, run: str) -> None:
        closed = any(release.state == "returned" for release in self.model[run])
        try:
            with self.store.transaction() as tx:
                self.ledger.reserve(tx, _reservation(self.model[run]))
        except ReservationClosed:
            assert closed
        else:
            assert not closed

    @rule(run=runs, place=st.integers(0, 2))
    def commit(self, run: str, place: int) -> None:
        assume(place < len(self.model[run]))
        release = self.model[run][place]
        now = self.now()
        try:
            with self.store.transaction() as tx:
                self.ledger.commit(tx, run, place)
        except ReservationClosed:
            assert release.state == "returned"
            return
        assert release.state != "returned"
        if release.state == "planned":
            release.state, release.at, self.latest = "spent", now, now

    @rule(run=runs)
    def give_back(self, run: str) -> None:
        planned = [release for release in self.model[run] if release.state == "planned"]
        now = self.now()
        with self.store.transaction() as tx:
            assert self.ledger.give_back(tx, run) == len(planned)
        for release in planned:
            release.state, release.at, self.latest = "returned", now, now

    @rule(hours=st.integers(-40 * 24, 40 * 24))
    def move_the_clock(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours))

    @rule(run=runs, place=st.integers(0, 2))
    def crash_while_committing(self, run: str, place: int) -> None:
        assume(place < len(self.model[run]) and self.model[run][place].state != "returned")
        try:
            with self.store.transaction() as tx:
                self.ledger.commit(tx, run, place)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        with self.store.transaction() as tx:
            entries, balances = self.ledger.entries(tx), self.ledger.balances(tx)
        roots = [one for one in balances if one.purpose is None]
        assert {one.lifetime_used_nano for one in roots} <= {_sum(self.held(), LIFETIME_ORDER)}
        counts = {one.used for root in roots for one in root.uses if one.window == "exact_scores"}
        assert counts <= {_shown(self.held())}
        found = {(one.run, one.release): (one.state, one.at) for one in entries}
        assert found == {
            (run, place): (release.state, release.at)
            for run, releases in self.model.items()
            for place, release in enumerate(releases)
        }

    @invariant()
    def no_cap_is_passed(self) -> None:
        held = self.held()
        assert _sum(held, LIFETIME_ORDER) <= LIFETIME_BUDGET
        narrow = [release for release in held if release.under_narrow_cap()]
        assert _sum(narrow, NARROW_ORDER) <= NARROW_BUDGET
        assert _shown(held) <= SHOWN_FOR_LIFE
        assert _shown(narrow) <= SHOWN_NARROWLY
        spent = [release for release in held if release.state == "spent"]
        for last in spent:
            # Any 30 days, not only those that end at a reservation.
            since = last.at - timedelta(days=PERIOD_DAYS)
            window = [release for release in spent if since <= release.at <= last.at]
            assert _sum(window, PERIOD_ORDER) <= PERIOD_BUDGET

    @invariant()
    def what_is_spent_never_decreases(self) -> None:
        spent = [release for release in self.held() if release.state == "spent"]
        assert _sum(spent, LIFETIME_ORDER) >= self.spent_before
        self.spent_before = _sum(spent, LIFETIME_ORDER)


def _reservation(planned: list[Planned]) -> Reservation:
    first = planned[0]
    releases = tuple(
        Release(place, f"sum {place}", _event(one.multiplier)) for place, one in enumerate(planned)
    )
    return Reservation(first.run, "job", first.dataset, first.purpose, "bank", releases)


def _event(multiplier: int) -> Event:
    if multiplier == SHOWN:
        return ExactEvent("scores")
    return GaussianEvent(float(multiplier), 100.0, 1, 3)


def _shown(releases: list[Planned]) -> int:
    return sum(release.multiplier == SHOWN for release in releases)


def _within_counts(everything: list[Planned], narrow: list[Planned], asked: list[Planned]) -> bool:
    concerned = asked[0].under_narrow_cap()
    return _shown(everything) <= SHOWN_FOR_LIFE and (
        not concerned or _shown(narrow) <= SHOWN_NARROWLY
    )


def _sum(releases: list[Planned], order: int) -> int:
    return sum(price(release.multiplier, order) for release in releases)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
