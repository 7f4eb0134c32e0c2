"""How a scenario differs from the one whose results a folder holds, in words."""

from pathlib import Path

import pytest

from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.difference import difference
from fedmkt.simulation.scenario.loading import load_any, scenario_of
from fedmkt.simulation.scenario.schema import Scenario

AnyOne = Scenario | AttackScenario


def said(there: AnyOne, here: AnyOne) -> str:
    return difference({"scenario": there.model_dump(mode="json")}, here)


@pytest.mark.parametrize("name", ["attack-membership", "attack-backdoor"])
def test_of_an_attack_and_a_sweep_it_is_said_which_is_which_and_no_more(name: str) -> None:
    attack, sweep = load_any(Path(name)), load_any(Path("first"))
    assert said(sweep, attack) == "there a sweep, here an attack"
    assert said(attack, sweep) == "there an attack, here a sweep"


def test_where_a_table_lies_is_no_difference_and_its_bytes_are() -> None:
    one, other = (
        scenario_of(
            {"name": "own", "data": {"kind": "file", "path": path, "target": "bought"}},
            source="test",
        )
        for path in ("a.csv", "b.csv")
    )
    assert (
        said(one, other) == "the bytes of a file it reads have changed, or it is of another version"
    )
