"""Randomised labels and exact events: their form, their price, and how an officer reads of them."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm
from typer.testing import CliRunner

from fedmkt.cli import ledger as ledger_commands
from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import EpsilonInvalid, EventUnknown
from fedmkt.node.explain import explain
from fedmkt.node.home import AUDIT_FILE
from fedmkt.node.wording import noise_words, unit_words
from fedmkt.privacy.accounting import epsilon_of, mu_gdp, slack_of
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    ExactLimit,
    Scope,
    Window,
)
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.events import (
    KNOWN,
    Event,
    ExactEvent,
    GaussianEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
    Release,
    event_from_json,
    event_to_json,
)
from fedmkt.privacy.filter import cost_nano, filter_terms
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore

DELTA = 1e-5
FINE = 2.0**40  # grid units: no slack to speak of
RESPONSE = RandomisedResponseEvent(epsilon=3.0)
SCORES = ExactEvent("scores", 1)
ALIGNMENT = ExactEvent("alignment", 1)
SIZES = ExactEvent("sizes", 2)


def gaussian(multiplier: float) -> GaussianEvent:
    return GaussianEvent(multiplier, multiplier * FINE, 1, 10)


def root(function, high: float) -> float:
    return brentq(lambda epsilon: function(epsilon) - DELTA, 0, high, xtol=1e-12)


# --- form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [RandomisedResponseEvent(0.1 + 0.2, 7), RESPONSE, SCORES, ALIGNMENT, SIZES]
)
def test_an_event_survives_json_text_bit_for_bit(event: Event) -> None:
    written = event_to_json(event)
    assert written["kind"] in KNOWN
    assert event_from_json(json.loads(json.dumps(written))) == event


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "randomised_response", "epsilon": 1.0},
        {"kind": "randomised_response", "epsilon": "1", "labels": 1},
        {"kind": "randomised_response", "epsilon": True, "labels": 1},
        {"kind": "randomised_response", "epsilon": 1.0, "labels": 1.0},
        {"kind": "randomised_response", "epsilon": 1.0, "labels": 1, "delta": 0.1},
        {"kind": "exact", "what": "scores"},
        {"kind": "exact", "what": "scores", "count": True},
        {"kind": "exact", "what": "rows", "count": 1},
        {"kind": "exact", "what": ["scores"], "count": 1},
        {"kind": "exact", "what": "scores", "count": 1, "epsilon": 1.0},
    ],
)
def test_an_event_that_is_not_understood_whole_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(EventUnknown):
        event_from_json(value)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 9e-4, 100.1, math.nan, math.inf])
def test_labels_randomised_by_no_usable_epsilon_are_no_event(epsilon: float) -> None:
    with pytest.raises(EpsilonInvalid):
        RandomisedResponseEvent(epsilon)


@pytest.mark.parametrize("count", [0, -1, 2**40])
def test_a_count_of_nothing_or_of_too_much_is_no_event(count: int) -> None:
    with pytest.raises(EpsilonInvalid):
        RandomisedResponseEvent(1.0, count)
    with pytest.raises(EpsilonInvalid):
        ExactEvent("scores", count)


@pytest.mark.parametrize(
    ("event", "field"), [(RESPONSE, "epsilon"), (RESPONSE, "labels"), (SCORES, "count")]
)
def test_an_integer_past_every_float_is_refused_by_name(event: Event, field: str) -> None:
    # JSON bounds no integer, and 10^400 is no float.
    with pytest.raises((EventUnknown, EpsilonInvalid)):
        event_from_json({**event_to_json(event), field: 10**400})


# --- price ----------------------------------------------------------------------------------------


def test_a_randomised_label_costs_its_renyi_divergence() -> None:
    # Order 2, flips with 1/4 (epsilon = ln 3): ln(.75^2 / .25 + .25^2 / .75) = ln(7/3).
    cost = cost_nano(RandomisedResponseEvent(math.log(3)), 2)
    assert 0 <= cost - math.log(7 / 3) * 1e9 < 3
    # Order 3: ln(.75^3 / .25^2 + .25^3 / .75^2) / 2 = ln(6.75 + 1/36) / 2.
    cost = cost_nano(RandomisedResponseEvent(math.log(3)), 3)
    assert 0 <= cost - math.log(6.75 + 1 / 36) / 2 * 1e9 < 3


def test_many_labels_cost_as_often_as_one_and_never_more_than_their_epsilons() -> None:
    one, many = cost_nano(RESPONSE, 9), cost_nano(RandomisedResponseEvent(3.0, 1000), 9)
    assert 1000 * (one - 1) < many <= 1000 * one
    assert one <= 3_000_000_000
    # At so high an order the price is epsilon itself, and no float below it.
    high = cost_nano(RandomisedResponseEvent(0.1, 3), 10**15)
    assert high == math.ceil(3 * Fraction(0.1) * 10**9)


@pytest.mark.parametrize("event", [SCORES, ALIGNMENT, SIZES])
def test_what_no_epsilon_bounds_has_no_price(event: Event) -> None:
    with pytest.raises(EventUnknown):
        cost_nano(event, 25)


# --- what is lost ---------------------------------------------------------------------------------


def test_a_label_randomised_once_costs_its_epsilon() -> None:
    assert epsilon_of([RESPONSE], DELTA) == 3.0


@pytest.mark.parametrize(("epsilon", "labels"), [(0.001, 100), (0.5, 4), (1.0, 40), (3.0, 5)])
def test_several_labels_lose_what_the_binomial_says(epsilon: float, labels: int) -> None:
    """Exact: with k of n labels kept, the loss is (2k - n) epsilon; k is binomial."""
    kept = 1 / (1 + math.exp(-epsilon))

    def delta(at: float) -> float:
        losses = [(2 * k - labels) * epsilon for k in range(labels + 1)]
        chances = binom.pmf(range(labels + 1), labels, kept)
        return sum(
            float(chance) * max(0.0, -math.expm1(at - loss))
            for loss, chance in zip(losses, chances, strict=True)
        )

    exact = root(delta, labels * epsilon)
    together = epsilon_of([RandomisedResponseEvent(epsilon, labels)], DELTA)
    assert exact <= together <= min(1.02 * exact, labels * epsilon) + 2e-6
    assert epsilon_of([RandomisedResponseEvent(epsilon)] * labels, DELTA) == together


@pytest.mark.parametrize(
    ("mu", "epsilons"), [(0.3, [1.0]), (1.0, [3.0]), (1.0, [1.0, 2.0, 0.5]), (3.0, [8.0])]
)
def test_labels_and_gaussian_noise_lose_what_their_mixture_says(
    mu: float, epsilons: list[float]
) -> None:
    """Exact: given the labels' loss l, delta is that of the Gaussian at epsilon - l."""

    def of_gaussian(at: float) -> float:
        # Balle and Wang 2018, arXiv:1805.06530, theorem 8, for any real epsilon.
        return float(norm.cdf(mu / 2 - at / mu) - math.exp(at + norm.logcdf(-mu / 2 - at / mu)))

    def delta(at: float) -> float:
        total = 0.0
        for signs in product((1, -1), repeat=len(epsilons)):
            loss = sum(sign * one for sign, one in zip(signs, epsilons, strict=True))
            chances = (
                1 / (1 + math.exp(-sign * one)) for sign, one in zip(signs, epsilons, strict=True)
            )
            total += math.prod(chances) * of_gaussian(at - loss)
        return total

    events = [gaussian(1 / mu), *map(RandomisedResponseEvent, epsilons)]
    exact, reported = root(delta, 500), epsilon_of(events, DELTA)
    assert exact <= reported <= exact * (1 + 3e-4) + 2e-6
    assert reported < epsilon_of(events[:1], DELTA) + sum(epsilons)


