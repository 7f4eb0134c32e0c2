"""Vertical runs that go wrong: what is spent, what is kept, and that the next run works."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from end_to_end.relay import Relay, Rounds
from end_to_end.shared_trial import (
    SHORT,
    Trial,
    check_logs,
    entries_of,
    failing,
    kept_by,
    losing,
    missing,
    states_of,
    twin_of,
)
from end_to_end.shared_world import (
    FINE,
    OWNER,
    PARTNERS,
    alignment_job,
    copied,
    expansion_job,
    home_of,
    parties_of,
    run,
    scoring_job,
    terms_for,
    training_job,
    world_of,
)

from fedmkt.contract.vertical_jobs import ScoringJob, VerticalJob
from fedmkt.coordinator import app
from fedmkt.coordinator.vertical import added
from fedmkt.core.errors import (
    AlignmentUnknown,
    ModelUnknown,
    NodeFailed,
    QuorumLost,
    RequestConflict,
    RunRefused,
    SeedTooSmall,
)
from fedmkt.node import vertical_owner
from fedmkt.node.alignments import keep_alignment, read_alignment
from fedmkt.node.app import forget_nodes
from fedmkt.node.model_parts import read_part
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World, write_table
from fedmkt.wire.shared import (
    BlindRequest,
    DoneReply,
    FinishRequest,
    HopRequest,
    ListReply,
    MatchReply,
    MatchRequest,
    NoisedReply,
    NoisedRequest,
    ProductsRequest,
    ResidualsReply,
    ResidualsRequest,
    ResultRequest,
    ScoresReply,
    ScoresRequest,
    SealedReply,
)
from fedmkt.wire.training import MaskRequest

PEOPLE = 400
ROUNDS = 2
SETTINGS = FINE.model_copy(update={"rounds": ROUNDS, "max_bins": 6})
EVERYBODY = (OWNER, *PARTNERS)
TWO = (OWNER, "retailer", "map_provider")
ALONE = (OWNER, "retailer")


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    return parties_of(PEOPLE)


@pytest.fixture(scope="module")
def aligned(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    terms = terms_for(parties, noised=False)
    world = world_of(tmp_path_factory.mktemp("aligned"), parties, terms)
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


@pytest.fixture
def world(aligned: World, tmp_path: Path) -> Iterator[World]:
    made = copied(aligned, tmp_path)
    yield made
    made.close()


@pytest.fixture
def job(parties: dict[str, PartyData]) -> VerticalJob:
    return training_job(parties, settings=SETTINGS)


@pytest.fixture
def restarting(parties: dict[str, PartyData]) -> VerticalJob:
    return training_job(parties, settings=SETTINGS, restart=True)


def is_finished(world: World, job: VerticalJob, name: str) -> None:
    """Check that a run ended as its twin does, and that every release is spent once."""
    twin = twin_of(world, job, name)
    for member, model in zip(job.members, twin.models, strict=True):
        assert np.array_equal(read_part(home_of(world, member), name).model.effects, model.effects)
        assert states_of(world, member, name) == ["spent"] * ROUNDS


# --- a partner is lost ------------------------------------------------------------------------


def test_a_lost_partner_is_left_out_and_everybody_is_charged_anew(
    world: World, restarting: VerticalJob
) -> None:
    gone = missing(world, "weather_service", "scores/1", once=False)
    outcome = Trial(world, wrap=gone).run(restarting, "run-1")
    assert outcome.lost == ("weather_service",)
    assert outcome.run == "run-1 without weather_service"
    # One round was made and stays spent; what was not sent came back.
    assert states_of(world, OWNER, "run-1") == ["spent", "spent"]
    assert states_of(world, "retailer", "run-1") == ["spent", "spent"]
    # Nobody could tell the lost one: what is unknown stays reserved.
    assert states_of(world, "weather_service", "run-1") == ["spent", "planned"]
    is_finished(world, restarting.without(("weather_service",)), outcome.run)
    assert kept_by(world, "weather_service") == set()
    assert entries_of(world, "weather_service", outcome.run) == ()
    check_logs(world)
    # All are back, and the next run needs nothing of it.
    run(world, restarting, "run-2")
    is_finished(world, restarting, "run-2")


def test_a_partner_whose_node_fails_is_told_and_gives_back(
    world: World, restarting: VerticalJob
) -> None:
    broken = failing(world, "map_provider", "products/1")
    outcome = Trial(world, open_handler=broken).run(restarting, "run-1")
    assert outcome.lost == ("map_provider",)
    for member in EVERYBODY:
        assert states_of(world, member, "run-1") == ["spent", "returned"]
        assert "run-1" not in runs_with_parts(world, member)
    is_finished(world, restarting.without(outcome.lost), outcome.run)
    check_logs(world)


def runs_with_parts(world: World, member: str) -> list[str]:
    """Return the runs of this file's tests of which a member keeps a part."""
    found = []
    for name in ("run-1", *(f"run-1 without {one}" for one in PARTNERS)):
        try:
            found.append(read_part(home_of(world, member), name).run)
        except ModelUnknown:
            continue
    return found


