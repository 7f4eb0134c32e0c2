"""What no epsilon bounds is counted for life, whatever order runs come in, and said so in words."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from end_to_end.shared_world import (
    FINE,
    OWNER,
    alignment_job,
    dataset_of,
    parties_of,
    run,
    terms_for,
    training_job,
    world_of,
)
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, Member
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import (
    BudgetExceeded,
    CapConflict,
    ExactScoresExceeded,
    ExactScoresNotAllowed,
    RequestConflict,
    RunRefused,
)
from fedmkt.privacy.accounts import accounts_for
from fedmkt.privacy.events import Event, ExactEvent, GaussianEvent, RandomisedResponseEvent, Release
from fedmkt.privacy.filter import cost_nano, filter_terms
from fedmkt.privacy.ledger import Reservation
from fedmkt.simulation.world import World
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore

SCORES, ALIGNMENT, SIZES = ExactEvent("scores"), ExactEvent("alignment"), ExactEvent("sizes")
NOISED = GaussianEvent(noise_multiplier=50.0, sigma=2.0**30, shares=1, dimensions=3)
LABEL = RandomisedResponseEvent(0.5)
ROOT = {"lifetime_epsilon": 3.0, "exact_scores_lifetime": 6, "alignments_lifetime": 2}


class Node:
    """A node's ledger under a contract, on disk: what a run may ask of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "node.db"
        self.clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
        self.store = NodeStore.open(self.path, self.clock)

    def agree(self, *caps: Cap, datasets: tuple[str, ...] = ("cards",)) -> None:
        """Open the accounts of a contract's datasets, all about one population."""
        contract = Collaboration(
            name="spring",
            expires=datetime(2027, 1, 1, tzinfo=UTC),
            coordinator=Member(name="hub", key="0" * 64),
            members=(Member(name="bank", key="1" * 64),),
            datasets=tuple(map(dataset, datasets)),
            caps=caps,
        )
        for one in contract.datasets:
            with self.store.transaction() as tx:
                LedgerStore(self.store).open_accounts(tx, accounts_for(contract, one))

    def reserve(self, name: str, *events: Event, **changed: str) -> None:
        with self.store.transaction() as tx:
            LedgerStore(self.store).reserve(tx, asked(name, *events, **changed))

    def send(self, name: str, *places: int) -> None:
        with self.store.transaction() as tx:
            for place in places:
                LedgerStore(self.store).commit(tx, name, place)

    def give_back(self, name: str) -> None:
        with self.store.transaction() as tx:
            LedgerStore(self.store).give_back(tx, name)

    def restart(self) -> None:
        self.store.close()
        self.store = NodeStore.open(self.path, self.clock)

    def used(self, window: str = "exact_scores") -> dict[tuple[str, str | None], int]:
        """What each dataset's scopes (by purpose) hold of a count."""
        with self.store.transaction() as tx:
            balances = LedgerStore(self.store).balances(tx)
        return {
            (balance.dataset, balance.purpose): one.used
            for balance in balances
            for one in balance.uses
            if one.window == window
        }

    def spent(self) -> int | None:
        """What the population's lifetime cap holds, in nano-RDP."""
        with self.store.transaction() as tx:
            return LedgerStore(self.store).balances(tx)[0].lifetime_used_nano


def dataset(name: str) -> Dataset:
    table = TableSchema(
        customer_key="customer",
        columns=(Column(name="age", kind="integer", bounds=(18, 90)),),
    )
    uses = {"lookalike": ("bank",), "value": ("bank",)}
    return Dataset(name=name, population="people", holders=("bank",), uses=uses, table=table)


def asked(name: str, *events: Event, **changed: str) -> Reservation:
    releases = tuple(Release(index, f"part {index}", event) for index, event in enumerate(events))
    names = {"job": "spring", "dataset": "cards", "purpose": "lookalike", "requester": "bank"}
    return Reservation(run=name, releases=releases, **(names | changed))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.store.close()


