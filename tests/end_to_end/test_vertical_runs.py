"""Whole vertical runs over real nodes: what comes out, what is kept where, and what is spent."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from end_to_end.shared_trial import (
    Trial,
    check_logs,
    columns_of,
    entries_of,
    kept_by,
    receipts_of,
    restarted,
    states_of,
    twin_of,
)
from end_to_end.shared_world import (
    ALL_MODES,
    FINE,
    OWNER,
    PARTNERS,
    alignment_job,
    copied,
    expansion_job,
    home_of,
    overlap_job,
    parties_of,
    run,
    scoring_job,
    terms_for,
    training_job,
    world_of,
)

from fedmkt.contract.collaboration import LabelMode
from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.core.errors import ModelUnknown, ResultUnknown, RunRefused
from fedmkt.evaluation.metrics import auc
from fedmkt.evidence.value_report import MeasuredValue
from fedmkt.node import expansion_owner, joint_training
from fedmkt.node.alignments import read_alignment
from fedmkt.node.model_parts import read_part, read_table, read_value
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import (
    ExactEvent,
    GaussianEvent,
    NonPrivateEvent,
    RandomisedResponseEvent,
)
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World
from fedmkt.vertical.party import levels_of, step_size
from fedmkt.vertical.student import REACH_PERCENT

PEOPLE = 500
ROUNDS = 2
SETTINGS = FINE.model_copy(update={"rounds": ROUNDS, "max_bins": 8})
EPSILONS: dict[LabelMode, float | None] = {
    "encrypted": 4.0,
    "encrypted_without_noise": None,
    "label_private": 2.0,
    "shared_labels": None,
}
EVENTS = {
    "encrypted": [GaussianEvent] * ROUNDS,
    "encrypted_without_noise": [NonPrivateEvent] * ROUNDS,
    "label_private": [RandomisedResponseEvent],
    "shared_labels": [NonPrivateEvent] * ROUNDS,
}
in_every_mode = pytest.mark.parametrize("mode", ALL_MODES)


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    return parties_of(PEOPLE)


@pytest.fixture(scope="module")
def aligned(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    # No cap on epsilon, so that modes without noise run beside the others.
    terms = terms_for(parties, noised=False)
    world = world_of(tmp_path_factory.mktemp("aligned"), parties, terms)
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


@pytest.fixture(scope="module")
def jobs(parties: dict[str, PartyData]) -> dict[str, VerticalJob]:
    return {
        mode: training_job(parties, mode=mode, epsilon=EPSILONS[mode], settings=SETTINGS)
        for mode in ALL_MODES
    }


@pytest.fixture(scope="module")
def outcomes(aligned: World, jobs: dict[str, VerticalJob]) -> dict[str, SharedOutcome]:
    return {mode: run(aligned, job, mode) for mode, job in jobs.items()}


# --- training ---------------------------------------------------------------------------------


@in_every_mode
def test_a_training_equals_its_twin_to_the_last_bit(
    aligned: World, jobs: dict[str, VerticalJob], outcomes: dict[str, SharedOutcome], mode: str
) -> None:
    assert outcomes[mode].run == mode
    twin = twin_of(aligned, jobs[mode], mode)
    for member, model in zip(jobs[mode].members, twin.models, strict=True):
        part = read_part(home_of(aligned, member), mode)
        assert np.array_equal(part.model.effects, model.effects)
        assert part.model.intercept == model.intercept
    total = read_part(home_of(aligned, OWNER), mode).total
    assert total is not None
    assert np.array_equal(total, twin.totals[:, -1])


@in_every_mode
def test_a_round_takes_four_exchanges_or_two_where_labels_are_shared(
    outcomes: dict[str, SharedOutcome], mode: str
) -> None:
    a_round = 2 if mode == "shared_labels" else 4
    assert outcomes[mode].exchanges == a_round * ROUNDS + 3
    assert set(outcomes[mode].receipts) == {OWNER, *PARTNERS}


@in_every_mode
def test_parts_stay_at_their_nodes_and_the_value_report_at_the_owners(
    aligned: World, outcomes: dict[str, SharedOutcome], mode: str
) -> None:
    assert outcomes[mode].facts == {}
    for partner in PARTNERS:
        part = read_part(home_of(aligned, partner), mode)
        assert part.total is None
        assert not (home_of(aligned, partner).folder / "value").exists()
    value = read_value(home_of(aligned, OWNER), mode)
    assert (value.mode, value.epsilon) == (mode, EPSILONS[mode])  # type: ignore[index]
    assert not value.scores_seen
    assert (value.guess_accuracy is not None) == (mode == "label_private")


@in_every_mode
def test_labels_are_charged_to_the_owner_and_scores_to_each_partner(
    aligned: World, outcomes: dict[str, SharedOutcome], mode: str
) -> None:
    assert outcomes[mode].receipts
    owned = entries_of(aligned, OWNER, mode)
    assert [type(entry.event) for entry in owned] == EVENTS[mode]
    for partner in PARTNERS:
        shown = entries_of(aligned, partner, mode)
        assert [entry.event for entry in shown] == [ExactEvent("scores", 1)] * ROUNDS
    for member in (OWNER, *PARTNERS):
        assert set(states_of(aligned, member, mode)) == {"spent"}


@in_every_mode
def test_receipts_state_mode_noise_and_epsilon(
    aligned: World, outcomes: dict[str, SharedOutcome], mode: str
) -> None:
    receipts = receipts_of(outcomes[mode])
    noised = EPSILONS[mode] is not None  # type: ignore[index]
    for member, receipt in receipts.items():
        assert (receipt["kind"], receipt["mode"]) == ("vertical", mode)
        assert receipt["noised"] == (noised and member == OWNER)
        assert receipt["masked"] == (mode != "shared_labels" or member != OWNER)
        assert (receipt["epsilon"] is not None) == receipt["noised"]
    if noised:
        spent = [entry.event for entry in entries_of(aligned, OWNER, mode)]
        assert receipts[OWNER]["epsilon"] == epsilon_of(spent, 1e-5)
        # The job was calibrated for more bins than there are, so it costs less than it states.
        assert receipts[OWNER]["epsilon"] <= EPSILONS[mode]  # type: ignore[index]


def test_a_dataset_with_a_cap_on_epsilon_has_no_run_without_noise(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in (OWNER, "retailer")}
    world = world_of(tmp_path, two, terms_for(two))
    run(world, alignment_job(("retailer",)), "alignment")
    for mode in ("encrypted_without_noise", "shared_labels"):
        job = training_job(parties, ("retailer",), mode=mode, settings=SETTINGS)
        with pytest.raises(RunRefused, match="unprotected_not_allowed"):
            run(world, job, mode)
        assert states_of(world, "retailer", mode) == ["returned"] * ROUNDS
    noised = training_job(parties, ("retailer",), mode="encrypted", epsilon=4.0, settings=SETTINGS)
    run(world, noised, "encrypted")
    check_logs(world)
    world.close()


def test_one_partner_alone_is_told_that_its_scores_are_seen(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    job = training_job(parties, ("map_provider",), settings=SETTINGS)
    run(aligned, job, "one")
    assert read_value(home_of(aligned, OWNER), "one").scores_seen
    total = read_part(home_of(aligned, OWNER), "one").total
    part = read_part(home_of(aligned, "map_provider"), "one")
    codes = columns_of(aligned, job)[0][1].codes
    shown = levels_of(part.model, codes, limit=part.limit, levels=part.levels)
    assert np.array_equal(total, shown)


def test_an_owner_without_columns_trains_on_its_partners_columns(
    aligned: World, parties: dict[str, PartyData]
) -> None:
    job = training_job(parties, settings=SETTINGS, owner_features=False)
    run(aligned, job, "labels-alone")
    twin = twin_of(aligned, job, "labels-alone")
    part = read_part(home_of(aligned, OWNER), "labels-alone")
    assert part.model.effects.size == 0
    assert part.model.intercept == twin.models[0].intercept
    assert np.array_equal(part.total, twin.totals[:, -1])
    value = read_value(home_of(aligned, OWNER), "labels-alone")
    assert isinstance(value, MeasuredValue)
    # One score for everybody ranks nobody: half of all pairs, by definition of a tie.
    assert value.owner_auc.value == 0.5
    assert value.joint_auc.value > 0.6


@pytest.mark.parametrize("mode", ["encrypted", "label_private", "shared_labels"])
def test_nodes_that_forget_all_but_their_disks_train_the_same_model(
    aligned: World,
    jobs: dict[str, VerticalJob],
    tmp_path: Path,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = copied(aligned, tmp_path)
    # The simulated noise repeats under a label, so a second draw of labels would show nowhere else.
    honest, drawn = joint_training.randomise_labels, []

    def noted(*given: Any, **how: Any) -> Any:
        drawn.append(given)
        return honest(*given, **how)

    monkeypatch.setattr(joint_training, "randomise_labels", noted)
    Trial(world, restart=restarted(world)).run(jobs[mode], "forgetful")
    assert len(drawn) == (mode == "label_private")
    twin = twin_of(world, jobs[mode], "forgetful")
    for member, model in zip(jobs[mode].members, twin.models, strict=True):
        part = read_part(home_of(world, member), "forgetful")
        assert np.array_equal(part.model.effects, model.effects)
    check_logs(world)
    world.close()


# --- scoring and expansion --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "forget"), [(False, False), (True, True)], ids=["totals", "parts, forgetful"]
)
def test_scores_are_those_of_the_model(
    aligned: World, outcomes: dict[str, SharedOutcome], tmp_path: Path, parts: bool, forget: bool
) -> None:
    assert outcomes
    world = copied(aligned, tmp_path)
    trained = read_part(home_of(world, OWNER), "encrypted_without_noise")
    job = scoring_job("encrypted_without_noise", parts=parts)
    outcome = Trial(world, restart=restarted(world) if forget else None).run(job, "scored")
    assert outcome.exchanges == 4
    table = read_table(home_of(world, OWNER), "scores", "scored")
    alignment = read_alignment(home_of(world, OWNER), "alignment")
    assert set(table["customer"]) == set(alignment.customer_keys)
    assert table["score"].is_sorted(descending=True)
    # The last round's total was made of the finished parts, so a scoring repeats it.
    assert trained.total is not None
    size = step_size(limit=trained.limit, levels=trained.levels)
    expected = dict(zip(alignment.customer_keys, trained.total * size, strict=True))
    assert table["partners' parts"].to_list() == [expected[key] for key in table["customer"]]
    shown = [name for name in table.columns if name.startswith("part of")]
    assert shown == ([f"part of {partner}" for partner in PARTNERS] if parts else [])
    if parts:
        added = table.select(pl.sum_horizontal(shown)).to_series()
        assert np.allclose(added, table["partners' parts"], atol=1e-9)
    for partner in PARTNERS:
        assert "scores" not in kept_by(world, partner)
        assert [entry.event for entry in entries_of(world, partner, "scored")] == [
            ExactEvent("scores", 1)
        ]
    assert entries_of(world, OWNER, "scored") == ()
    world.close()


def test_a_scoring_by_fewer_members_than_trained_is_refused(
    aligned: World, outcomes: dict[str, SharedOutcome]
) -> None:
    """Totals with and without a partner would show its part, which terms may forbid."""
    assert outcomes
    with pytest.raises(RunRefused, match="model_unknown"):
        run(aligned, scoring_job("encrypted", PARTNERS[:2]), "fewer")
    assert states_of(aligned, "retailer", "fewer") == []


@pytest.mark.parametrize("forget", [False, True], ids=["", "forgetful"])
def test_an_expansion_ranks_own_customers_beyond_the_overlap_in_size_bins(
    aligned: World,
    parties: dict[str, PartyData],
    outcomes: dict[str, SharedOutcome],
    tmp_path: Path,
    forget: bool,
) -> None:
    assert outcomes
    world = copied(aligned, tmp_path)
    job = expansion_job("encrypted_without_noise", parties)
    outcome = Trial(world, restart=restarted(world) if forget else None).run(job, "expanded")
    assert outcome.exchanges == 6
    segments = read_table(home_of(world, "map_provider"), "segments", "expanded")
    party = parties["map_provider"]
    own = set(party.table[party.schema.customer_key])
    withdrawn = set(party.consent.filter(pl.col("status") == "withdrawn")["key"])
    overlap = set(read_alignment(home_of(world, "map_provider"), "alignment").customer_keys)
    found = set(segments["customer"])
    assert len(found) == segments.height
    assert found <= own - overlap - withdrawn
    assert len(found) > 0.8 * len(own - overlap - withdrawn)  # without identifier, or twice, few
    assert segments["reach"].is_between(0, len(REACH_PERCENT) - 1).all()
    for place, percent in enumerate(REACH_PERCENT):
        held = segments.filter(pl.col("reach") <= place).height
        assert held <= percent / 100 * segments.height
    assert segments.columns == ["customer", "reach"]
    assert segments["customer"].is_sorted()
    assert "segments" not in kept_by(world, OWNER)
    world.close()


def test_an_expansion_costs_the_owner_one_noised_release_and_the_partner_nothing(
    aligned: World, parties: dict[str, PartyData], outcomes: dict[str, SharedOutcome]
) -> None:
    assert outcomes
    outcome = run(aligned, expansion_job("encrypted", parties), "expansion")
    (spent,) = entries_of(aligned, OWNER, "expansion")
    assert isinstance(spent.event, GaussianEvent)
    assert spent.state == "spent"
    assert entries_of(aligned, "map_provider", "expansion") == ()
    receipts = receipts_of(outcome)
    assert receipts[OWNER]["noised"]
    assert receipts[OWNER]["epsilon"] <= 5.0  # what the job states
    assert not receipts["map_provider"]["noised"]
    assert set(receipts) == {OWNER, "map_provider"}


def test_sums_that_no_honest_scores_give_are_answered_like_others_and_nothing_is_kept(
    aligned: World,
    parties: dict[str, PartyData],
    outcomes: dict[str, SharedOutcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert outcomes
    world = copied(aligned, tmp_path)
    job = expansion_job("encrypted_without_noise", parties)
    honest = Trial(world).run(job, "honest")
    told = expansion_owner.target_units
    monkeypatch.setattr(
        expansion_owner, "target_units", lambda *given, **how: told(*given, **how) + 2**30
    )
    outcome = Trial(world).run(job, "chosen")
    monkeypatch.undo()
    assert (outcome.exchanges, outcome.facts) == (honest.exchanges, honest.facts)
    assert answered(world, "map_provider", "chosen") == answered(world, "map_provider", "honest")
    partner = home_of(world, "map_provider")
    assert read_table(partner, "segments", "honest").height
    assert read_part(partner, "honest")
    with pytest.raises(ResultUnknown):
        read_table(partner, "segments", "chosen")
    with pytest.raises(ModelUnknown):
        read_part(partner, "chosen")
    world.close()


def answered(world: World, member: str, name: str) -> list[dict[str, Any]]:
    """Return what a node wrote down of its answers in a run."""
    records = home_of(world, member).audit.records()
    said = [one["facts"] for one in records if one["kind"] == "answered"]
    return [{**facts, "run": ""} for facts in said if facts["run"] == name]


def test_a_student_ranks_as_the_joint_model_does(
    aligned: World, parties: dict[str, PartyData], outcomes: dict[str, SharedOutcome]
) -> None:
    assert outcomes
    job = expansion_job("encrypted_without_noise", parties)
    run(aligned, job, "student")
    part = read_part(home_of(aligned, "map_provider"), "student")
    training = training_job(parties, settings=SETTINGS)
    columns, target = columns_of(aligned, training)
    wide = replace(columns[2], codes=_codes_of(aligned, parties, job.parties[1].features))
    assert auc(target, part.model.scores(wide.codes)) > 0.65


def _codes_of(world: World, parties: dict[str, PartyData], features: tuple[str, ...]) -> np.ndarray:
    """Return the map provider's aligned rows in the expansion's own bins, 32 a number column."""
    settings = SETTINGS.model_copy(update={"max_bins": 32})
    columns, _ = columns_of(world, training_job(parties, settings=settings))
    assert tuple(one.name for one in columns[2].binning.features) == features
    return columns[2].codes


# --- alignment and overlap --------------------------------------------------------------------


def test_nodes_that_forget_all_but_their_disks_align_alike(aligned: World, tmp_path: Path) -> None:
    world = copied(aligned, tmp_path)
    before = {
        m: set(read_alignment(home_of(world, m), "alignment").customer_keys) for m in PARTNERS
    }
    Trial(world, restart=restarted(world)).run(alignment_job(exact=False), "again")
    for member, keys in before.items():
        assert set(read_alignment(home_of(world, member), "again").customer_keys) == keys
    outcome = Trial(world, restart=restarted(world)).run(overlap_job(), "overlap")
    assert outcome.facts["overlap"] is not None
    check_logs(world)
    world.close()


def test_every_audit_log_verifies(aligned: World, outcomes: dict[str, SharedOutcome]) -> None:
    assert outcomes
    check_logs(aligned)
