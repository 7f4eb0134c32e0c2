"""The ledger's rules without a database: which accounts a cap gives, and what a refusal says."""

from datetime import UTC, datetime

import pytest

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, Member
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import (
    BudgetExceeded,
    CapConflict,
    EpsilonInvalid,
    ExactScoresExceeded,
    ExactScoresNotAllowed,
    UnprotectedNotAllowed,
    UsesExceeded,
)
from fedmkt.privacy.accounts import (
    Account,
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    Window,
    accounts_for,
    fold,
)
from fedmkt.privacy.events import (
    Event,
    ExactEvent,
    GaussianEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
    Release,
)
from fedmkt.privacy.filter import FilterTerms, cost_nano, filter_terms
from fedmkt.privacy.ledger import Charge, Reservation, Standing, judge

ROOT = {"period_epsilon": 1.0, "period_days": 30, "lifetime_epsilon": 3.0}
EVENT = GaussianEvent(noise_multiplier=5.0, sigma=100.0, shares=1, dimensions=3)
ROOT_SCOPE = Scope("people")
LIFETIME = Window("lifetime", None)
SCORES = ExactEvent("scores")
ALIGNMENT = ExactEvent("alignment")
SIZES = ExactEvent("sizes")


def contract(*caps: Cap, datasets: tuple[str, ...] = ("cards",)) -> Collaboration:
    table = TableSchema(
        customer_key="customer",
        columns=(Column(name="age", kind="integer", bounds=(18, 90)),),
    )
    return Collaboration(
        name="spring",
        expires=datetime(2027, 1, 1, tzinfo=UTC),
        coordinator=Member(name="hub", key="0" * 64),
        members=(Member(name="bank", key="1" * 64),),
        datasets=tuple(
            Dataset(
                name=name,
                population="people",
                holders=("bank",),
                uses={"lookalike": ("bank",), "value": ("bank",)},
                table=table,
            )
            for name in datasets
        ),
        caps=caps,
    )


def planned(*caps: Cap) -> tuple[Account, ...]:
    collaboration = contract(Cap(dataset="cards", **ROOT), *caps)
    return accounts_for(collaboration, collaboration.datasets[0]).accounts


def asked(*events: Event) -> Reservation:
    releases = tuple(Release(index, f"sum {index}", event) for index, event in enumerate(events))
    return Reservation("run", "spring", "cards", "lookalike", "bank", releases)


def standing(budget: int, *, used: dict[str, int] | None = None, order: int = 10) -> Standing:
    limit = EpsilonLimit(2.0, 1e-5, FilterTerms(order, budget))
    return Standing(Account(ROOT_SCOPE, LIFETIME, limit), 7, used or {})


# --- caps to accounts -----------------------------------------------------------------------------


def test_an_epsilon_cap_opens_a_period_and_a_lifetime_account_each_with_its_own_order() -> None:
    period, lifetime = planned()
    assert period.window == Window("period", 30)
    assert lifetime.window == LIFETIME
    # The orders for epsilon 1 and 3 at delta 1e-5 that the filter's formula gives: 25 and 9.
    assert period.limit == EpsilonLimit(1.0, 1e-5, filter_terms(1.0, 1e-5))
    assert lifetime.limit == EpsilonLimit(3.0, 1e-5, filter_terms(3.0, 1e-5))
    orders = [one.limit.terms.order for one in (period, lifetime)]  # type: ignore[union-attr]
    assert orders == [25, 9]


def test_root_accounts_belong_to_the_population_and_others_to_the_dataset() -> None:
    accounts = planned(Cap(dataset="cards", purpose="value", lifetime_epsilon=1.0))
    assert [account.scope for account in accounts] == [
        ROOT_SCOPE,
        ROOT_SCOPE,
        Scope("people", "cards", "value"),
    ]


def test_each_uses_cap_is_an_account_over_rolling_days() -> None:
    cap = Cap(
        dataset="cards",
        requester="bank",
        uses_per_day=1,
        uses_per_week=2,
        uses_per_month=3,
        uses_lifetime=4,
    )
    found = [(one.window.days, one.limit) for one in planned(cap)[2:]]
    assert found == [(1, UsesLimit(1)), (7, UsesLimit(2)), (30, UsesLimit(3)), (None, UsesLimit(4))]


def test_caps_of_another_dataset_open_nothing_here() -> None:
    collaboration = contract(
        Cap(dataset="cards", **ROOT),
        Cap(dataset="visits", **ROOT),
        Cap(dataset="visits", purpose="value", lifetime_epsilon=1.0),
        datasets=("cards", "visits"),
    )
    cards, visits = (accounts_for(collaboration, one) for one in collaboration.datasets)
    assert len(cards.accounts) == 2
    assert len(visits.accounts) == 3
    assert {one.key for one in cards.accounts} < {one.key for one in visits.accounts}