# --- counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1,) * 6, (6,), (2, 4), (5, 1)])
def test_a_count_is_reached_exactly_however_it_is_cut_and_one_more_is_refused(
    node: Node, counts: tuple[int, ...]
) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    for place, count in enumerate(counts):
        node.reserve(f"run-{place}", ExactEvent("scores", count))
    assert node.used() == {("cards", None): 6}
    with pytest.raises(ExactScoresExceeded) as refused:
        node.reserve("more", SCORES)
    assert (refused.value.fields["used"], refused.value.fields["asked"]) == (6, 1)
    assert refused.value.fields["cap"] == "exact scores for life of people"
    assert node.used() == {("cards", None): 6}


@pytest.mark.parametrize("events", [(ExactEvent("scores", 7),), (SCORES,) * 7])
def test_a_run_that_asks_for_more_than_all_of_it_gets_nothing_of_it(
    node: Node, events: tuple[Event, ...]
) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    with pytest.raises(ExactScoresExceeded, match="nobody yet"):
        node.reserve("all", *events)
    assert node.used() == {("cards", None): 0}
    node.reserve("less", ExactEvent("scores", 6))


def test_what_was_planned_counts_through_a_restart_and_comes_back_when_given_back(
    node: Node,
) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    node.reserve("first", *[SCORES] * 4)
    node.send("first", 0)
    node.restart()
    with pytest.raises(ExactScoresExceeded, match="first 4"):
        node.reserve("second", *[SCORES] * 3)
    node.give_back("first")
    node.restart()
    assert node.used() == {("cards", None): 1}
    node.reserve("second", *[SCORES] * 5)


def test_what_was_sent_counts_for_life_whatever_the_clock_says(node: Node) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    node.reserve("first", *[SCORES] * 6)
    node.send("first", *range(6))
    node.give_back("first")
    for days in (36_500, -73_000):
        node.clock.advance(timedelta(days=days))
        with pytest.raises(ExactScoresExceeded):
            node.reserve(f"after {days}", SCORES)


def test_the_same_reservation_again_counts_once_and_another_under_its_name_is_refused(
    node: Node,
) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    for _ in range(3):
        node.reserve("run", ExactEvent("scores", 3))
    assert node.used() == {("cards", None): 3}
    for other in (ExactEvent("scores", 2), ExactEvent("alignment", 3)):
        with pytest.raises(RequestConflict):
            node.reserve("run", other)


@pytest.mark.parametrize(
    ("caps", "event", "setting"),
    [
        ({"lifetime_epsilon": 3.0}, SCORES, "exact_scores_lifetime"),
        ({"lifetime_epsilon": 3.0}, ALIGNMENT, "alignments_lifetime"),
        ({"lifetime_epsilon": 3.0, "uses_lifetime": 99}, SCORES, "exact_scores_lifetime"),
        ({"lifetime_epsilon": 3.0, "alignments_lifetime": 9}, SCORES, "exact_scores_lifetime"),
        ({"lifetime_epsilon": 3.0, "exact_scores_lifetime": 9}, ALIGNMENT, "alignments_lifetime"),
    ],
)
def test_without_a_cap_of_its_own_kind_there_may_be_none(
    node: Node, caps: dict[str, float], event: Event, setting: str
) -> None:
    node.agree(Cap.model_validate({"dataset": "cards", **caps}))
    with pytest.raises(ExactScoresNotAllowed, match=f"Agree on {setting}") as refused:
        node.reserve("run", NOISED, event)
    assert refused.value.code == "exact_scores_not_allowed"
    node.reserve("run", NOISED, SIZES)  # exact sizes are a term of the contract, not a count


def test_exact_events_touch_no_epsilon_and_priced_ones_no_count(node: Node) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    node.reserve("exact", *[SCORES] * 3, ALIGNMENT, SIZES)
    assert node.spent() == 0
    node.reserve("priced", NOISED, LABEL)
    order = filter_terms(3.0, 1e-5).order
    assert node.spent() == cost_nano(NOISED, order) + cost_nano(LABEL, order)
    assert node.used() == {("cards", None): 3}
    assert node.used("alignments") == {("cards", None): 1}


def test_a_spent_epsilon_refuses_nothing_exact_and_a_spent_count_nothing_priced(
    node: Node,
) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    node.reserve("first label", LABEL)
    with pytest.raises(BudgetExceeded):
        node.reserve("more labels", RandomisedResponseEvent(1.5, labels=2))
    node.reserve("all scores", *[SCORES] * 6)
    with pytest.raises(ExactScoresExceeded):
        node.reserve("more scores", SCORES)
    node.reserve("alignment", ALIGNMENT)
    node.reserve("second label", LABEL)


