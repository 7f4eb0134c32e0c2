"""Whole runs whose bins come from a survey: charged, noised, resumed, and safe from bad edges."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.small_world import ROUNDS, Trial, model_json, small_job, small_world
from end_to_end.test_training_runs import Stopped, StopsAt, entries_of

from fedmkt.contract.job import Job
from fedmkt.coordinator import training as coordinator
from fedmkt.core.errors import JobInvalid, NodeFailed
from fedmkt.core.stages import LocalUpdate
from fedmkt.data import bundled
from fedmkt.data.binning import Binning
from fedmkt.horizontal.survey import edges_from_survey, public_binning, survey_counts
from fedmkt.node.app import node_at
from fedmkt.node.dry_run import dry_run
from fedmkt.node.training_data import price, read_examples
from fedmkt.privacy.mechanisms import add_noise
from fedmkt.simulation.world import World

RELEASES = ROUNDS + 1
NUMBERS = ("age", "hours_per_week")
Edges = dict[str, tuple[float, ...]]


def surveyed_job(world: World, **terms: Any) -> Job:
    return small_job(world, edges="private_quantiles", **terms)


def edges_of(model: dict[str, Any]) -> Edges:
    binning = Binning.from_json(model["binning"])
    return {one.name: one.edges for one in binning.features if one.ordered}


def _read(home: Any, priced: Any) -> Any:
    return read_examples(home, priced.dataset, priced.job, priced.binning)


def exact_surveys(world: World, job: Job) -> dict[str, LocalUpdate]:
    """Return every member's survey as it stands before noise."""
    surveys = {}
    for member in world.members:
        home = node_at(world.node(member)).home
        priced = price(home, job)
        surveys[member] = survey_counts(_read(home, priced)[0], priced.binning)
    return surveys


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The model of a run nothing happened to; noise is reproducible, so others can equal it."""
    world = small_world(tmp_path_factory.mktemp("undisturbed"))
    Trial(world).run(surveyed_job(world), "run-1")
    world.close()
    return model_json(world, "run-1")


def test_a_survey_is_charged_noised_masked_and_receipted_like_a_round(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    job = surveyed_job(world)
    outcome = Trial(world).run(job, "run-1")
    assert outcome.rounds == ROUNDS
    assert outcome.exchanges == 3 + 3 * RELEASES
    for member in world.members:
        assert entries_of(world, member) == [("run-1", r, "spent") for r in range(RELEASES)]
        receipt = json.loads(outcome.receipts[member])["receipt"]
        assert [one["name"].partition(":")[0] for one in receipt["releases"]] == [
            "survey",
            *(f"round {number}" for number in range(1, RELEASES)),
        ]
        assert receipt["epsilon"] <= job.privacy.epsilon
        records = map(json.loads, (world.node(member) / "audit.log").read_text().splitlines())
        stages = [one["facts"]["stages"] for one in records if one["kind"] == "released"]
        assert stages == ["LocalUpdate PrivateUpdate MaskedUpdate"] * RELEASES
    world.close()


def test_edges_follow_from_the_noised_counts_and_not_from_the_exact_ones(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    """The noise is reproducible, so each member's noised survey can be made again."""
    world = small_world(tmp_path)
    job = surveyed_job(world)
    grid = public_binning(job, bundled.schema("adult"))
    exact = exact_surveys(world, job)
    noised = [
        add_noise(
            update,
            noise_multiplier=job.privacy.noise_multiplier,
            shares=1,
            trust="local",
            source=node_at(world.node(member)).home.noise.stream(f"run-1/0/{member}"),
        ).values
        for member, update in exact.items()
    ]
    made = edges_of(undisturbed)
    assert tuple(made) == NUMBERS
    assert made == edges_from_survey(np.sum(noised, axis=0), grid, max_bins=8)
    bare = np.sum([update.values for update in exact.values()], axis=0)
    assert made != edges_from_survey(bare, grid, max_bins=8)
    world.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("exchange", [3, 5, 6])