def test_two_spellings_of_one_purpose_are_one_account_if_their_terms_agree() -> None:
    lower = Cap(dataset="cards", purpose="value", lifetime_epsilon=1.0)
    upper = Cap(dataset="cards", purpose="VALUE", lifetime_epsilon=1.0)
    assert len(planned(lower, upper)) == 3
    with pytest.raises(CapConflict):
        planned(lower, upper.model_copy(update={"lifetime_epsilon": 2.0}))


@pytest.mark.parametrize(
    "other", ["LOOKALIKE", "LookALike", "ｌｏｏｋａｌｉｋｅ", "lookalike\u00a0"]
)
def test_spellings_of_one_name_fold_alike(other: str) -> None:
    assert fold(other) == fold("lookalike")


@pytest.mark.parametrize("other", ["lookalikes", "look alike", "look-alike"])
def test_other_names_do_not_fold_alike(other: str) -> None:
    assert fold(other) != fold("lookalike")


@pytest.mark.parametrize("change", ["population", "dataset", "purpose", "requester"])
def test_a_scope_covers_a_use_unless_a_named_part_differs(change: str) -> None:
    use = Scope("people", "cards", "lookalike", "bank")
    parts = {"population": "people", "dataset": "cards", "purpose": "LookAlike"}
    same = Scope(**(parts | {"requester": "bank"}))
    other = Scope(**(parts | {"requester": "bank"} | {change: "another"}))
    assert same.covers(use)
    assert not other.covers(use)


def test_each_exact_cap_is_an_account_for_life() -> None:
    cap = Cap(dataset="cards", purpose="value", exact_scores_lifetime=40, alignments_lifetime=3)
    scope = Scope("people", "cards", "value")
    assert planned(cap)[2:] == (
        Account(scope, Window("exact_scores", None), ExactLimit(40)),
        Account(scope, Window("alignments", None), ExactLimit(3)),
    )


# --- judging --------------------------------------------------------------------------------------


def test_each_release_is_charged_to_each_account_at_that_accounts_order() -> None:
    enough = 10**12
    accounts = (standing(enough, order=10), standing(enough, order=20))
    charges = judge(asked(EVENT, EVENT), accounts)
    # A Gaussian costs order / (2 z^2) in RDP, Mironov 2017: 10 / 50 = 0.2 and 20 / 50 = 0.4.
    assert [charge.nano for charge in charges] == [200_000_000] * 2 + [400_000_000] * 2
    assert charges[1] == Charge(account_id=7, release=1, nano=cost_nano(EVENT, 10))


def test_what_is_left_to_the_nano_may_be_used_and_no_nano_more() -> None:
    cost = cost_nano(EVENT, 10)
    assert judge(asked(EVENT), [standing(cost + 5, used={"earlier": 5})])
    with pytest.raises(BudgetExceeded):
        judge(asked(EVENT), [standing(cost + 5, used={"earlier": 6})])


def test_all_accounts_must_pass() -> None:
    cost = cost_nano(EVENT, 10)
    with pytest.raises(BudgetExceeded):
        judge(asked(EVENT), [standing(10 * cost), standing(cost - 1)])


