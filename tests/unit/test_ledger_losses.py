"""What was really lost is counted scope by scope, and only what may have left counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import (
    Event,
    ExactEvent,
    GaussianEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
)
from fedmkt.storage.balances import Balance
from fedmkt.storage.ledger_store import Entry
from fedmkt.storage.losses import epsilon_lost

DELTA = 1e-6
NOW = datetime(2026, 3, 31, tzinfo=UTC)
EVENT = GaussianEvent(noise_multiplier=4.0, sigma=2.5e8, shares=1, dimensions=8)
ROOT = Balance(dataset="cards", population="people", delta=DELTA)
ROOT_OF_VISITS = replace(ROOT, dataset="visits")
LOOKALIKE = replace(ROOT, purpose="lookalike")
ASKED_BY_BANK = replace(ROOT, purpose="lookalike", requester="bank")
OTHERS = Balance(dataset="loans", population="debtors", delta=DELTA)
BALANCES = (ROOT, LOOKALIKE, ASKED_BY_BANK, ROOT_OF_VISITS, OTHERS)


def entry(
    dataset: str = "cards",
    purpose: str = "lookalike",
    requester: str = "bank",
    event: Event = EVENT,
    days_ago: int = 0,
) -> Entry:
    return Entry(
        run=f"{dataset}-{purpose}-{requester}",
        job="job",
        dataset=dataset,
        purpose=purpose,
        requester=requester,
        release=0,
        name="round 1",
        event=event,
        state="spent",
        at=NOW - timedelta(days=days_ago),
    )


def cost(releases: int) -> float:
    return epsilon_of([EVENT] * releases, DELTA)


@pytest.mark.parametrize(
    ("balance", "releases"),
    [(ROOT, 4), (ROOT_OF_VISITS, 4), (LOOKALIKE, 2), (ASKED_BY_BANK, 1), (OTHERS, 1)],
)
def test_each_scope_is_charged_with_its_own_releases_alone(balance: Balance, releases: int) -> None:
    entries = [
        entry(),
        entry(requester="shop"),
        entry(purpose="measurement"),
        entry("visits", "reach", "shop"),
        entry("loans"),
    ]
    assert epsilon_lost(balance, BALANCES, entries) == cost(releases)


def test_another_spelling_is_the_same_scope() -> None:
    assert epsilon_lost(LOOKALIKE, BALANCES, [entry("CARDS", "Lookalike", "BANK")]) == cost(1)


def test_what_was_given_back_was_not_lost_and_what_may_have_left_was() -> None:
    entries = [entry(), replace(entry(), state="returned"), replace(entry(), state="planned")]
    assert epsilon_lost(ROOT, BALANCES, entries) == cost(2)


def test_a_window_leaves_out_what_was_spent_before_it_but_nothing_planned() -> None:
    old = entry(days_ago=31)
    since = NOW - timedelta(days=30)
    assert epsilon_lost(ROOT, BALANCES, [old, entry()], since=since) == cost(1)
    assert epsilon_lost(ROOT, BALANCES, [replace(old, state="planned")], since=since) == cost(1)


def test_one_release_without_noise_leaves_no_bound() -> None:
    entries = [entry(), entry(event=NonPrivateEvent(dimensions=8))]
    assert epsilon_lost(ROOT, BALANCES, entries) == float("inf")
    assert epsilon_lost(OTHERS, BALANCES, entries) == 0.0


@pytest.mark.parametrize("what", ["scores", "alignment", "sizes"])
def test_exact_releases_are_no_part_of_the_epsilon_that_was_lost(what: str) -> None:
    exact = entry(event=ExactEvent(what, 3))  # type: ignore[arg-type]
    assert epsilon_lost(ROOT, BALANCES, [exact]) == 0.0
    assert epsilon_lost(ROOT, BALANCES, [entry(), exact]) == cost(1)


def test_randomised_labels_are_part_of_it() -> None:
    label = entry(event=RandomisedResponseEvent(2.0))
    assert epsilon_lost(ROOT, BALANCES, [label]) == 2.0
    assert cost(1) < epsilon_lost(ROOT, BALANCES, [entry(), label]) <= cost(1) + 2.0 + 1e-6


def test_a_scope_that_only_counts_uses_is_priced_at_its_populations_delta() -> None:
    counted = replace(LOOKALIKE, delta=None)
    assert epsilon_lost(counted, (counted, *BALANCES), [entry()]) == cost(1)