@pytest.mark.parametrize(
    "events",
    [
        [RandomisedResponseEvent(100.0)] * 10,
        [RandomisedResponseEvent(1.0, 2**31)],
        [RandomisedResponseEvent(0.001, 10**6), gaussian(0.05)],
        [RandomisedResponseEvent(100.0, 10), gaussian(1.0)],
    ],
)
def test_very_many_labels_still_get_a_figure_below_simple_addition(events: list[Event]) -> None:
    labels = [event for event in events if isinstance(event, RandomisedResponseEvent)]
    alone = epsilon_of([event for event in events if event not in labels], DELTA)
    added = alone + sum(event.epsilon * event.labels for event in labels)
    assert 0 < epsilon_of(events, DELTA) <= added + 1e-6


@pytest.mark.parametrize("delta", [1e-30, 1e-18, 0.99])
@pytest.mark.parametrize(
    "events",
    [
        [RandomisedResponseEvent(1.0, 30)],
        [GaussianEvent(1.0, 2.0**60, 1, 3)],
        [RandomisedResponseEvent(1.0), GaussianEvent(1.0, 2.0**60, 1, 3)],
    ],
)
def test_a_delta_past_what_loss_distributions_hold_still_gets_a_finite_figure(
    events: list[Event], delta: float
) -> None:
    """They cut off tails of 1e-15 and more, which bounds nothing at a smaller delta."""
    labels = [event for event in events if isinstance(event, RandomisedResponseEvent)]
    alone = epsilon_of([event for event in events if event not in labels], delta)
    added = alone + sum(event.epsilon * event.labels for event in labels)
    assert math.isfinite(added)
    assert 0 < epsilon_of(events, delta) <= added + 1e-6


