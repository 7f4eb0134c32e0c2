"""The study on partners, in short: its own scenario files with fewer customers, seeds and values.

The signs are those that docs/studies/partner_worth.md states; with so few customers its sizes are
not to be expected.
"""

from pathlib import Path
from typing import Any

import pytest

from fedmkt.simulation.scenario.api import simulate
from fedmkt.simulation.scenario.engine import checked_trials
from fedmkt.simulation.scenario.loading import load_scenario
from fedmkt.simulation.scenario.summary import Mean
from fedmkt.simulation.scenario.vertical_summary import Worth, worth_of

STUDY = Path(__file__).parents[2] / "simulations" / "worth"
CUSTOMERS, SEEDS = 8000, (1, 2, 3, 4, 5)


def shortened(name: str, **sweep: list[Any]) -> dict[tuple[object, str], Worth]:
    """Return what each partner is worth, by the first swept key's value and the partner."""
    plain = load_scenario(STUDY / f"{name}.toml").model_dump(mode="json", exclude_unset=True)
    plain["data"]["generator"]["rows"] = CUSTOMERS
    keys = {key: sweep[key.rpartition(".")[2]] for key in plain["sweep"]}
    results = simulate({**plain, "seeds": SEEDS, "sweep": keys, "compare": ["alone"]})
    return {(line.values[0], line.name): line for line in worth_of(results, tuple(keys))}


def low(mean: Mean) -> float:
    assert mean.half is not None
    return mean.value - mean.half


def high(mean: Mean) -> float:
    assert mean.half is not None
    return mean.value + mean.half


def test_a_partner_is_worth_less_to_all_customers_the_fewer_of_them_it_knows() -> None:
    found = shortened("overlap", overlap=[0.25, 1.0])
    few, all_ = (found[value, "useful"] for value in (0.25, 1.0))
    assert low(few.gain) > 0
    assert low(all_.gain) > high(few.gain)
    assert found[0.25, "all together"].gain.value < few.gain.value
    assert few.shared_gain is not None
    assert few.shared_gain.value > 2 * few.gain.value


def test_a_partner_whose_columns_say_nothing_costs_a_little() -> None:
    found = shortened("overlap", overlap=[1.0])
    assert found[1.0, "idle"].gain.value < 0
    assert high(found[1.0, "idle"].gain) < low(found[1.0, "useful"].gain)


def test_a_partner_with_our_own_columns_adds_nothing_though_its_share_of_the_score_is_large() -> (
    None
):
    found = shortened("correlation", correlation=[0.0, 1.0])
    ours, own = found[1.0, "useful"], found[0.0, "useful"]
    assert low(ours.gain) <= 0 <= high(ours.gain)
    assert low(own.gain) > 0.03
    assert ours.share is not None
    assert low(ours.share) > 0.2


def test_what_nobody_knows_takes_worth_from_every_partner() -> None:
    found = shortened("unseen", noise=[0.0, 4.0])
    assert high(found[4.0, "useful"].gain) < low(found[0.0, "useful"].gain)


def test_noise_on_labels_keeps_most_of_the_gain_from_epsilon_3_on() -> None:
    found = shortened("epsilon", epsilon=[0.5, 3, 20], mode=["encrypted"])
    gains = {epsilon: found[epsilon, "useful"].gain.value for epsilon in (0.5, 3, 20)}
    assert gains[3] > 0.8 * gains[20]
    assert gains[0.5] < gains[3]


@pytest.mark.parametrize("file", sorted(STUDY.glob("*.toml")), ids=lambda file: file.stem)
def test_every_scenario_of_the_study_can_be_run(file: Path) -> None:
    scenario = load_scenario(file)
    assert len(checked_trials(scenario)) >= 40
    assert scenario.name == f"worth-{file.stem}"
