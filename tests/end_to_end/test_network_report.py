"""The report of a network's training on a deployment: figures by round, what left, who saw it."""

from pathlib import Path

import polars as pl
import pytest
from end_to_end.network_trial import SCHEMA, network_job, shape_of
from end_to_end.small_world import Quiet

from fedmkt.cli.job import _require_report
from fedmkt.contract.job import NetworkJob
from fedmkt.coordinator.progress import read_progress
from fedmkt.core.errors import SettingInvalid
from fedmkt.deployment.plan import Layout
from fedmkt.evidence.report import Report
from fedmkt.horizontal.network_plan import network_releases
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.simulation import deployed
from fedmkt.simulation.network_notes import notes_of
from fedmkt.simulation.partition import PARTNERS
from fedmkt.simulation.report_page import render
from fedmkt.simulation.world import World

ROWS = 1000  # the contract takes no smaller audience
EPSILON = 2.0


def few_rows(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {one: table.slice(place * ROWS, ROWS) for place, one in enumerate(PARTNERS)}


def job(**model: object) -> NetworkJob:
    asked = network_job(PARTNERS, trust="local", epsilon=EPSILON, rounds=2, width=4, **model)
    return asked.model_copy(update={"dataset": deployed.DATASET})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder, asked = tmp_path_factory.mktemp("trial"), job()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployed, "by_occupation", few_rows)
        deployed.build_collaboration(folder)
        world = World(folder, PARTNERS)
        world.run_network(asked, "run-1", Quiet())
        world.close()
        events = read_progress(world.coordinator / "runs" / "run-1")
        made = deployed.report_of(folder, asked, "run-1", events)
    assert made is not None
    return made


def test_a_networks_report_has_each_round_measured_and_what_it_cost(report: Report) -> None:
    trained = next(model for model in report.models if model.training == "federated")
    assert (trained.name, trained.family, trained.rounds) == ("network-epsilon-2", "network", 2)
    assert [one.round for one in report.rounds if one.model == trained.name] == [1, 2]
    spent = [one.event for one in network_releases(job(), shape_of(job()))]
    assert trained.measured_epsilon == pytest.approx(epsilon_of(spent, 1e-5))
    assert report.rounds[-1].auc == pytest.approx(trained.auc.value)
    [run] = report.protection
    assert (run.masked, run.noised, run.receipts) == (True, True, tuple(sorted(PARTNERS)))


def test_its_page_says_what_left_and_that_it_was_masked(report: Report) -> None:
    page = render(report)
    for said in ("network-epsilon-2", "released 3 times", "Updates left masked", "AUC by round"):
        assert said in page


def test_a_report_says_where_the_coordinator_saw_updates() -> None:
    seen = " ".join(notes_of(job(joining={"rule": "median"}), SCHEMA))
    assert "saw each partner's, unmasked" in seen
    assert "left masked" not in seen
    assert "in each of 2 rounds a change after " in seen
    summed = " ".join(notes_of(job(algorithm="fedsgd"), SCHEMA))
    assert "in each of 2 rounds sums of clipped gradients (" in summed
    assert "last layer of its own" in " ".join(notes_of(job(personal_head=True), SCHEMA))


def test_a_network_over_another_dataset_has_no_report(tmp_path: Path) -> None:
    other = network_job(PARTNERS)
    with pytest.raises(SettingInvalid):
        _require_report(Layout(tmp_path), other, tmp_path / "report")
