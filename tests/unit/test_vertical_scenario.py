"""Vertical scenarios: who the parties are, whom they know, and what is refused."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from fedmkt.core.errors import ColumnConstant, FedmktError, ScenarioPartMissing, SettingInvalid
from fedmkt.evaluation.metrics import auc
from fedmkt.privacy.randomised_response import guess_accuracy
from fedmkt.simulation.partitions.columns import ADULT_COLUMNS
from fedmkt.simulation.scenario.api import simulate
from fedmkt.simulation.scenario.engine import checked_trials
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.report import render
from fedmkt.simulation.scenario.results import results_of
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.vertical_customers import (
    columns_of,
    share_customers,
)
from fedmkt.simulation.scenario.vertical_summary import worth_of
from fedmkt.simulation.scenario.vertical_training import Trainer

ROWS = 1200


def study(**values: Any) -> Scenario:
    plain = {
        "name": "study",
        "protocol": "lean",
        "data": {"kind": "generated", "generator": {"rows": ROWS, "signal": 2}},
        "model": {"rounds": 2, "max_bins": 6},
        **values,
        "partition": {"kind": "vertical", **values.get("partition", {})},
    }
    return scenario_of(plain, source="test")


def test_the_party_that_is_named_first_owns_the_target_and_partners_follow_by_name() -> None:
    named = {"shares": {"us": 1, "zebra": 1, "ant": 1}}
    assert list(columns_of(study(vertical=named))) == ["us", "ant", "zebra"]
    assert list(columns_of(study(vertical={**named, "owner": "ant"}))) == ["ant", "us", "zebra"]
    assert columns_of(study(data={"set": "adult"})) == ADULT_COLUMNS


def test_an_id_tells_two_owners_apart() -> None:
    one, other = ({"shares": dict(parties)} for parties in ((A, B), (B, A)))
    first, second = (checked_trials(study(vertical=v))[0].id for v in (one, other))
    assert first != second


A, B = ("north", 1), ("south", 1)


def test_two_trials_of_one_id_have_the_same_customers_whatever_the_order_of_parties() -> None:
    generator = {"rows": 400, "interactions": 0.5}
    ids, frames = [], []
    for names in (("us", "ant", "zebra"), ("us", "zebra", "ant")):
        vertical = {"shares": dict.fromkeys(names, 0.1)}
        asked = study(data={"kind": "generated", "generator": generator}, vertical=vertical)
        ids.append(checked_trials(asked)[0].id)
        frames.append(share_customers(asked, 3)[0].training)
    assert ids[0] == ids[1]
    assert frames[0].equals(frames[1])


def test_partners_know_the_stated_share_of_training_and_of_test_customers() -> None:
    vertical = {"overlaps": {"party-3": 0.3}}
    shared, parts = share_customers(study(partition={"overlap": 0.6}, vertical=vertical), 7)
    training, test = shared.training.height, shared.public.frame.height
    assert training + test == ROWS
    for name, share in (("party-1", 1.0), ("party-2", 0.6), ("party-3", 0.3)):
        assert parts[name].height == round(share * training)
        assert int(shared.known[name].sum()) == round(share * test)


def test_a_lean_gives_a_partner_more_of_the_good_customers() -> None:
    found, _ = share_customers(study(partition={"overlap": 0.5}, vertical={"lean": 0.3}), 7)
    target = (found.public.frame[found.target] == found.schema.target_positive).to_numpy()
    known = found.known["party-2"]
    assert np.corrcoef(known, target)[0, 1] == pytest.approx(0.3, abs=0.02)


def test_the_truth_is_that_of_the_test_customers() -> None:
    # Targets are drawn from the true probabilities: over these rows their AUC is the best there is.
    found, _ = share_customers(study(), 7)
    assert found.truth is not None
    target = (found.public.frame[found.target] == found.schema.target_positive).to_numpy()
    drawn = auc(target.astype(np.uint8), found.truth.probability)
    assert drawn == pytest.approx(found.truth.bayes_auc, abs=0.05)
    assert drawn > 0.75


def test_without_noise_all_together_is_the_model_in_one_place() -> None:
    last = {row["method"]: row for row in simulate_rows(study())}
    for figure in ("auc", "log_loss", "gain", "shared_gain"):
        assert last["federated"][figure] == last["pooled"][figure]
    assert last["federated"]["epsilon"] is None


def simulate_rows(scenario: Scenario) -> list[dict[str, Any]]:
    plain = scenario.model_dump(mode="json", exclude_unset=True)
    return simulate(plain).to_dicts()


def test_a_gain_is_what_the_models_aucs_differ_by() -> None:
    rows = simulate_rows(study(partition={"overlap": 0.5}))
    alone = next(row["auc"] for row in rows if row["method"] == "alone")
    gains = [(row["auc"] - alone, row["gain"]) for row in rows if row["method"] == "pair"]
    assert len(gains) == 2
    assert all(given == pytest.approx(found, abs=1e-12) for given, found in gains)


def test_one_partner_is_trained_with_once() -> None:
    rows = simulate_rows(study(vertical={"shares": dict((A, B))}))
    pair, joint = (next(r for r in rows if r["method"] == m) for m in ("pair", "federated"))
    assert (pair["auc"], pair["log_loss"]) == (joint["auc"], joint["log_loss"])
    assert pair["partner"] == "south"


@pytest.mark.parametrize("mode", ["encrypted", "label_private"])
def test_a_training_with_noise_states_what_a_label_lost(mode: str) -> None:
    rows = simulate_rows(study(privacy={"trust": "local", "epsilon": 3}, vertical={"mode": mode}))
    for row in rows:
        if row["method"] in ("pair", "federated"):
            assert 2.9 < row["epsilon"] <= 3
        else:
            assert row["epsilon"] is None


def test_randomised_labels_are_flipped_as_often_as_epsilon_says() -> None:
    scenario = study(privacy={"trust": "local", "epsilon": 1}, vertical={"mode": "label_private"})
    shared, _ = share_customers(scenario, 3)
    job = Trainer(scenario, shared, 3).job(shared.partners)
    assert job.labels.mode == "label_private"
    assert job.labels.noise_multiplier is None
    assert guess_accuracy(job.labels.epsilon or 0) == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_sweep_over_the_vertical_keys_measures_each_value() -> None:
    scenario = study(seeds=[1, 2], sweep={"data.generator.correlation": [0.0, 1.0]})
    results = simulate(scenario.model_dump(mode="json", exclude_unset=True))
    lines = worth_of(results, ("data.generator.correlation",))
    assert [(line.values, line.name) for line in lines] == [
        ((value,), name) for value in (0.0, 1.0) for name in ("party-2", "party-3", "all together")
    ]
    assert all(line.gain.half is not None and line.best is not None for line in lines)
    page = render(scenario, results)
    assert "What each partner adds" in page
    assert "Gain against correlation" in page
    assert "the label owner alone, without noise" in page
    assert "best partner alone" not in page
    assert "True share" in page


def test_a_horizontal_sweep_has_no_part_on_partners() -> None:
    plain = {"name": "study", "data": {"rows": 200}, "protocol": "lean", "compare": []}
    results = simulate({**plain, "model": {"rounds": 1}})
    assert worth_of(results, ()) == ()
    assert "What each partner adds" not in render(scenario_of(plain, source="test"), results)
    assert worth_of(results_of([]), ()) == ()


OF_EVERY_PARTNER = {"party-2": 0.6, "party-3": 0.6}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": {"rounds": 16}}, "15 rounds"),
    ({"model": {"edges": "private_quantiles"}}, "declared edges"),
    ({"privacy": {"trust": "distributed", "epsilon": 1}}, "label owner alone adds noise"),
    ({"vertical": {"mode": "label_private"}}, "trust = local"),
    (
        {
            "protocol": "full",
            "privacy": {"trust": "local", "epsilon": 1},
            "vertical": {"mode": "label_private"},
        },
        "protocol = lean",
    ),
    ({"participation": {"share": 0.5}}, "participation"),
    ({"link": {"mbit_s": 5}}, "link"),
    ({"partition": {"partners": 5}}, "names 3 parties"),
    ({"vertical": {"owner": "nobody"}}, "parties are"),
    ({"vertical": {"overlaps": {"party-1": 0.5}}}, "knows everybody"),
    (
        {"partition": {"overlap": 0.5}, "vertical": {"leans": {"nobody": 0.5}}},
        "names no partner",
    ),
    (
        {"partition": {"overlap": 0.5}, "vertical": {"overlaps": OF_EVERY_PARTNER}},
        "partition.overlap .* vertical.overlaps names every partner",
    ),
    (
        {"vertical": {"lean": 0.1, "leans": OF_EVERY_PARTNER}, "partition": {"overlap": 0.5}},
        "vertical.lean .* vertical.leans names every partner",
    ),
    ({"vertical": {"shares": {"us": 0, "them": 0}}}, "above 0"),
    ({"vertical": {"shares": {"us": 1}}}, "2 to 8 parties"),
    ({"vertical": {"shares": {"us": 1, "coordinator": 1}}}, "name is taken"),
    ({"vertical": {"shares": {"us": 1, "federated": 1}}}, "the party federated"),
    ({"data": {"set": "bank_marketing"}}, "columns are needed"),
    ({"data": {"set": "adult", "features": ["age"]}}, "vertical.columns"),
    ({"data": {"set": "adult", "rows": 100_000}}, "32,561 rows to train on"),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_cannot_be_simulated_is_refused_before_any_trial(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingInvalid, match=said):
        checked_trials(study(**values))


def test_a_network_is_refused() -> None:
    with pytest.raises(ScenarioPartMissing):
        checked_trials(study(model={"family": "network"}))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"bank": ["age"], "shop": ["sex"]}, "guards it"),
        ({"bank": ["age"], "shop": ["shoes"]}, "no feature shoes"),
        ({"bank": ["age"], "shop": ["age"]}, "given twice"),
        ({"bank": ["age"], "shop": ["income"]}, "no feature income"),
    ],
)
def test_columns_that_no_party_can_have_are_refused(
    columns: dict[str, list[str]], said: str
) -> None:
    wrong = study(data={"set": "adult", "rows": 200}, vertical={"columns": columns})
    with pytest.raises(SettingInvalid, match=said):
        share_customers(wrong, 1)


def test_partners_without_a_common_customer_are_refused_by_name() -> None:
    with pytest.raises(FedmktError, match="nobody is a customer"):
        simulate_rows(study(partition={"overlap": 0.01}, data={
            "kind": "generated", "generator": {"rows": 300}}))  # fmt: skip


def test_a_column_with_one_bin_left_is_named_by_both_protocols() -> None:
    few = {"data": {"set": "adult", "rows": 300}, "model": {"max_bins": 4}}
    for protocol in ("lean", "full"):
        with pytest.raises(ColumnConstant, match=r"out of vertical\.columns, or train on more"):
            simulate_rows(study(**few, protocol=protocol))


def test_the_same_seed_gives_the_same_results() -> None:
    plain = study(privacy={"trust": "local", "epsilon": 3}).model_dump(
        mode="json", exclude_unset=True
    )
    first, second = simulate(plain), simulate(plain)
    assert isinstance(first, pl.DataFrame)
    assert first.equals(second)
