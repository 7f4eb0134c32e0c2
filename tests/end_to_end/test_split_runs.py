"""Whole split runs over real nodes: what comes out, what is shown and spent, what is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from end_to_end.shared_trial import (
    Trial,
    check_logs,
    entries_of,
    receipts_of,
    restarted,
    states_of,
)
from end_to_end.shared_world import (
    ALL_MODES,
    DELTA,
    OWNER,
    PARTNERS,
    alignment_job,
    copied,
    dataset_of,
    features_of,
    home_of,
    parties_of,
    run,
    terms_for,
    world_of,
)

from fedmkt.contract.collaboration import SplitMode
from fedmkt.contract.split_job import SplitJob, SplitPrivacy, SplitSettings
from fedmkt.contract.vertical_jobs import Party
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.core.errors import RunRefused
from fedmkt.models.network_shape import NetworkCoder, shape_from_schema
from fedmkt.node.alignments import aligned_rows, read_alignment
from fedmkt.node.home import AUDIT_FILE, NodeHome, audit_records
from fedmkt.node.model_parts import read_table, read_value
from fedmkt.node.split_partner import network_secret
from fedmkt.privacy.events import ExactEvent, NonPrivateEvent, RandomisedResponseEvent
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.simulation.vertical_partition import PartyData
from fedmkt.simulation.world import World
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_twin import SplitColumns, SplitTwin, first_networks, train_split

PEOPLE = 500
EPSILON = 2.0
SETTINGS = SplitSettings(
    rounds=2, local_steps=3, width=4, top_width=4, activations=3, learning_rate=0.05
)
MODES: tuple[SplitMode, ...] = ("split_label_private", "split_shared_labels")
LABELS = {
    "split_label_private": SplitPrivacy(epsilon=EPSILON, delta=DELTA),
    "split_shared_labels": SplitPrivacy(mode="split_shared_labels"),
}
GRADIENTS_SHOW = {
    "split_label_private": "joint scores",
    "split_shared_labels": "labels and joint scores",
}
in_both_modes = pytest.mark.parametrize("mode", MODES)


def split_job(
    parties: dict[str, PartyData], mode: SplitMode, settings: SplitSettings = SETTINGS
) -> SplitJob:
    stated = tuple(
        Party(member=one, dataset=dataset_of(one), features=features_of(parties[one]))
        for one in (OWNER, *PARTNERS)
    )
    return SplitJob(
        name="split",
        requester=OWNER,
        purpose="prospecting",
        parties=stated,
        alignment="alignment",
        owner=OWNER,
        target="income",
        model=settings,
        labels=LABELS[mode],
    )


@pytest.fixture(scope="module")
def parties() -> dict[str, PartyData]:
    return parties_of(PEOPLE)


@pytest.fixture(scope="module")
def aligned(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    # No cap on epsilon, so that the mode without noise runs beside the other.
    vertical = {member: {"modes": MODES} for member in parties}
    terms = terms_for(parties, noised=False, vertical=vertical)
    world = world_of(tmp_path_factory.mktemp("split"), parties, terms)
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


@pytest.fixture(scope="module")
def outcomes(aligned: World, parties: dict[str, PartyData]) -> dict[str, SharedOutcome]:
    return {mode: run(aligned, split_job(parties, mode), mode) for mode in MODES}


def columns_at(home: NodeHome, job: SplitJob) -> tuple[SplitColumns, np.ndarray | None]:
    """Return a member's columns as its node reads them, and the labels at the owner."""
    dataset = home.contract.dataset(dataset_of(home.member))
    assert dataset is not None
    party = job.party(home.member)
    assert party is not None
    shape = shape_from_schema(dataset.table, party.features, width=1)
    label = job.target if home.member == job.owner else None
    coder = NetworkCoder(shape)
    rows = aligned_rows(home, dataset, read_alignment(home, "alignment"), coder, label)
    return SplitColumns(home.member, shape, coder.inputs(rows.codes)), rows.target