def test_a_budget_refusal_names_the_rule_the_amounts_and_the_runs_that_spent() -> None:
    cost = cost_nano(EVENT, 10)
    used = {"small": cost // 2, "large": cost}
    with pytest.raises(BudgetExceeded) as refusal:
        judge(asked(EVENT), [standing(2 * cost, used=used)])
    fields = refusal.value.fields
    # The cap of 2 stands for two costs, so one cost is 1 and half a cost is 0.5.
    assert (fields["requested"], fields["remaining"], fields["epsilon"]) == (1.0, 0.5, 2.0)
    assert fields["spent_by"] == "large 1, small 0.5"
    assert fields["cap"] == "lifetime of people"


def test_a_refusal_names_the_largest_runs_and_counts_the_others() -> None:
    used = {f"run-{number}": number for number in range(1, 9)}
    with pytest.raises(BudgetExceeded, match=r"Spent by: run-8 .* and 3 more"):
        judge(asked(EVENT), [standing(100, used=used)])


def test_a_first_refusal_says_that_nobody_spent() -> None:
    with pytest.raises(BudgetExceeded, match="nobody yet"):
        judge(asked(EVENT), [standing(1)])


def test_a_uses_limit_refuses_the_run_after_the_last_allowed() -> None:
    account = Account(ROOT_SCOPE, Window("uses_day", 1), UsesLimit(2))
    assert judge(asked(EVENT), [Standing(account, 1, {"one": 1})]) == ()
    with pytest.raises(UsesExceeded, match="2 uses a day; 2 are used up"):
        judge(asked(EVENT), [Standing(account, 1, {"one": 1, "two": 1})])


def test_an_event_without_noise_is_refused_by_an_epsilon_account_of_any_size() -> None:
    with pytest.raises(UnprotectedNotAllowed):
        judge(asked(EVENT, NonPrivateEvent(dimensions=3)), [standing(10**18)])


def test_an_event_without_noise_passes_where_only_uses_are_counted() -> None:
    account = Account(ROOT_SCOPE, Window("uses_day", 1), UsesLimit(2))
    assert judge(asked(NonPrivateEvent(dimensions=3)), [Standing(account, 1)]) == ()


def counted(
    window: str, allowed: int, *, used: dict[str, int] | None = None, number: int = 3
) -> Standing:
    account = Account(ROOT_SCOPE, Window(window, None), ExactLimit(allowed))  # type: ignore[arg-type]
    return Standing(account, number, used or {})


def test_a_randomised_label_is_charged_at_the_accounts_order() -> None:
    label = RandomisedResponseEvent(1.0)
    charges = judge(asked(label, label), [standing(10**12)])
    assert [charge.nano for charge in charges] == [cost_nano(label, 10)] * 2


def test_each_kind_of_exact_event_is_charged_to_its_own_account_and_to_no_epsilon() -> None:
    accounts = (
        standing(1),
        counted("exact_scores", 9, number=4),
        counted("alignments", 9, number=5),
    )
    charges = judge(asked(SCORES, ExactEvent("scores", 3), ALIGNMENT, SIZES), accounts)
    assert charges == (Charge(4, 0, 1), Charge(4, 1, 3), Charge(5, 2, 1))


def test_exact_releases_pass_where_history_overfilled_the_epsilon_account() -> None:
    accounts = (standing(5, used={"earlier": 6}), counted("exact_scores", 9))
    assert judge(asked(SCORES), accounts) == (Charge(3, 0, 1),)
    with pytest.raises(BudgetExceeded):
        judge(asked(SCORES, EVENT), accounts)


@pytest.mark.parametrize(
    ("event", "other", "what", "setting"),
    [
        (SCORES, "alignments", "exact scores", "exact_scores_lifetime"),
        (ALIGNMENT, "exact_scores", "alignments", "alignments_lifetime"),
    ],
)
def test_what_nothing_counts_is_refused_whatever_else_is_allowed(
    event: Event, other: str, what: str, setting: str
) -> None:
    uses = Standing(Account(ROOT_SCOPE, Window("uses_day", 1), UsesLimit(9)), 1)
    for accounts in ((), (standing(10**12), uses, counted(other, 9))):
        with pytest.raises(ExactScoresNotAllowed) as refusal:
            judge(asked(event), accounts)
        assert refusal.value.fields == {"what": what, "dataset": "cards", "setting": setting}


def test_exact_sizes_are_a_term_of_the_contract_and_charged_nowhere() -> None:
    assert judge(asked(SIZES), [standing(1), counted("alignments", 1, used={"a": 1})]) == ()


def test_an_exact_count_is_reached_and_not_passed_and_the_refusal_says_by_whom() -> None:
    used = {"first": 2, "second": 5}
    assert judge(asked(*[SCORES] * 3), [counted("exact_scores", 10, used=used)])
    with pytest.raises(ExactScoresExceeded) as refusal:
        judge(asked(*[SCORES] * 4), [counted("exact_scores", 10, used=used)])
    assert refusal.value.fields == {
        "cap": "exact scores for life of people",
        "dataset": "cards",
        "allowed": 10,
        "used": 7,
        "spent_by": "second 5, first 2",
        "asked": 4,
    }


def test_every_matching_count_must_allow_it() -> None:
    with pytest.raises(ExactScoresExceeded):
        judge(
            asked(SCORES), [counted("exact_scores", 9), counted("exact_scores", 1, used={"a": 1})]
        )


def test_a_used_up_count_of_one_kind_refuses_no_other() -> None:
    full = counted("alignments", 1, used={"a": 1})
    assert judge(asked(EVENT), [standing(10**12), full])
    assert judge(asked(SCORES), [counted("exact_scores", 1), full])


def test_an_exact_account_makes_no_release_without_noise_allowed() -> None:
    with pytest.raises(UnprotectedNotAllowed):
        judge(asked(NonPrivateEvent(3)), [standing(10**12), counted("exact_scores", 9)])


@pytest.mark.parametrize("multiplier", [float("nan"), float("inf"), 1e-320, 0.0, -1.0])
def test_noise_that_no_account_could_price_cannot_be_asked(multiplier: float) -> None:
    with pytest.raises(EpsilonInvalid):
        GaussianEvent(noise_multiplier=multiplier, sigma=100.0, shares=1, dimensions=3)


@pytest.mark.parametrize("field", ["run", "job", "dataset", "purpose", "requester", "releases"])
def test_a_reservations_hash_depends_on_every_field(field: str) -> None:
    base = {"run": "r", "job": "j", "dataset": "d", "purpose": "p", "requester": "q"}
    first = Reservation(**base, releases=asked(EVENT).releases)
    changed = {"releases": asked(EVENT, EVENT).releases} if field == "releases" else {field: "x"}
    other = Reservation(**({**base, "releases": asked(EVENT).releases} | changed))
    assert first.hash != other.hash