# --- scopes -----------------------------------------------------------------------------------


def test_two_datasets_about_one_population_share_its_count(node: Node) -> None:
    node.agree(
        *(Cap(dataset=name, **ROOT) for name in ("cards", "visits")),
        datasets=("cards", "visits"),
    )
    node.reserve("first", *[SCORES] * 4, dataset="cards")
    with pytest.raises(ExactScoresExceeded, match="of people"):
        node.reserve("second", *[SCORES] * 3, dataset="visits")
    node.reserve("second", *[SCORES] * 2, dataset="VISITS")
    assert node.used() == {("cards", None): 6, ("visits", None): 6}


def test_a_purposes_own_cap_refuses_alone_and_its_root_refuses_all(node: Node) -> None:
    node.agree(
        Cap(dataset="cards", **ROOT),
        Cap(dataset="cards", purpose="value", exact_scores_lifetime=2),
    )
    node.reserve("first", *[SCORES] * 2, purpose="value")
    with pytest.raises(ExactScoresExceeded, match="of cards, purpose value"):
        node.reserve("second", SCORES, purpose="Value")
    node.reserve("other purpose", *[SCORES] * 4)
    with pytest.raises(ExactScoresExceeded, match="Cap exact scores for life of people "):
        node.reserve("third", SCORES)
    assert node.used() == {("cards", None): 6, ("cards", "value"): 2}


def test_a_purposes_cap_allows_that_purpose_of_that_dataset_alone(node: Node) -> None:
    node.agree(
        *(Cap(dataset=name, lifetime_epsilon=3.0) for name in ("cards", "visits")),
        Cap(dataset="cards", purpose="value", exact_scores_lifetime=2),
        datasets=("cards", "visits"),
    )
    node.reserve("first", SCORES, purpose="VALUE")
    for name, changed in (("a", {}), ("b", {"purpose": "value", "dataset": "visits"})):
        with pytest.raises(ExactScoresNotAllowed):
            node.reserve(name, SCORES, **changed)


def test_a_requesters_cap_counts_that_requester_alone(node: Node) -> None:
    node.agree(
        Cap(dataset="cards", **ROOT),
        Cap(dataset="cards", requester="bank", alignments_lifetime=1),
    )
    node.reserve("first", ALIGNMENT)
    with pytest.raises(ExactScoresExceeded, match="requester bank"):
        node.reserve("second", ALIGNMENT)
    node.reserve("second", ALIGNMENT, requester="retailer")


def test_a_cap_agreed_on_later_is_charged_with_what_its_scope_showed_before(node: Node) -> None:
    root = Cap(dataset="cards", **ROOT)
    node.agree(root)
    node.reserve("sent", *[SCORES] * 3, purpose="value")
    node.send("sent", 0, 1)
    node.give_back("sent")
    node.reserve("planned", SCORES, ALIGNMENT, purpose="value")
    node.reserve("elsewhere", SCORES)
    node.agree(root, Cap(dataset="cards", purpose="value", exact_scores_lifetime=2))
    # Two sent and one planned, of the two that are allowed from now on.
    assert node.used() == {("cards", None): 4, ("cards", "value"): 3}
    with pytest.raises(ExactScoresExceeded, match="sent 2, planned 1"):
        node.reserve("next", SCORES, purpose="value")
    node.reserve("next", ALIGNMENT, purpose="value")
    node.reserve("another purpose", *[SCORES] * 2)


def test_agreeing_again_on_another_count_is_a_conflict(node: Node) -> None:
    node.agree(Cap(dataset="cards", **ROOT))
    node.reserve("first", *[SCORES] * 6)
    for changed in ({"exact_scores_lifetime": 7}, {"alignments_lifetime": 3}):
        with pytest.raises(CapConflict):
            node.agree(Cap(dataset="cards", **(ROOT | changed)))
    node.agree(Cap(dataset="cards", **ROOT))
    with pytest.raises(ExactScoresExceeded):
        node.reserve("second", SCORES)


# --- what an officer reads --------------------------------------------------------------------