def twin_of(world: World, job: SplitJob, name: str) -> SplitTwin:
    """Return the same training in one place, from the nodes' own first networks and noise."""
    homes = [home_of(world, member) for member in job.members]
    columns, targets = zip(*(columns_at(home, job) for home in homes), strict=True)
    labels, secrets = targets[0], [network_secret(home, name) for home in homes]
    if job.labels.epsilon is not None:
        trained = training_rows(len(labels), job.model.holdout)
        drawn = randomise_labels(
            labels[:trained],
            epsilon=job.labels.epsilon,
            source=homes[0].noise.stream(f"{name}/labels/{OWNER}"),
        )
        soft = unbiased(drawn, job.labels.epsilon)
        labels = np.concatenate([soft, labels[trained:].astype(np.float64)])
    return train_split(
        columns,
        labels,
        job.model,
        networks=first_networks(columns, job.model, secrets),
        noise=ReproducibleNoise(0),
    )


@in_both_modes
def test_a_run_scores_as_its_twin_in_one_place(
    aligned: World, parties: dict[str, PartyData], outcomes: dict[str, SharedOutcome], mode
) -> None:
    assert outcomes[mode].facts == {}
    home = home_of(aligned, OWNER)
    table = read_table(home, "scores", mode)
    keys = read_alignment(home, "alignment").customer_keys
    ordered = pl.DataFrame({"customer": keys}).join(table, on="customer", how="left")
    scores = ordered["score"].to_numpy()
    twin = twin_of(aligned, split_job(parties, mode), mode).scores
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(scores, twin, atol=1e-5)


@in_both_modes
def test_a_round_takes_two_exchanges_and_all_rounds_four_more(
    outcomes: dict[str, SharedOutcome], mode
) -> None:
    assert outcomes[mode].exchanges == 2 * SETTINGS.rounds + 4
    assert set(outcomes[mode].receipts) == {OWNER, *PARTNERS}


@in_both_modes
def test_every_activation_is_counted_at_its_partner_and_labels_are_charged_at_the_owner(
    aligned: World, outcomes: dict[str, SharedOutcome], mode
) -> None:
    assert outcomes[mode].run == mode
    for partner in PARTNERS:
        events = [entry.event for entry in entries_of(aligned, partner, mode)]
        assert events == [ExactEvent("activations", SETTINGS.activations)] * (SETTINGS.rounds + 1)
    owned = [entry.event for entry in entries_of(aligned, OWNER, mode)]
    if mode == "split_label_private":
        assert owned == [RandomisedResponseEvent(EPSILON)]
    else:
        shown = NonPrivateEvent(SETTINGS.activations * len(PARTNERS))
        assert owned == [shown] * SETTINGS.rounds
    for member in (OWNER, *PARTNERS):
        assert set(states_of(aligned, member, mode)) == {"spent"}
    check_logs(aligned)


@in_both_modes
def test_receipts_say_that_activations_and_scores_were_seen_and_what_labels_cost(
    outcomes: dict[str, SharedOutcome], mode
) -> None:
    for member, receipt in receipts_of(outcomes[mode]).items():
        said = f"{mode}, {GRADIENTS_SHOW[mode]} seen" if member == OWNER else mode
        assert (receipt["kind"], receipt["mode"], receipt["masked"]) == ("split", said, False)
        private = member == OWNER and mode == "split_label_private"
        assert receipt["noised"] == private
        assert receipt["epsilon"] == (pytest.approx(EPSILON, abs=1e-6) if private else None)
        shown = GRADIENTS_SHOW[mode] if member == OWNER else "activations"
        assert receipt["releases"]
        assert all(shown in one["name"] for one in receipt["releases"])


@in_both_modes
def test_the_audit_log_of_a_partner_names_every_release_of_activations(
    aligned: World, outcomes: dict[str, SharedOutcome], mode
) -> None:
    assert outcomes[mode].run == mode
    for partner in PARTNERS:
        released = [
            record["facts"]
            for record in audit_records(home_of(aligned, partner).folder / AUDIT_FILE)
            if record["kind"] == "released" and record["facts"].get("run") == mode
        ]
        assert [one["round"] for one in released] == list(range(SETTINGS.rounds + 1))
        assert {one["stages"] for one in released} == {"Exact ShownActivations"}


