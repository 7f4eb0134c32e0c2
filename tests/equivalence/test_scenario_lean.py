"""A lean training gives the model of the full protocol, and twins are those of `train_pooled`."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from fedmkt.contract.job import NetworkJob, PrivacySettings
from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.core.errors import PartitionImpossible, ScenarioInvalid, SettingInvalid
from fedmkt.data.tables import positives
from fedmkt.horizontal.network_plan import job_shape
from fedmkt.horizontal.network_server import result
from fedmkt.horizontal.network_together import train_together
from fedmkt.horizontal.network_update import NetworkRows, with_head
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.models.network_shape import network_inputs
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.scenario.clock import clock_of
from fedmkt.simulation.scenario.customers import read_customers
from fedmkt.simulation.scenario.dealing import deal
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.rows import TOO_FEW, Row, Ruler, Task

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


NETWORK = {"family": "network", "rounds": 2, "local_steps": 3}
GRADIENTS = {"family": "network", "rounds": 2, "algorithm": "fedsgd"}


@pytest.mark.parametrize(
    "values",
    [
        {"model": NETWORK},
        {
            "model": {**GRADIENTS, "clip_norm": 1.0, "width": 4},
            "privacy": {"trust": "distributed", "epsilon": 2},
        },
        {
            "model": {**NETWORK, "clip_norm": 1.0, "sampling_rate": 0.3},
            "privacy": {"trust": "local", "epsilon": 2},
        },
        {
            "model": {**NETWORK, "joining": {"rule": "median"}, "algorithm": "scaffold"},
        },
    ],
    ids=["none", "distributed", "local", "seen"],
)
def test_a_lean_network_measures_what_the_full_one_does_to_the_last_bit(
    values: dict[str, Any],
) -> None:
    full, lean = rows_of(values), rows_of({**values, "protocol": "lean"})
    assert [(r.round, r.auc, r.log_loss, r.epsilon) for r in full] == [
        (r.round, r.auc, r.log_loss, r.epsilon) for r in lean
    ]
    asked = values.get("privacy", {}).get("epsilon")
    assert full[-1].epsilon == (asked if asked is None else pytest.approx(asked, rel=2e-3))
    assert len(full) == 2


def test_heads_of_partners_own_are_measured_each_with_its_own() -> None:
    model = {**NETWORK, "width": 4, "personal_head": True}
    values = {"protocol": "lean", "model": model, "partition": {"partners": 4}}
    study = scenario_of({"name": "study", **SMALL, **values}, source="test")
    customers = read_customers(study.data, seed=5)
    parts = deal(customers, study.partition, seed=5)
    assert isinstance(study.model, NetworkSettings)
    job = NetworkJob(
        name="by-hand",
        requester="any",
        purpose="any",
        dataset="any",
        members=tuple(parts),
        target=customers.target,
        features=customers.features,
        model=study.model,
        privacy=PrivacySettings(trust="none"),
    )
    shape = job_shape(job, customers.schema)
    rows = {
        name: NetworkRows(
            network_inputs(part, shape, dataset="a"),
            positives(part, customers.schema, customers.target),
        )
        for name, part in parts.items()
    }
    state, kept = train_together(
        rows, job, shape, dict.fromkeys(parts, ReproducibleNoise(1)), run="any"
    )
    ruler = Ruler(customers.public)
    own = [ruler.measured(with_head(result(state, job), one))[0] for one in kept.values()]
    assert rows_of(values)[-1].auc == pytest.approx(sum(own) / len(own), abs=1e-9)
    assert len(set(own)) > 1
    full = scenario_of({"name": "study", **SMALL, "model": model}, source="test")
    with pytest.raises(SettingInvalid, match="say lean"):
        family(full).check(full)


def test_a_partner_of_one_class_is_refused_in_words_where_nodes_would_refuse_it() -> None:
    skewed = {"partition": {"kind": "dirichlet", "alpha": 0.01, "partners": 5}}
    with pytest.raises(PartitionImpossible, match="one class alone"):
        rows_of(skewed)
    assert rows_of({**skewed, "protocol": "lean"})[-1].status == "trained"


def test_worker_processes_measure_what_one_process_does_to_the_last_bit() -> None:
    values = {"model": {"rounds": 2}, "privacy": {"trust": "local", "epsilon": 2}}
    workers = rows_of({**values, "backend": {"kind": "workers", "workers": 2}})
    assert workers == rows_of(values)
    with pytest.raises(ScenarioInvalid, match="protocol = full"):
        scenario_of(
            {"name": "a", "protocol": "lean", "backend": {"kind": "workers"}}, source="test"
        )


@pytest.mark.parametrize(
    "values",
    [{"joining": {"rule": "krum", "faulty": 1}}, {"width": 4, "personal_head": True}],
    ids=["krum", "personal_head"],
)
def test_the_twins_of_a_network_know_nothing_of_how_partners_would_be_joined(
    values: dict[str, Any],
) -> None:
    def pooled(**more: Any) -> float | None:
        model = {**NETWORK, "width": values.get("width", 0), **more}
        asked = {"protocol": "lean", "partition": {"partners": 5}, "compare": ["pooled"]}
        return [row for row in rows_of({**asked, "model": model}) if row.method == "pooled"][-1].auc

    assert pooled(**values) == pooled() is not None


def test_with_everybody_away_a_training_ends_by_name_and_with_some_it_goes_on() -> None:
    many = {"protocol": "lean", "partition": {"partners": 30}, "model": {"rounds": 6}}
    away = rows_of({**many, "participation": {"dropout": 0.5, "quorum": 14}})
    assert (away[-1].status, away[-1].auc) == (TOO_FEW, None)
    assert 1 <= away[-1].round <= 6
    for model in ({"rounds": 3}, {**NETWORK, "rounds": 3, "algorithm": "scaffold"}):
        some = {**many, "model": model, "participation": {"share": 0.3, "dropout": 0.2}}
        rows, everybody = rows_of(some), rows_of({**many, "model": model})
        assert [row.status for row in rows] == ["trained"] * 3
        assert rows[-1].auc != everybody[-1].auc
        assert rows_of(some) == rows


def test_a_robust_rule_has_twins_and_ends_where_too_few_answer() -> None:
    model = {**NETWORK, "rounds": 8, "joining": {"rule": "trimmed_mean", "faulty": 1}}
    few = {"protocol": "lean", "partition": {"partners": 4}, "model": model}
    rows = rows_of({**few, "participation": {"dropout": 0.5}, "compare": ["pooled"]})
    joint = [row for row in rows if row.method == "federated"]
    assert (joint[-1].status, joint[-1].round) == (TOO_FEW, len(joint))
    assert [row.status for row in rows if row.method == "pooled"] == ["trained"] * 8


def test_the_clock_runs_longer_with_slower_lines_stragglers_and_masks() -> None:
    def passed(**values: Any) -> float:
        base = {"protocol": "lean", "model": {"rounds": 2}, "partition": {"partners": 5}}
        row = rows_of({**base, **values})[-1]
        assert row.clock_s is not None
        return row.clock_s

    line = {"mbit_s": 100.0, "latency_ms": 10.0, "compute_s": 1.0}
    plain = passed(link=line)
    # Two rounds of at least the partners' work, and no partner works longer than that.
    assert 2 < plain < 4
    assert passed(link={**line, "mbit_s": 0.01}) > plain
    assert passed(link={**line, "latency_ms": 500.0}) > plain
    slow = {"straggler_share": 1.0, "straggler_slowdown": 3.0}
    assert passed(link=line, participation=slow) > 2 * plain
    assert passed(link=line, protocol="full") > plain


def test_a_round_of_updates_that_are_seen_is_one_exchange_on_the_clock() -> None:
    def passed(rule: str, protocol: str) -> float:
        model = {"family": "network", "joining": {"rule": rule}}
        values = {"model": model, "protocol": protocol, "link": {"mbit_s": 100.0}}
        study = scenario_of({"name": "study", **values}, source="test")
        clock = clock_of(study, ("a", "b", "c"), (800, 800), None)
        assert clock is not None
        return clock.after(1)

    assert passed("median", "full") == passed("median", "lean") == passed("sum", "lean")
    assert passed("sum", "full") > 2 * passed("median", "full")


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
