"""What the studies of networks state of accuracy, from the studies' own scenario files."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import fedmkt
from fedmkt.simulation.scenario.loading import load_scenario

STUDIES = Path(__file__).parents[2] / "simulations"
SHORT, FULL = [1], [1, 2, 3]


def last_aucs(study: str, **changes: Any) -> pl.DataFrame:
    """Return each trial's last AUC by method."""
    values = load_scenario(STUDIES / study).model_dump(exclude_unset=True)
    results = fedmkt.simulate({**values, **changes})
    return results.group_by("trial", "method", maintain_order=True).last()


def mean(rows: pl.DataFrame, method: str) -> float:
    found = rows.filter(pl.col("method") == method)["auc"].to_list()
    return sum(found) / len(found)


@pytest.mark.parametrize("seeds", [SHORT, pytest.param(FULL, marks=pytest.mark.slow)])
def test_at_epsilon_3_seven_companies_reach_an_auc_of_895(seeds: list[int]) -> None:
    rows = last_aucs(
        "accuracy/adult_linear.toml", seeds=seeds, sweep={"privacy.epsilon": [3]}, compare=()
    )
    assert rows["epsilon"].max() <= 3
    assert mean(rows, "federated") >= 0.895


@pytest.mark.parametrize("seeds", [SHORT, pytest.param(FULL, marks=pytest.mark.slow)])
def test_a_network_of_seven_companies_is_within_5_thousandths_of_its_twin(
    seeds: list[int],
) -> None:
    rows = last_aucs("drift/adult_fedavg.toml", seeds=seeds)
    assert mean(rows, "pooled") > 0.905  # a twin that learnt nothing is no measure
    assert mean(rows, "federated") >= mean(rows, "pooled") - 0.005


@pytest.mark.slow
def test_the_best_remedy_of_twelve_jobs_is_within_2_hundredths_of_one_place() -> None:
    rows = last_aucs("drift/bank_by_job.toml", seeds=FULL)
    keys = ["model.algorithm", "model.server.rule"]
    together = rows.filter(pl.col("method") == "federated")
    best = together.group_by(keys).agg(pl.col("auc").mean())["auc"].max()
    assert mean(rows, "pooled") > 0.7
    assert best >= mean(rows, "pooled") - 0.02