def test_a_restart_has_keys_of_its_own(world: World, restarting: VerticalJob) -> None:
    before = Rounds(world, restarting).begin()
    lost = ("weather_service",)
    after = Rounds(world, restarting.without(lost), "run-1 without weather_service")
    after.bundles = after.open(restarting, after.job.members, lost=lost)
    for member in after.job.members:
        assert before.bundles[member] != after.bundles[member]
        assert before.state(member).keys.secret != after.state(member).keys.secret
        assert before.state(member).keys.derive_secret("products/0") != (
            after.state(member).keys.derive_secret("products/0")
        )


def test_without_the_orders_word_a_loss_stops_the_run_until_the_node_is_back(
    world: World, job: VerticalJob
) -> None:
    lost = losing(world, "retailer", "products/1")
    with pytest.raises(QuorumLost):
        Trial(world, lose=lost, patience=replace(SHORT, exchange_s=3.0)).run(job, "run-1")
    assert states_of(world, "retailer", "run-1") == ["spent", "planned"]
    assert all(kept_by(world, member) == set() for member in EVERYBODY)
    outcome = Trial(world).run(job, "run-1")
    assert outcome.lost == ()
    is_finished(world, job, "run-1")
    check_logs(world)


def test_a_failed_node_stops_the_run_until_it_is_mended(world: World, job: VerticalJob) -> None:
    with pytest.raises(NodeFailed):
        Trial(world, open_handler=failing(world, "retailer", "scores/0")).run(job, "run-1")
    assert states_of(world, "retailer", "run-1") == ["planned", "planned"]
    Trial(world).run(job, "run-1")
    is_finished(world, job, "run-1")


@pytest.mark.parametrize("step", ["noised/0", "result"])
def test_a_lost_owner_is_waited_for(world: World, restarting: VerticalJob, step: str) -> None:
    with pytest.raises(QuorumLost):
        Trial(world, wrap=missing(world, OWNER, step)).run(restarting, "run-1")
    assert Trial(world).run(restarting, "run-1").lost == ()
    is_finished(world, restarting, "run-1")


def test_with_two_partners_a_loss_is_waited_for(
    world: World, parties: dict[str, PartyData]
) -> None:
    two = training_job(parties, PARTNERS[:2], settings=SETTINGS, restart=True)
    with pytest.raises(QuorumLost):
        Trial(world, wrap=missing(world, "retailer", "scores/1")).run(two, "run-1")
    Trial(world).run(two, "run-1")
    is_finished(world, two, "run-1")


def test_a_partner_lost_at_the_end_is_waited_for_and_nothing_is_paid_twice(
    world: World, restarting: VerticalJob
) -> None:
    with pytest.raises(QuorumLost) as lost:
        Trial(world, wrap=missing(world, "retailer", "close")).run(restarting, "run-1")
    assert lost.value.fields["step"] == "close"
    outcome = Trial(world).run(restarting, "run-1")
    assert set(outcome.receipts) == set(EVERYBODY)
    is_finished(world, restarting, "run-1")
    assert entries_of(world, OWNER, "run-1 without retailer") == ()


