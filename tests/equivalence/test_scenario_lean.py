"""A lean training gives the model of the full protocol, and twins are those of `train_pooled`."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from fedmkt.horizontal.pooled import train_pooled
from fedmkt.simulation.scenario.customers import read_customers
from fedmkt.simulation.scenario.dealing import deal
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.rows import Row, Ruler, Task

SMALL = {"data": {"set": "bank_marketing", "rows": 900}, "compare": []}


def rows_of(values: dict[str, Any]) -> list[Row]:
    study = scenario_of({"name": "study", **SMALL, **values}, source="test")
    customers = read_customers(study.data, seed=5)
    parts = deal(customers, study.partition, seed=5)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(study, 5, "run", customers, parts, Path(folder))
        return list(family(study).run(task))


@pytest.mark.parametrize(
    "values",
    [
        {"model": {"rounds": 2}},
        {"model": {"rounds": 2}, "privacy": {"trust": "local", "epsilon": 2}},
        {"model": {"rounds": 2}, "privacy": {"trust": "distributed", "epsilon": 2}},
        {
            "model": {"rounds": 2, "max_bins": 8, "edges": "private_quantiles", "grid_bins": 64},
            "privacy": {"trust": "local", "epsilon": 5},
        },
    ],
    ids=["none", "local", "distributed", "survey"],
)
def test_a_lean_training_measures_what_the_full_one_does_to_the_last_bit(
    values: dict[str, Any],
) -> None:
    full, lean = rows_of(values), rows_of({**values, "protocol": "lean"})
    assert [(r.round, r.auc, r.log_loss, r.epsilon) for r in full] == [
        (r.round, r.auc, r.log_loss, r.epsilon) for r in lean
    ]
    assert len(full) == 2
    asked = values.get("privacy", {}).get("epsilon")
    assert full[-1].epsilon == (asked if asked is None else pytest.approx(asked, rel=2e-3))
    assert full[-1].exchanges
    assert lean[-1].exchanges is None


def test_the_pooled_twin_is_that_of_train_pooled() -> None:
    study = scenario_of(
        {"name": "study", **SMALL, "compare": ["pooled"], "protocol": "lean"}, source="test"
    )
    rows = rows_of({"compare": ["pooled"], "protocol": "lean"})
    last = [row for row in rows if row.method == "pooled"][-1]
    customers = read_customers(study.data, seed=5)
    public = customers.public
    binning = public.binning(customers.features, study.model.max_bins)  # type: ignore[union-attr]
    parts = deal(customers, study.partition, seed=5)
    tables = [type(public)(part, public.schema, public.target).examples(binning)
              for part in parts.values()]  # fmt: skip
    model = train_pooled(tables, binning, study.model).model  # type: ignore[arg-type]
    assert (last.auc, last.log_loss) == Ruler(public).measured(model)