@in_both_modes
def test_the_owner_measures_what_partners_add_and_knows_that_it_saw_them(
    aligned: World, outcomes: dict[str, SharedOutcome], mode
) -> None:
    assert outcomes[mode].run == mode
    value = read_value(home_of(aligned, OWNER), mode)
    assert (value.mode, value.scores_seen) == (mode, True)
    assert value.epsilon == LABELS[mode].epsilon
    assert (value.guess_accuracy is not None) == (mode == "split_label_private")
    for partner in PARTNERS:
        folder = home_of(aligned, partner).folder
        assert not (folder / "scores").exists()
        assert not (folder / "value").exists()


@pytest.mark.parametrize("at", ["activation_noise", "gradient_noise"])
def test_noise_is_counted_all_the_same_and_changes_the_scores(
    aligned: World, parties: dict[str, PartyData], at: str
) -> None:
    plain = split_job(parties, "split_shared_labels")
    job = plain.model_copy(update={"model": SETTINGS.model_copy(update={at: 1.0})})
    run(aligned, job, at)
    events = [entry.event for entry in entries_of(aligned, PARTNERS[0], at)]
    assert events == [ExactEvent("activations", SETTINGS.activations)] * (SETTINGS.rounds + 1)
    noised = read_table(home_of(aligned, OWNER), "scores", at)["score"].sort().to_numpy()
    # The same first networks without the noise; a run without noise gives its twin's scores.
    quiet = np.sort(twin_of(aligned, plain, at).scores)
    assert np.abs(noised - quiet).max() > 0.05


def test_every_member_and_every_run_has_first_networks_of_its_own(aligned: World) -> None:
    homes = [home_of(aligned, member) for member in (OWNER, *PARTNERS)]
    secrets = {network_secret(home, run) for home in homes for run in ("one", "other")}
    assert len(secrets) == 2 * len(homes)
    assert {len(secret) for secret in secrets} == {32}


def test_nodes_that_forget_all_but_their_disks_give_the_same_scores(
    aligned: World, parties: dict[str, PartyData], tmp_path: Path
) -> None:
    world = copied(aligned, tmp_path)
    job = split_job(parties, "split_label_private")
    Trial(world, restart=restarted(world)).run(job, "forgetful")
    table = read_table(home_of(world, OWNER), "scores", "forgetful").sort("score")
    twin = np.sort(twin_of(world, job, "forgetful").scores)
    np.testing.assert_allclose(table["score"].to_numpy(), twin, atol=1e-5)
    world.close()


# --- what is refused --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refusing(
    parties: dict[str, PartyData], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A world where one partner has agreed to every mode of the additive model and to no split."""
    vertical = {member: {"modes": (*ALL_MODES, *MODES)} for member in parties}
    vertical["map_provider"] = {"modes": ALL_MODES}
    world = world_of(
        tmp_path_factory.mktemp("refusing"), parties, terms_for(parties, vertical=vertical)
    )
    run(world, alignment_job(), "alignment")
    yield world
    world.close()


@in_both_modes
def test_without_the_word_of_one_member_nobody_shows_an_activation(
    refusing: World, parties: dict[str, PartyData], mode
) -> None:
    with pytest.raises(RunRefused, match="mode_not_allowed"):
        run(refusing, split_job(parties, mode), f"refused-{mode}")
    for member in (OWNER, *PARTNERS):
        assert states_of(refusing, member, f"refused-{mode}") in ([], ["returned"])


def test_activations_are_capped_like_exact_scores(
    parties: dict[str, PartyData], tmp_path: Path
) -> None:
    two = {member: parties[member] for member in (OWNER, "retailer")}
    job = split_job(parties, "split_label_private")
    job = replace_parties(job, (OWNER, "retailer"))
    shown = SETTINGS.activations * (SETTINGS.rounds + 1)
    vertical = {member: {"modes": MODES} for member in two}
    terms = terms_for(two, vertical=vertical, exact_scores=shown)
    world = world_of(tmp_path, two, terms)
    run(world, alignment_job(("retailer",)), "alignment")
    run(world, job, "first")
    with pytest.raises(RunRefused, match="exact_scores_exceeded"):
        run(world, job, "second")
    check_logs(world)
    world.close()


def replace_parties(job: SplitJob, members: tuple[str, ...]) -> SplitJob:
    kept = tuple(party for party in job.parties if party.member in members)
    return job.model_copy(update={"parties": kept})