def test_a_coordinator_that_stops_while_it_tells_of_a_loss_goes_on_without_the_lost(
    world: World, restarting: VerticalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        """The coordinator's process is gone."""

    def stop(talk: object) -> None:
        told(talk)
        raise Stopped

    told = app.abandon_run
    monkeypatch.setattr(app, "abandon_run", stop)
    broken = failing(world, "retailer", "scores/0")
    with pytest.raises(Stopped):
        Trial(world, open_handler=broken).run(restarting, "run-1")
    monkeypatch.undo()
    assert Trial(world).run(restarting, "run-1").lost == ("retailer",)
    # Whoever the first run was over for was not taken for lost in turn.
    assert runs_with_parts(world, "map_provider") == ["run-1 without retailer"]


def test_a_node_put_back_to_an_older_copy_is_left_out(
    world: World, restarting: VerticalJob
) -> None:
    with pytest.raises(QuorumLost):
        Trial(world, wrap=missing(world, OWNER, "noised/0")).run(restarting, "run-1")
    store = world.node("retailer")
    forget_nodes([store])
    backup = {path: path.read_bytes() for path in store.glob("node.db*")}
    with pytest.raises(QuorumLost):
        Trial(world, wrap=missing(world, OWNER, "residuals/1")).run(restarting, "run-1")
    forget_nodes([store])
    for path in store.glob("node.db*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    outcome = Trial(world).run(restarting, "run-1")
    assert outcome.lost == ("retailer",)
    # Its log knows of the release that its store forgot.
    assert states_of(world, "retailer", "run-1")[0] == "spent"


# --- a partner finds the protocol broken ------------------------------------------------------


def test_a_partner_that_refuses_chosen_sums_is_not_left_out(
    world: World, restarting: VerticalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = vertical_owner.opening.open_noised

    def cheating(key: Any, data: bytes, noise: np.ndarray, *, member: str) -> bytes:
        far = np.full_like(noise, 10_000 * 4096) if member == "retailer" else noise
        return honest(key, data, far, member=member)

    monkeypatch.setattr(vertical_owner.opening, "open_noised", cheating)
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(restarting, "run-1")
    assert failed.value.fields["error"] == "totals_implausible"
    monkeypatch.undo()
    # Whether it refuses depends on its columns: that is one answer, and it counts.
    assert states_of(world, "retailer", "run-1") == ["spent", "returned"]
    assert states_of(world, OWNER, "run-1") == ["spent", "returned"]
    assert all(kept_by(world, member) == set() for member in EVERYBODY)
    check_logs(world)
    run(world, restarting, "run-2")
    is_finished(world, restarting, "run-2")


# --- what a node refuses ----------------------------------------------------------------------


def changed_table(world: World, party: PartyData) -> Callable[[], None]:
    """Change one declared cell of an aligned customer; return what mends it."""
    path = world.node("retailer") / "customers.parquet"
    key = read_alignment(home_of(world, "retailer"), "alignment").customer_keys[0]
    column, before = party.schema.columns[0].name, path.read_bytes()
    other = party.table.filter(pl.col(party.schema.customer_key) != key)[column]
    mine = party.table.filter(pl.col(party.schema.customer_key) == key)[column][0]
    changed = party.table.with_columns(
        pl.when(pl.col(party.schema.customer_key) == key)
        .then(pl.lit(other.filter(other != mine)[0]))
        .otherwise(pl.col(column))
        .alias(column)
    )
    write_table(path, changed)
    return lambda: path.write_bytes(before) and None


def removed_customer(world: World, party: PartyData) -> Callable[[], None]:
    path = world.node("retailer") / "customers.parquet"
    key = read_alignment(home_of(world, "retailer"), "alignment").customer_keys[0]
    before = path.read_bytes()
    write_table(path, party.table.filter(pl.col(party.schema.customer_key) != key))
    return lambda: path.write_bytes(before) and None


def withdrawn_consent(world: World, party: PartyData) -> Callable[[], None]:
    path = world.node("retailer") / "consent.parquet"
    key = read_alignment(home_of(world, "retailer"), "alignment").customer_keys[0]
    before = path.read_bytes()
    withdrawn = party.consent.filter(pl.col("key") == key).head(1)
    withdrawn = withdrawn.with_columns(
        status=pl.lit("withdrawn"), time=pl.lit("2026-01-01T00:00:00Z")
    )
    write_table(path, pl.concat([party.consent, withdrawn]))
    return lambda: path.write_bytes(before) and None


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (changed_table, "table_changed"),
        (removed_customer, "table_changed"),
        (withdrawn_consent, "consent_withdrawn"),
    ],
)
def test_customers_other_than_those_aligned_are_refused_and_nobody_pays(
    world: World,
    parties: dict[str, PartyData],
    job: VerticalJob,
    spoil: Callable[[World, PartyData], Callable[[], None]],
    rule: str,
) -> None:
    mend = spoil(world, parties["retailer"])
    refused(world, job, "run-1", rule)
    nobody_paid(world, "run-1")
    mend()
    run(world, job, "run-2")
    is_finished(world, job, "run-2")
    check_logs(world)


def test_a_table_that_changes_in_the_middle_is_refused_by_a_node_that_reads_it_anew(
    world: World, parties: dict[str, PartyData], job: VerticalJob
) -> None:
    with pytest.raises(QuorumLost):
        Trial(world, wrap=missing(world, OWNER, "residuals/1")).run(job, "run-1")
    mend = changed_table(world, parties["retailer"])
    forget_nodes([world.node("retailer")])
    refused(world, job, "run-1", "table_changed")
    for member in EVERYBODY:
        assert states_of(world, member, "run-1") == ["spent", "returned"]
        assert kept_by(world, member) == set()
    mend()
    run(world, job, "run-2")
    is_finished(world, job, "run-2")


def test_consent_withdrawn_in_the_middle_stops_a_node_that_holds_the_rows(
    rounds: Rounds, parties: dict[str, PartyData]
) -> None:
    world = rounds.world
    told = rounds.residuals(0)
    mend = withdrawn_consent(world, parties["retailer"])
    asked = rounds.products_request(0, told, "retailer")
    assert rounds.refusal("retailer", "products/0", asked) == "consent_withdrawn"
    # Nothing was computed of anybody, so nothing is spent, and the run waits.
    assert rounds.states("retailer") == ["planned"] * ROUNDS
    mend()
    noised = rounds.noised(0, rounds.products(0, told))
    goes_on(rounds, added(list(rounds.scores(0, noised).values())), from_round=1)


def test_another_purpose_than_the_alignments_is_refused(world: World, job: VerticalJob) -> None:
    other = job.model_copy(update={"purpose": "measurement"})
    refused(world, other, "run-1", "alignment_unknown")
    nobody_paid(world, "run-1")


def test_an_alignment_nobody_made_is_refused(world: World, job: VerticalJob) -> None:
    refused(world, job.model_copy(update={"alignment": "elsewhere"}), "run-1", "alignment_unknown")
    nobody_paid(world, "run-1")


def test_a_wrong_label_column_is_refused(world: World, parties: dict[str, PartyData]) -> None:
    job = training_job(parties, settings=SETTINGS, owner_features=False, target="workclass")
    refused(world, job, "run-1", "column_not_allowed")
    nobody_paid(world, "run-1")


def test_members_with_different_alignments_under_one_name_stop_before_anything_is_computed(
    world: World, job: VerticalJob
) -> None:
    home = home_of(world, "retailer")
    honest = read_alignment(home, "alignment")
    keep_alignment(home, replace(honest, digest="0" * 64))
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(job, "run-1")
    assert failed.value.fields["error"] == "alignment_mismatch"
    # The owner found it, and what it found is an answer.
    assert states_of(world, OWNER, "run-1") == ["spent", "returned"]
    for member in PARTNERS:
        assert states_of(world, member, "run-1") == ["returned"] * ROUNDS
    keep_alignment(home, honest)
    run(world, job, "run-2")
    is_finished(world, job, "run-2")
    check_logs(world)


def test_a_constant_column_is_named_at_its_node_and_costs_nothing(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in ALONE}
    world = world_of(tmp_path, two, terms_for(two, noised=False))
    table = parties["retailer"].table
    first = table["marital_status"].drop_nulls()[0]
    constant = table.with_columns(marital_status=pl.lit(first))
    write_table(world.node("retailer") / "customers.parquet", constant)
    run(world, alignment_job(("retailer",)), "alignment")
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(training_job(parties, ("retailer",), settings=SETTINGS), "run-1")
    assert failed.value.fields["error"] == "column_constant"
    for member in ALONE:
        assert set(states_of(world, member, "run-1")) == {"returned"}
    named = (world.node("retailer") / "audit.log").read_text()
    assert "column_constant" in named
    check_logs(world)
    world.close()


def test_labels_of_one_class_are_refused_by_the_noised_total(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in ALONE}
    world = world_of(tmp_path, two, terms_for(two))
    path = world.node(OWNER) / "customers.parquet"
    before = path.read_bytes()
    write_table(path, parties[OWNER].table.with_columns(income=pl.lit("<=50K")))
    run(world, alignment_job(("retailer",)), "alignment")
    job = training_job(parties, ("retailer",), mode="encrypted", epsilon=8.0, settings=SETTINGS)
    refused(world, job, "run-1", "positives_too_few")
    # The refusal tells something of the noised total, so that total counts as released.
    assert states_of(world, OWNER, "run-1") == ["spent", "returned"]
    assert states_of(world, "retailer", "run-1") == ["returned", "returned"]
    for member in ALONE:
        assert kept_by(world, member) == set()
    path.write_bytes(before)
    forget_nodes([world.node(OWNER)])
    run(world, alignment_job(("retailer",)), "again")
    run(world, job.model_copy(update={"alignment": "again"}), "run-2")
    check_logs(world)
    world.close()


def test_what_an_alignment_stated_under_the_minimum_is_not_used(
    world: World, parties: dict[str, PartyData], job: VerticalJob
) -> None:
    home = home_of(world, "retailer")
    honest = read_alignment(home, "alignment")
    keep_alignment(home, replace(honest, overlap=49))  # the contract's minimum is 50
    refused(world, job, "run-1", "overlap_too_small")
    nobody_paid(world, "run-1")
    keep_alignment(home, replace(honest, overlap=50))
    run(world, job, "run-2")
    is_finished(world, job, "run-2")


def test_exact_scores_are_counted_for_life_over_trainings_and_scorings(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in ALONE}
    terms = terms_for(two, noised=False, exact_scores=ROUNDS + 1)
    world = world_of(tmp_path, two, terms)
    run(world, alignment_job(("retailer",)), "alignment")
    job = training_job(parties, ("retailer",), settings=SETTINGS)
    run(world, job, "run-1")
    refused(world, job, "run-2", "exact_scores_exceeded")
    assert states_of(world, OWNER, "run-2") == ["returned"] * ROUNDS
    assert entries_of(world, "retailer", "run-2") == ()
    run(world, scoring_job("run-1", ("retailer",)), "scores-1")
    refused(world, scoring_job("run-1", ("retailer",)), "scores-2", "exact_scores_exceeded")
    check_logs(world)
    world.close()


def test_without_a_cap_on_exact_scores_there_is_no_training(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in ALONE}
    world = world_of(tmp_path, two, terms_for(two, noised=False, exact_scores=None))
    run(world, alignment_job(("retailer",)), "alignment")
    job = training_job(parties, ("retailer",), settings=SETTINGS)
    refused(world, job, "run-1", "exact_scores_not_allowed")
    world.close()


def test_an_owners_spent_budget_is_refused_and_partners_get_theirs_back(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in ALONE}
    world = world_of(tmp_path, two, terms_for(two, epsilon=5.0))
    run(world, alignment_job(("retailer",)), "alignment")
    job = training_job(parties, ("retailer",), mode="encrypted", epsilon=4.0, settings=SETTINGS)
    run(world, job, "run-1")
    refused(world, job, "run-2", "budget_exceeded")
    assert states_of(world, "retailer", "run-2") == ["returned"] * ROUNDS
    assert entries_of(world, OWNER, "run-2") == ()
    run(world, scoring_job("run-1", ("retailer",)), "scores-1")
    check_logs(world)
    world.close()


def test_an_expansion_over_fewer_shared_customers_than_agreed_is_refused_and_costs_nothing(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in (OWNER, "map_provider")}
    seed = {"map_provider": {"least_seed": PEOPLE}}  # nobody's overlap is all people
    world = world_of(tmp_path, two, terms_for(two, vertical=seed))
    run(world, alignment_job(("map_provider",)), "alignment")
    how: dict[str, Any] = {"mode": "encrypted", "epsilon": 8.0, "settings": SETTINGS}
    run(world, training_job(parties, ("map_provider",), **how), "run-1")
    refused(world, expansion_job("run-1", parties), "grown", SeedTooSmall.code)
    for member in two:
        assert set(states_of(world, member, "grown")) <= {"returned"}
    world.close()


def refused(world: World, job: object, name: str, rule: str) -> None:
    """Check that a run is refused by a rule, and that nobody keeps anything of it."""
    with pytest.raises(RunRefused) as no:
        Trial(world).run(job, name)
    assert no.value.fields["rule"] == rule


def nobody_paid(world: World, name: str) -> None:
    """Check that every member got back what it had reserved, and keeps nothing."""
    for member in EVERYBODY:
        assert set(states_of(world, member, name)) <= {"returned"}
        assert kept_by(world, member) == set()


# --- a coordinator that breaks the protocol ---------------------------------------------------


@pytest.fixture
def rounds(world: World, parties: dict[str, PartyData]) -> Rounds:
    job = training_job(parties, PARTNERS[:2], settings=SETTINGS)
    return Rounds(world, job).begin()


def goes_on(rounds: Rounds, total: bytes, *, from_round: int) -> None:
    """Check that the honest run goes on to the twin's model after what was refused."""
    for index in range(from_round, ROUNDS):
        total = rounds.round(index, total)
    rounds.finish(total)
    is_finished(rounds.world, rounds.job, rounds.run)
    check_logs(rounds.world)


def ends(rounds: Rounds, member: str, step: str, body: Any, error: str) -> None:
    """Check that a message ends the run at a member, and that its next release counts as made."""
    before = rounds.states(member)
    assert rounds.failure(member, step, body) == error
    assert rounds.failure(member, step, body) == "run_not_open"
    assert rounds.failure(member, "result", ResultRequest(total=b"")) == "run_not_open"
    after = list(before)
    after[before.index("planned")] = "spent"
    assert rounds.states(member) == after
    rounds.close(rounds.job.members, finished=True)
    assert rounds.states(member) == [one.replace("planned", "returned") for one in after]
    assert kept_by(rounds.world, member) == set()
    check_logs(rounds.world)


def short(total: bytes) -> bytes:
    return total[:-4]


def long(total: bytes) -> bytes:
    return total + total[:4]


def cut(total: bytes) -> bytes:
    return total[:-1]


@pytest.mark.parametrize("spoil", [lambda _: b"", short, long, cut])
def test_a_total_of_the_wrong_length_ends_the_run(
    rounds: Rounds, spoil: Callable[[bytes], bytes]
) -> None:
    total = rounds.round(0)
    asked = rounds.residuals_request(1, spoil(total))
    ends(rounds, OWNER, "residuals/1", asked, "message_invalid")


def test_a_total_that_lacks_a_partner_ends_the_run(rounds: Rounds) -> None:
    masked = rounds.scores(0, rounds.until_noised(0))
    asked = rounds.residuals_request(1, next(iter(masked.values())))
    ends(rounds, OWNER, "residuals/1", asked, "message_invalid")


def test_the_total_of_another_round_ends_the_run(rounds: Rounds) -> None:
    first = rounds.round(0)
    rounds.residuals(1, first)
    assert rounds.states(OWNER) == ["spent", "planned"]
    rounds.noised(1, rounds.products(1, rounds.residuals(1, first)))
    assert rounds.failure(OWNER, "result", ResultRequest(total=first)) == "message_invalid"
    # All that was planned is spent; the run is over all the same.
    assert rounds.states(OWNER) == ["spent", "spent"]
    assert rounds.failure(OWNER, "result", ResultRequest(total=first)) == "run_not_open"


Parts = Callable[[str, str, dict[str, bytes]], dict[str, bytes]]
WRONG_PARTS: list[tuple[Parts, str]] = [
    (lambda one, other, sealed: {one: sealed[other], other: sealed[one]}, "seal_broken"),
    (lambda one, _, sealed: {one: sealed[one]}, "message_invalid"),
    (lambda _, __, sealed: {}, "message_invalid"),
    (lambda one, _, sealed: {**sealed, "weather_service": sealed[one]}, "message_invalid"),
    (lambda one, other, sealed: {one: sealed[one], other: sealed[one]}, "seal_broken"),
]


@pytest.mark.parametrize(("spoil", "error"), WRONG_PARTS)
def test_partners_parts_that_are_swapped_or_left_out_end_the_run(
    rounds: Rounds, spoil: Parts, error: str
) -> None:
    sealed = rounds.products(0, rounds.residuals(0))
    asked = NoisedRequest(index=0, sealed=spoil(*rounds.job.partners, sealed))
    ends(rounds, OWNER, "noised/0", asked, error)


def test_noised_sums_of_another_partner_end_the_run(rounds: Rounds) -> None:
    one, other = rounds.job.partners
    noised = rounds.until_noised(0)
    asked = ScoresRequest(index=0, sealed=noised[other])
    ends(rounds, one, "scores/0", asked, "seal_broken")


def test_the_residuals_of_another_partner_end_the_run(rounds: Rounds) -> None:
    told = rounds.residuals(0)
    one, other = rounds.job.partners
    crossed = told.model_copy(update={"keys": {one: told.keys[other], other: told.keys[one]}})
    asked = rounds.products_request(0, crossed, one)
    ends(rounds, one, "products/0", asked, "seal_broken")


def test_the_residuals_of_another_round_end_the_run(rounds: Rounds) -> None:
    told = rounds.residuals(0)
    noised = rounds.noised(0, rounds.products(0, told))
    rounds.residuals(1, added(list(rounds.scores(0, noised).values())))
    one = rounds.job.partners[0]
    ends(rounds, one, "products/1", rounds.products_request(1, told, one), "seal_broken")


def test_what_fails_for_no_foreseen_reason_ends_the_run_too(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(vertical_owner, "_units", fails)
    with pytest.raises(ZeroDivisionError):
        rounds.residuals(0)
    monkeypatch.undo()
    assert rounds.states(OWNER) == ["spent", "planned"]
    asked = rounds.residuals_request(0)
    assert rounds.failure(OWNER, "residuals/0", asked) == "run_not_open"


def test_a_failure_whose_store_was_lost_counts_by_the_log(rounds: Rounds) -> None:
    store = rounds.world.node(OWNER)
    forget_nodes([store])
    before = {path: path.read_bytes() for path in store.glob("node.db*")}
    asked = ResidualsRequest(index=0)
    assert rounds.failure(OWNER, "residuals/0", asked) == "message_invalid"
    forget_nodes([store])
    for path in store.glob("node.db*"):
        path.unlink()
    for path, data in before.items():
        path.write_bytes(data)
    assert rounds.states(OWNER) == ["spent", "planned"]
    asked = rounds.residuals_request(0)
    assert rounds.failure(OWNER, "residuals/0", asked) == "run_not_open"


def test_a_step_before_the_one_it_needs_is_refused(rounds: Rounds) -> None:
    one = rounds.job.partners[0]
    early: list[tuple[str, str, Any]] = [
        (OWNER, "noised/0", NoisedRequest(index=0, sealed={})),
        (OWNER, "residuals/1", rounds.residuals_request(1)),
        (OWNER, "result", ResultRequest(total=b"")),
        (one, "scores/0", ScoresRequest(index=0)),
        (one, "products/1", ProductsRequest(index=1, residuals=b"", key=b"")),
        # What the other side is asked is no step of this one.
        (one, "residuals/0", rounds.residuals_request(0)),
        (one, "noised/0", NoisedRequest(index=0, sealed={})),
        (one, "result", ResultRequest(total=b"")),
        (OWNER, "scores/0", ScoresRequest(index=0)),
        (OWNER, "products/0", ProductsRequest(index=0, residuals=b"", key=b"")),
        (OWNER, "blind", BlindRequest(bundles=rounds.bundles)),
        (OWNER, "mask/0", MaskRequest(sum_index=0, intercept=0.0, effects=b"")),
    ]
    for member, step, body in early:
        assert rounds.failure(member, step, body) == "step_out_of_order"
    goes_on(rounds, b"", from_round=0)


def test_products_of_made_up_residuals_end_the_run(rounds: Rounds) -> None:
    one = rounds.job.partners[0]
    made_up = ProductsRequest(index=0, bundles=rounds.bundles, residuals=b"x" * 64, key=b"y" * 60)
    ends(rounds, one, "products/0", made_up, "seal_broken")


Bundles = Callable[[dict[str, bytes]], dict[str, bytes]]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda b: {m: one for m, one in b.items() if m != "retailer"}, "message_invalid"),
        (lambda b: {**b, "retailer": b["map_provider"]}, "signature_invalid"),
    ],
)
def test_bundles_that_lack_a_member_or_are_anothers_end_the_run(
    rounds: Rounds, spoil: Bundles, error: str
) -> None:
    asked = ResidualsRequest(index=0, bundles=spoil(rounds.bundles))
    ends(rounds, OWNER, "residuals/0", asked, error)