def test_a_coordinator_stopped_around_the_survey_resumes_to_the_same_model(
    tmp_path: Path, undisturbed: dict[str, object], exchange: int, after: bool
) -> None:
    """Exchange 3 asks for the survey, 5 opens it, 6 asks for round 1 with the edges it gave."""
    world = small_world(tmp_path)
    with pytest.raises(Stopped):
        Trial(world, wrap=lambda channel: StopsAt(channel, exchange, after=after)).run(
            surveyed_job(world), "run-1"
        )
    Trial(world).run(surveyed_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    assert entries_of(world, world.members[0]) == [("run-1", r, "spent") for r in range(RELEASES)]
    world.close()


def test_nodes_restarted_before_every_message_give_the_same_surveyed_model(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    world = small_world(tmp_path)
    trial = Trial(world)
    trial.grid = {"restart": lambda node: trial.restart_nodes() if node == 1 else None}
    trial.run(surveyed_job(world), "run-1")
    assert model_json(world, "run-1") == undisturbed
    world.close()


def test_a_table_is_read_once_however_many_bins_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    reads: list[str] = []

    def counted(home: Any, *asked: Any) -> Any:
        reads.append(home.member)
        return read_examples(home, *asked)

    monkeypatch.setattr("fedmkt.node.training.read_examples", counted)
    Trial(world).run(surveyed_job(world), "run-1")
    assert sorted(reads) == sorted(world.members)
    world.close()


def _asks_with(monkeypatch: pytest.MonkeyPatch, change: Callable[[Edges], Edges]) -> None:
    """Have the coordinator state other edges in every round than it trains on."""
    honest = coordinator._asked
    monkeypatch.setattr(
        coordinator, "_asked", lambda plan, model, edges: honest(plan, model, change(edges))
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda edges: {},
        lambda edges: {**edges, "age": (30.5,)},
        lambda edges: {**edges, "age": edges["age"][::-1]},
        lambda edges: {**edges, "age": tuple(float(age) for age in range(20, 80))},
        lambda edges: {**edges, "education": (1.0,)},
    ],
    ids=["none", "off the grid", "falling", "too many", "of a category"],
)
def test_hostile_edges_are_refused_and_nothing_is_released_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Edges], Edges]
) -> None:
    world = small_world(tmp_path)
    _asks_with(monkeypatch, change)
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(surveyed_job(world), "run-1")
    assert failed.value.fields["error"] == "message_invalid"
    states = [state for _, _, state in entries_of(world, world.members[0])]
    assert states == ["spent", *["returned"] * ROUNDS], "a run that broke the protocol is closed"
    world.close()


def test_edges_are_refused_where_the_job_says_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    _asks_with(monkeypatch, lambda edges: {"age": (30.0,), "hours_per_week": (40.0,)})
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(small_job(world), "run-1")
    assert failed.value.fields["error"] == "message_invalid"
    world.close()


def test_a_survey_asked_with_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    honest = coordinator.MaskRequest

    def asked(**fields: Any) -> Any:
        return honest(**{**fields, "intercept": 1.0})

    monkeypatch.setattr(coordinator, "MaskRequest", asked)
    with pytest.raises(NodeFailed) as failed:
        Trial(world).run(surveyed_job(world), "run-1")
    assert failed.value.fields["error"] == "message_invalid"
    assert {state for _, _, state in entries_of(world, world.members[0])} == {"returned"}
    world.close()


def test_without_noise_edges_are_the_quantiles_of_all_rows_and_no_epsilon_is_claimed(
    tmp_path: Path,
) -> None:
    world = small_world(tmp_path, modes=("none",))
    job = surveyed_job(world, trust="none")
    outcome = Trial(world).run(job, "run-1")
    exact = [update.values for update in exact_surveys(world, job).values()]
    grid = public_binning(job, bundled.schema("adult"))
    expected = edges_from_survey(np.sum(exact, axis=0), grid, max_bins=8)
    assert edges_of(outcome.model.to_json()) == expected
    receipt = json.loads(outcome.receipts[world.members[0]])["receipt"]
    assert (receipt["epsilon"], receipt["noised"], len(receipt["releases"])) == (
        None,
        False,
        RELEASES,
    )
    world.close()


def test_a_dry_run_lists_the_survey_and_the_most_that_rounds_can_send(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    judged = dry_run(node_at(world.node(world.members[0])).home, surveyed_job(world))
    survey, *rounds = judged.leaves
    assert survey.startswith("survey: counts of number columns on a fine public grid: ")
    assert len(rounds) == ROUNDS
    assert all("at most" in item for item in rounds)
    assert judged.refusal is None
    world.close()


def test_noise_for_the_rounds_alone_does_not_pay_for_the_survey(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    job = surveyed_job(world)
    priced_for_rounds = small_job(world).privacy
    cheap = job.model_copy(update={"privacy": priced_for_rounds})
    refusal = dry_run(node_at(world.node(world.members[0])).home, cheap).refusal
    assert refusal is not None
    assert refusal.code == "claimed_epsilon_wrong"
    world.close()


def test_a_survey_without_a_number_column_ends_before_a_node_is_asked(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    job = surveyed_job(world).model_copy(update={"features": ("education",)})
    with pytest.raises(JobInvalid):
        Trial(world).run(job, "run-1")
    with pytest.raises(JobInvalid):
        price(node_at(world.node(world.members[0])).home, job)
    assert entries_of(world, world.members[0]) == []
    world.close()