TWO = (OWNER, "retailer")
Told = Callable[..., str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two alignments and one training, and a third and a second that were refused."""
    everybody = parties_of(300)
    parties = {member: everybody[member] for member in TWO}
    terms = terms_for(parties, exact_scores=3, alignments=2)
    made = world_of(tmp_path_factory.mktemp("counted"), parties, terms)
    align = alignment_job(("retailer",))
    run(made, align, "aligned")
    run(made, alignment_job(("retailer",), exact=False), "noised")
    settings = FINE.model_copy(update={"rounds": 2, "max_bins": 8})
    train = training_job(
        parties,
        ("retailer",),
        mode="label_private",
        epsilon=2.0,
        settings=settings,
        alignment="aligned",
    )
    run(made, train, "trained")
    for name, job in (("third alignment", align), ("second training", train)):
        with pytest.raises(RunRefused):
            run(made, job, name.replace(" ", "-"))
    yield made
    made.close()


@pytest.fixture
def told(world: World) -> Told:
    def once(member: str, *command: str) -> str:
        home = ["--home", str(world.node(member))]
        done = CliRunner().invoke(app, ["ledger", *command, *home], env={"COLUMNS": "150"})
        assert done.exit_code == 0, done.output
        return done.output

    return once


@pytest.mark.parametrize(("member", "scores"), [("retailer", (3, 2, 1)), (OWNER, (3, 0, 3))])
def test_the_table_shows_counts_beside_epsilon(
    told: Told, member: str, scores: tuple[int, int, int]
) -> None:
    shown = told(member, "show")
    rows = [line.split() for line in shown.splitlines()]
    name = dataset_of(member)
    assert [name, "all", "exact", "scores", "for", "life", *map(str, scores)] in rows
    assert [name, "all", "alignments", "for", "life", "2", "2", "0"] in rows
    (life,) = (row for row in rows if row[:3] == [name, "all", "life"])
    # The cap of 50; what was spent follows from noised sizes, at the owner from labels too.
    assert life[3] == "50.000", rows
    assert (float(life[6]) > 2.0) == (member == OWNER)
    assert "no epsilon bounds them" in " ".join(shown.split())


def test_an_alignment_with_exact_sizes_claims_no_epsilon(told: Told) -> None:
    said = told("retailer", "explain", "aligned")
    assert "Together" not in said
    assert "which of their own customers they share; counted, since no epsilon bounds it" in said
    assert said.count("it is stated exactly, as the contract allows") == 2
    # Two sizes and one alignment: sizes are no count.
    assert "no epsilon bounds: 3, of which 1 count against caps for life" in said
    assert "Of the cap of 2 alignments for life (all purposes and all requesters) it took 1" in said
    assert "exact scores for life" not in said


def test_an_alignment_with_noised_sizes_claims_epsilon_for_the_sizes_alone(told: Told) -> None:
    said = told(OWNER, "explain", "noised")
    assert "Together its noised releases are epsilon" in said
    assert "from this run" not in said
    assert "no epsilon bounds: 1, of which 1 count against caps for life" in said


def test_scores_shown_by_a_partner_are_explained_as_a_count(told: Told) -> None:
    said = told("retailer", "explain", "trained")
    assert "Together" not in said
    assert said.count("it shows the label owner one exact total a customer") == 2
    assert (
        "Of the cap of 3 exact scores for life (all purposes and all requesters) it took 2" in said
    )
    assert "1 left now" in said


def test_randomised_labels_are_explained_by_their_chance_and_their_epsilon(told: Told) -> None:
    said = told(OWNER, "explain", "trained")
    # 1 / (1 + e^2) = 11.9%, e^2 = 7.39.
    assert "11.9%" in said
    assert "Together that is epsilon 2.000 at delta 1e-05" in said
    assert "at most 7.39 times as likely" in said
    assert "because the customer's label was as it was" in said
    assert "Of the cap of epsilon 50 for life (all purposes and all requesters)" in said
    assert "no epsilon bounds" not in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("third-alignment", "allows 2 for life; 2 are used up by: aligned 1, noised 1"),
        ("second-training", "allows 3 for life; 2 are used up by: trained 2"),
    ],
)
def test_a_run_past_a_count_is_explained_by_who_used_it_up(
    told: Told, name: str, reason: str
) -> None:
    said = told("retailer", "explain", name)
    assert "was refused under rule exact_scores_exceeded and spent nothing" in said
    assert reason in said