def test_the_bundles_of_another_run_end_the_run(rounds: Rounds) -> None:
    yesterday = Rounds(rounds.world, rounds.job, "run-2").begin()
    asked = ResidualsRequest(index=0, bundles=yesterday.bundles)
    ends(rounds, OWNER, "residuals/0", asked, "message_invalid")


@pytest.mark.parametrize("forget", [False, True], ids=["", "forgetful"])
def test_every_step_is_answered_once_and_repeated_byte_for_byte(
    rounds: Rounds, forget: bool
) -> None:
    one, other = rounds.job.partners

    def once(member: str, step: str, body: Any, another: Any, reply: Any) -> Any:
        first = rounds.raw(member, step, body)
        if forget:
            forget_nodes([rounds.world.node(member)])
        again = rounds.raw(member, step, body)
        assert again == first
        with pytest.raises(RequestConflict):
            rounds.raw(member, step, another)
        return reply.from_bytes(first.body)

    told = once(
        OWNER,
        "residuals/0",
        rounds.residuals_request(0),
        rounds.residuals_request(0, b"\0" * 4),
        ResidualsReply,
    )
    asked = rounds.products_request(0, told, one)
    changed = asked.model_copy(update={"residuals": told.residuals + b"\0"})
    sealed = {one: once(one, "products/0", asked, changed, SealedReply).sealed}
    sealed[other] = rounds.ask(
        other, "products/0", rounds.products_request(0, told, other), SealedReply
    ).sealed
    noised = once(
        OWNER,
        "noised/0",
        NoisedRequest(index=0, sealed=sealed),
        NoisedRequest(index=0, sealed={**sealed, one: sealed[one] + b"\0"}),
        NoisedReply,
    ).sealed
    masked = {}
    for partner in (one, other):
        asked_scores = ScoresRequest(index=0, sealed=noised[partner])
        altered = ScoresRequest(index=0, sealed=noised[partner] + b"\0")
        masked[partner] = once(partner, "scores/0", asked_scores, altered, ScoresReply).masked
    total = rounds.round(1, added(list(masked.values())))
    once(OWNER, "result", ResultRequest(total=total), ResultRequest(total=b""), DoneReply)
    rounds.close(rounds.job.members, finished=True)
    is_finished(rounds.world, rounds.job, rounds.run)