def test_the_order_of_events_does_not_matter() -> None:
    events = [gaussian(2.0), RandomisedResponseEvent(0.4), SCORES, RESPONSE]
    assert len({epsilon_of(some, DELTA) for some in permutations(events)}) == 1


def test_where_the_slack_passes_delta_labels_are_added_by_the_renyi_bound() -> None:
    noise = GaussianEvent(0.2, 0.2 * 2.0**26, 1, 800)
    alone = epsilon_of([noise], DELTA)
    assert 2 * slack_of([noise]) * math.exp(analytic(1 / 0.2)) > DELTA
    assert alone < epsilon_of([noise, RESPONSE], DELTA) <= alone + 3.0 + 1e-6


def analytic(mu: float) -> float:
    return root(lambda e: norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu), 99)


@pytest.mark.parametrize("events", [[gaussian(2.0)], [RESPONSE], [RESPONSE, gaussian(2.0)], []])
def test_exact_events_leave_the_epsilon_as_it_is(events: list[Event]) -> None:
    beside = [SCORES, ALIGNMENT, *events, SIZES]
    assert epsilon_of(beside, DELTA) == epsilon_of(events, DELTA)
    assert epsilon_of([*beside, NonPrivateEvent(1)], DELTA) == math.inf


def test_labels_and_exact_events_claim_no_gaussian_guarantee() -> None:
    assert mu_gdp([gaussian(2.0), RESPONSE]) == math.inf
    assert mu_gdp([SCORES]) == math.inf


def test_a_coarse_grid_takes_its_own_calibration() -> None:
    """Ten columns of residuals in 1/4096: sums move by sqrt(10) 4096 grid units."""
    bound = math.sqrt(10) * 4096

    def cost(multiplier: float) -> float:
        return epsilon_of([GaussianEvent(multiplier, multiplier * bound, 1, 500)] * 8, DELTA)

    asked = {"epsilon": 2.0, "delta": DELTA, "releases": 8, "dimensions": 500}
    fine, coarse = noise_multiplier_for(**asked), noise_multiplier_for(**asked, grid_bound=bound)
    assert cost(coarse) <= 2.0 < cost(fine)
    assert cost(coarse / (1 + 1e-3)) > 2.0


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_grid_without_a_bound_has_no_calibration(bound: float) -> None:
    with pytest.raises(EpsilonInvalid):
        noise_multiplier_for(epsilon=1.0, delta=DELTA, releases=1, grid_bound=bound)


# --- words ----------------------------------------------------------------------------------------


@dataclass
class Home:
    """As much of a node's home as its officer's commands read."""

    folder: Path
    store: NodeStore
    clock: ManualClock
    member: str = "bank"

    @property
    def ledger(self) -> LedgerStore:
        return LedgerStore(self.store)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    store = NodeStore.open(tmp_path / "node.db", clock)
    scope, life = Scope("people"), Window("lifetime", None)
    accounts = (
        Account(scope, life, EpsilonLimit(8.0, DELTA, filter_terms(8.0, DELTA))),
        Account(scope, Window("exact_scores", None), ExactLimit(40)),
        Account(scope, Window("alignments", None), ExactLimit(2)),
    )
    with store.transaction() as tx:
        LedgerStore(store).open_accounts(tx, DatasetAccounts("cards", "people", accounts))
    (tmp_path / AUDIT_FILE).write_bytes(b"")
    yield Home(tmp_path, store, clock)
    store.close()


def spent(home: Home, run: str, *events: Event) -> tuple[str, ...]:
    releases = tuple(Release(index, f"part {index}", event) for index, event in enumerate(events))
    with home.store.transaction() as tx:
        home.ledger.reserve(tx, Reservation(run, "job", "cards", "value", "bank", releases))
        for index in range(len(events)):
            home.ledger.commit(tx, run, index)
    return explain(home, run)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        # 1 / (1 + e^3) = .0474, 1 / (1 + e^1) = .269
        (RESPONSE, "its labels were randomised once: each was flipped with probability 4.7%"),
        (RandomisedResponseEvent(1.0, 2), "its 2 labels were randomised once: .* 26.9%"),
        (RandomisedResponseEvent(50.0), "flipped with probability below 0.1%"),
        (SCORES, "shows the label owner one exact total a customer; counted, since no epsilon"),
        (ExactEvent("scores", 3), "shows the label owner 3 exact totals a customer"),
        (ALIGNMENT, "shows members which of their own customers they share; counted"),
        (SIZES, "stated exactly, as the contract allows"),
        (gaussian(2.0), "its 10 sums carried Gaussian noise 2 times"),
        (NonPrivateEvent(4), "its 4 sums carried no noise"),
    ],
)
def test_words_say_what_each_kind_of_release_was(event: Event, words: str) -> None:
    assert re.search(words, noise_words(event))


