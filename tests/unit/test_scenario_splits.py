"""Rows drawn for tests and trainings have the classes of the target in their shares."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fedmkt.simulation.scenario.customers import read_customers
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.schema import Scenario


def scenario(**values: Any) -> Scenario:
    return scenario_of({"name": "study", **values}, source="test")


def _own(tmp_path: Path, target: list[int], **data: Any) -> Scenario:
    file = tmp_path / "own.parquet"
    pl.DataFrame({"age": range(len(target)), "bought": target}).write_parquet(file)
    return scenario(data={"kind": "file", "path": str(file), "target": "bought", **data})


@pytest.mark.parametrize("seed", range(5))
def test_drawn_rows_have_the_targets_classes_in_their_shares(tmp_path: Path, seed: int) -> None:
    # Of 400 rows 40 say yes: a test share of 0.3 is 120 rows with 12 yes, 200 of 280 have 20.
    study = _own(tmp_path, [1] * 40 + [0] * 360, rows=200, test_share=0.3)
    customers = read_customers(study.data, seed)
    training, test = customers.training["bought"], customers.public.frame["bought"]
    assert (test.len(), test.sum()) == (120, 12)
    assert (training.len(), training.sum()) == (200, 20)
    assert customers.training["age"].is_sorted()


def test_a_class_of_two_rows_is_on_both_sides_of_every_split(tmp_path: Path) -> None:
    for rare in (0, 1):
        study = _own(tmp_path, [rare] * 2 + [1 - rare] * 298, rows=100, test_share=0.05)
        for seed in range(5):
            customers = read_customers(study.data, seed)
            for frame in (customers.training, customers.public.frame):
                assert frame["bought"].n_unique() == 2


def test_another_seed_draws_other_rows(tmp_path: Path) -> None:
    study = _own(tmp_path, [0, 1] * 100)
    one, same, other = (read_customers(study.data, seed).training["age"] for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)