def test_a_run_that_is_closed_early_leaves_no_half_model(rounds: Rounds) -> None:
    rounds.round(0)
    rounds.close(rounds.job.members, finished=True)
    for member in rounds.job.members:
        assert kept_by(rounds.world, member) == set()
        assert rounds.states(member) == ["spent", "returned"]
        asked = ScoresRequest(index=1)
        assert rounds.failure(member, "scores/1", asked) == "run_not_open"
    check_logs(rounds.world)


def test_a_run_is_opened_once_and_for_one_set_of_members(rounds: Rounds) -> None:
    other = Rounds(rounds.world, rounds.job.model_copy(update={"name": "other"}))
    with pytest.raises(RequestConflict):
        other.begin()


# --- scoring ----------------------------------------------------------------------------------


def scored(relay: Relay, job: ScoringJob) -> tuple[bytes, dict[str, bytes], dict[str, bytes]]:
    """Open a scoring and ask the partners; return total, parts and bundles."""
    bundles = relay.open(job)
    asked = ScoresRequest(index=0, bundles=bundles)
    told = {name: relay.ask(name, "scores/0", asked, ScoresReply) for name in job.partners}
    parts = {name: reply.part for name, reply in told.items()}
    return added([reply.masked for reply in told.values()]), parts, bundles


