"""Split networks in vertical scenarios: what they measure and cost, and what is refused."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fedmkt.core.errors import SettingInvalid
from fedmkt.data.tables import positives
from fedmkt.models.network_shape import network_inputs, shape_from_schema
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.scenario.api import simulate
from fedmkt.simulation.scenario.engine import checked_trials
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.report import render
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.vertical_customers import share_customers
from fedmkt.simulation.scenario.vertical_split import SplitModels
from fedmkt.vertical.split_twin import SplitColumns, first_networks, train_split

SMALL = {"family": "split", "rounds": 3, "local_steps": 5, "width": 8}
RANDOMISED: dict[str, Any] = {
    "vertical": {"mode": "label_private"},
    "privacy": {"trust": "local", "epsilon": 3},
}


def study(**values: Any) -> dict[str, Any]:
    made = {"rows": 1200, "signal": 3}
    return {
        "name": "study",
        "seeds": [3],
        "protocol": "lean",
        "data": {"kind": "generated", "generator": made},
        "model": SMALL,
        "partition": {"kind": "vertical"},
        **values,
    }


def rows_of(**values: Any) -> dict[str, dict[str, Any]]:
    """Return the last trial's rows by method, a partner's by its name."""
    found = simulate(study(**values)).to_dicts()
    return {row["partner"] if row["method"] == "pair" else row["method"]: row for row in found}


def scenario(**values: Any) -> Scenario:
    return scenario_of(study(**values), source="test")


def models_of(study: Scenario, seed: int) -> SplitModels:
    shared, _ = share_customers(study, seed)
    return SplitModels(study, shared, seed)


def test_partners_with_useful_columns_add_to_the_owner_alone() -> None:
    rows = rows_of(compare=["alone"], model={**SMALL, "local_steps": 20})
    gains = {name: rows[name]["gain"] for name in ("party-2", "party-3", "federated")}
    assert min(gains.values()) > 0.02
    assert gains["federated"] > max(gains["party-2"], gains["party-3"])
    assert rows["federated"]["share"] is None


def test_scores_are_those_of_the_protocols_own_twin() -> None:
    models = models_of(scenario(), 3)
    shared, settings = models.customers, models.settings
    training, test = shared.training, shared.public.frame
    both = pl.concat([training, test])  # the last rows are scored, never trained on
    parties = []
    for name, columns in shared.columns.items():
        shape = shape_from_schema(shared.schema, columns, width=1)
        parties.append(SplitColumns(name, shape, network_inputs(both, shape, dataset=name)))
    twin = train_split(
        parties,
        positives(both, shared.schema, shared.target),
        settings.model_copy(update={"holdout": (test.height + 0.5) / both.height}),
        networks=first_networks(parties, settings, [f"3 {one.name}".encode() for one in parties]),
        noise=ReproducibleNoise(1),
    )
    found = models.together(shared.partners, noised=True, run="run", folder=None)
    assert found.scores == pytest.approx(twin.scores[training.height :], abs=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_partners_show_test_customers_with_noise_as_they_do_others(sigma: float) -> None:
    models = models_of(scenario(model={**SMALL, "activation_noise": sigma}), 3)
    members, rows = tuple(models.customers.columns), np.arange(300)
    settings, noise = models.settings, ReproducibleNoise(1)
    twin = models._trained(members, rows, models._target(rows), settings, noise)
    first, again, other = (
        models._scores(members, twin, settings, ReproducibleNoise(n)) for n in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (sigma == 0)


def test_without_noise_all_together_is_the_model_in_one_place() -> None:
    rows = rows_of()
    for figure in ("auc", "log_loss", "gain"):
        assert rows["federated"][figure] == rows["pooled"][figure]
    assert rows["federated"]["epsilon"] is None


def test_the_model_in_one_place_has_no_noise_where_the_joint_one_has() -> None:
    plain = rows_of()["pooled"]
    for key in ("activation_noise", "gradient_noise"):
        rows = rows_of(model={**SMALL, key: 5.0})
        assert rows["pooled"]["log_loss"] == plain["log_loss"]
        assert rows["federated"]["log_loss"] != plain["log_loss"]


def test_a_trial_whose_owner_diverges_alone_is_a_diverged_one() -> None:
    rows = rows_of(model={**SMALL, "rounds": 9, "learning_rate": 1.0, "weight_decay": 100.0})
    assert set(rows) == {"alone", "federated"}
    for row in rows.values():
        assert row["status"] == "diverged"
        assert 1 <= row["round"] <= 9


def test_randomised_labels_cost_their_epsilon_and_change_the_model() -> None:
    rows = rows_of(**RANDOMISED)
    for name in ("party-2", "party-3", "federated"):
        assert rows[name]["epsilon"] == pytest.approx(3, abs=0.01)
    assert rows["pooled"]["epsilon"] is None
    assert rows["federated"]["log_loss"] != rows["pooled"]["log_loss"]


def test_randomised_labels_are_flipped_as_often_as_epsilon_says() -> None:
    models = models_of(scenario(), 3)
    # Each row eight times: so many draws tell 2/3 and 3/2 of the epsilon from it.
    rows = np.tile(np.arange(models.customers.training.height), 8)
    soft = models.soft_labels(rows, 1.0, ReproducibleNoise(1))
    shared = models.customers
    target = positives(shared.training[rows], shared.schema, shared.target)
    flipped = int(((soft > 0.5) != (target > 0)).sum())

    def likely(epsilon: float) -> bool:
        return bool(stats.binomtest(flipped, rows.size, 1 / (1 + np.exp(epsilon))).pvalue > 1e-6)

    assert likely(1.0)
    assert not likely(2 / 3)
    assert not likely(3 / 2)


def test_every_training_draws_its_own_labels_at_the_stated_epsilon_and_trains_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, trained = SplitModels.soft_labels, SplitModels._trained
    asked: list[float] = []
    drawn: list[Any] = []
    used: list[Any] = []

    def soft_labels(self: SplitModels, rows: Any, epsilon: float, source: Any) -> Any:
        asked.append(epsilon)
        drawn.append(honest(self, rows, epsilon, source))
        return drawn[-1]

    def _trained(self: SplitModels, members: Any, rows: Any, target: Any, *how: Any) -> Any:
        used.append(target)
        return trained(self, members, rows, target, *how)

    monkeypatch.setattr(SplitModels, "soft_labels", soft_labels)
    monkeypatch.setattr(SplitModels, "_trained", _trained)
    simulate(study(**RANDOMISED, compare=[], seeds=[3, 4]))
    # With each of two partners and with both, under either seed; the owner's own comes first.
    assert asked == [3.0] * 6
    joint = [target for place, target in enumerate(used) if place % 4]
    assert all(one is other for one, other in zip(joint, drawn, strict=True))
    flips = [target.tobytes() for target in drawn]
    assert len(set(flips)) == len(flips)


def test_the_same_seed_gives_the_same_results() -> None:
    asked = study(**RANDOMISED, model={**SMALL, "activation_noise": 0.5, "gradient_noise": 0.1})
    assert simulate(asked).equals(simulate(asked))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"protocol": "full"}, "protocol = lean"),
    ({"privacy": {"trust": "local", "epsilon": 3}}, "randomises labels"),
    ({"vertical": {"mode": "label_private"}}, "randomises labels"),
    ({"privacy": {"trust": "distributed", "epsilon": 3}}, "randomises labels"),
    ({"partition": {"kind": "iid"}}, "partition.kind = vertical"),
    ({"link": {"mbit_s": 5}}, "link"),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_cannot_be_simulated_is_refused_before_any_trial(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingInvalid, match=said):
        checked_trials(scenario(**values))


def test_a_page_has_no_column_that_nothing_stands_in() -> None:
    made, adult = study(), study(data={"set": "adult", "rows": 300}, compare=["alone"])
    pages = [render(scenario_of(one, source="test"), simulate(one)) for one in (made, adult)]
    assert ["Best there is" in page for page in pages] == [True, False]
    assert not any("Share of the score" in page for page in pages)