def test_a_run_of_exact_scores_is_explained_by_its_count(home: Home) -> None:
    told = spent(home, "run", *[SCORES] * 3)
    assert "Exact releases, which no epsilon bounds: 3, of which 3 count against" in told[4]
    assert "cap of 40 exact scores for life (all purposes and all requesters) it took 3" in told[-1]
    assert "37 left now" in told[-1]
    assert not any("Together" in sentence for sentence in told)


def test_the_epsilon_of_noised_sizes_is_not_said_of_an_alignment_as_a_whole(home: Home) -> None:
    told = " ".join(spent(home, "run", gaussian(2.0), gaussian(2.0), ALIGNMENT, SIZES))
    assert "Together its noised releases are epsilon" in told
    assert "from this run" not in told
    assert "no epsilon bounds: 2, of which 1 count" in told
    assert "cap of 2 alignments for life" in told


def test_a_run_of_noise_alone_is_told_as_one_bound(home: Home) -> None:
    told = " ".join(spent(home, "run", gaussian(4.0)))
    # Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) = 1e-5 at mu = 1/4.
    epsilon = analytic(1 / 4)
    assert f"Together that is epsilon {epsilon:.3f} at delta 1e-05: whatever somebody" in told
    assert f"from this run about a customer was at most {math.exp(epsilon):.2f} times" in told
    assert "Exact releases" not in told


def test_randomised_labels_are_explained_as_a_bound_on_the_label(home: Home) -> None:
    told = " ".join(spent(home, "run", RandomisedResponseEvent(3.0)))
    assert "at most 20.09 times as likely" in told  # e^3
    assert "because the customer's label was as it was" in told
    assert "row was in the table" not in told


def test_the_label_owner_is_told_that_one_order_may_start_several_trainings(home: Home) -> None:
    words = "one order can start more trainings than this"
    assert words in " ".join(spent(home, "trained", RandomisedResponseEvent(1.0)))
    assert words not in " ".join(spent(home, "sized", gaussian(5.0)))


def table(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The rows of `fedmkt ledger show`, each in words."""

    @contextmanager
    def opened(folder: object) -> Iterator[list[Home]]:
        yield [home]

    monkeypatch.setattr(ledger_commands, "opened", opened)
    shown = CliRunner().invoke(ledger_commands.app, ["show"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    return [line.split() for line in shown.output.splitlines()]


def test_the_officers_table_shows_what_is_counted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent(home, "run", *[SCORES] * 3, ALIGNMENT)
    rows = table(home, monkeypatch)
    assert ["cards", "all", "exact", "scores", "for", "life", "40", "3", "37"] in rows
    assert ["cards", "all", "alignments", "for", "life", "2", "1", "1"] in rows
    # Exact releases make no run unprotected: what was lost of epsilon is 0.
    assert ["cards", "all", "life", "8.000", "0.000", "8.000", "0.000"] in rows


def test_a_count_agreed_on_below_what_was_shown_leaves_nothing_and_no_less(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent(home, "run", *[SCORES] * 3)
    later = Account(Scope("people", "cards", "value"), Window("exact_scores", None), ExactLimit(2))
    with home.store.transaction() as tx:
        home.ledger.open_accounts(tx, DatasetAccounts("cards", "people", (later,)))
    told = explain(home, "run")  # type: ignore[arg-type]
    assert told[-1].endswith(
        "(purpose value and all requesters) it took 3; 0 left now, after all runs."
    )
    assert ["cards", "value", "exact", "scores", "for", "life", "2", "3", "0"] in table(
        home, monkeypatch
    )


@pytest.mark.parametrize(
    ("release", "unit"),
    [
        ("round 1: noised sums of residuals", "customer's label"),
        ("noised sums of the joint score", "customer's joint score"),
        ("size of this member's set", "customer"),
        ("round 1: gradient", "customer"),
    ],
)
def test_words_name_the_unit_that_noise_was_sized_for(release: str, unit: str) -> None:
    event = gaussian(3.0)
    assert unit_words(release, event) == unit
    assert f"what one {unit} can move" in noise_words(event, unit)