def resealed(
    relay: Relay, partner: str, parts: dict[str, bytes], change: Callable[[bytes], bytes]
) -> bytes:
    """Return a partner's part, changed and sealed as that partner itself would."""
    owner = relay.state(OWNER).knowing(relay.node(OWNER).home, relay.bundles)
    opened = owner.keys.open_from(partner, "part", parts[partner])
    return relay.state(partner).keys.seal_to(OWNER, "part", change(opened))


def more(part: bytes) -> bytes:
    return (np.frombuffer(part, dtype="<i4") + 1).astype("<i4").tobytes()


def test_parts_and_totals_that_do_not_fit_each_other_end_the_scoring(
    world: World, parties: dict[str, PartyData]
) -> None:
    one, other = partners = PARTNERS[:2]
    run(world, training_job(parties, partners, settings=SETTINGS), "run-1")
    job = scoring_job("run-1", partners, parts=True)
    wrong: list[tuple[Callable[[Relay, dict[str, bytes]], dict[str, bytes]], str]] = [
        (lambda _, parts: {one: parts[one]}, "message_invalid"),
        (lambda _, __: {}, "message_invalid"),
        (lambda _, parts: {one: parts[other], other: parts[one]}, "seal_broken"),
        # What a partner itself sealed, but of other numbers or of fewer customers.
        (lambda relay, parts: {**parts, one: resealed(relay, one, parts, more)}, "message_invalid"),
        (
            lambda relay, parts: {**parts, one: resealed(relay, one, parts, short)},
            "message_invalid",
        ),
    ]
    for place, (spoil, error) in enumerate(wrong):
        relay = Relay(world, f"scored-{place}")
        total, parts, bundles = scored(relay, job)
        request = ResultRequest(bundles=bundles, total=total, parts=spoil(relay, parts))
        assert relay.failure(OWNER, "result", request) == error
        assert relay.failure(OWNER, "result", request) == "run_not_open"
        relay.close(job.members, finished=True)
        assert kept_by(world, OWNER) == {"parts", "value"}
    relay = Relay(world, "scored")
    total, parts, bundles = scored(relay, job)
    relay.ask(OWNER, "result", ResultRequest(bundles=bundles, total=total, parts=parts), DoneReply)
    relay.close(job.members, finished=True)
    assert kept_by(world, OWNER) == {"parts", "scores", "value"}
    assert [relay.states(name) for name in job.members] == [[], ["spent"], ["spent"]]


# --- the table changes while customers are being found ----------------------------------------


def test_a_table_read_anew_in_the_middle_of_an_alignment_must_be_the_same(
    world: World, parties: dict[str, PartyData]
) -> None:
    """Positions in the list of before would name other customers of the table of now."""
    relay = Relay(world, "halfway")
    bundles = relay.open(alignment_job(("retailer",)))
    first = {
        m: relay.ask(m, "blind", BlindRequest(bundles=bundles), ListReply).sealed for m in ALONE
    }
    other = {OWNER: "retailer", "retailer": OWNER}
    passed = {
        m: relay.ask(m, "hop/1", HopRequest(index=1, sealed=first[other[m]][m]), ListReply).sealed
        for m in ALONE
    }
    compared = {OWNER: passed["retailer"][OWNER], "retailer": passed[OWNER][OWNER]}
    links = relay.ask(OWNER, "match", MatchRequest(sealed=compared), MatchReply).sealed
    party = parties["retailer"]
    lost = party.table.filter(pl.col("email").is_not_null())[party.schema.customer_key].sort()[0]
    path = world.node("retailer") / "customers.parquet"
    before = path.read_bytes()
    write_table(path, party.table.filter(pl.col(party.schema.customer_key) != lost))
    forget_nodes([world.node("retailer")])
    request = FinishRequest(
        links=links["retailer"],
        own=passed[OWNER]["retailer"],
        witness=passed["retailer"]["retailer"],
    )
    assert relay.refusal("retailer", "finish", request) == "table_changed"
    assert relay.states("retailer") == ["spent", "spent", "spent"]
    # The same table again, and the run goes on.
    path.write_bytes(before)
    forget_nodes([world.node("retailer")])
    relay.raw("retailer", "finish", request)
    relay.close(ALONE, finished=True)
    assert read_alignment(home_of(world, "retailer"), "halfway").rows > 0
    with pytest.raises(AlignmentUnknown):
        read_alignment(home_of(world, OWNER), "halfway")
