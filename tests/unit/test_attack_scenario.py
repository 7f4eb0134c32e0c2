"""A file with [attack] is one attack: complete, checked before it runs, its mistakes by name."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from fedmkt.core.errors import ScenarioInvalid
from fedmkt.evaluation.metrics import Interval
from fedmkt.simulation.attacks.result import AttackResult, mean_result, series
from fedmkt.simulation.poisoning.result import LOST, SeedOutcome
from fedmkt.simulation.scenario.attack_kinds import KINDS
from fedmkt.simulation.scenario.attack_parts import levels
from fedmkt.simulation.scenario.attack_pooling import poisoning_result, rows_of_seed
from fedmkt.simulation.scenario.attack_schema import AttackPart, AttackScenario
from fedmkt.simulation.scenario.attack_schema_poisoning import LabelFlipsPart
from fedmkt.simulation.scenario.attack_trials import attack_family, expand_attack
from fedmkt.simulation.scenario.keys import explained
from fedmkt.simulation.scenario.loading import ATTACK, bundled_scenarios, parse_any
from fedmkt.simulation.scenario.schema import Scenario

BUNDLED = {
    name: text for name, text in bundled_scenarios().items() if name.startswith(f"{ATTACK}-")
}


def attack(**values: Any) -> AttackScenario:
    return AttackScenario.model_validate({"name": "study", "attack": values})


def refused(text: str) -> str:
    with pytest.raises(ScenarioInvalid) as refusal:
        parse_any(f'name = "study"\n{text}\n', source="study.toml")
    return str(refusal.value)


def test_every_kind_has_a_runner_and_a_bundled_scenario_of_its_name() -> None:
    kinds = [get_args(one.model_fields["kind"].annotation)[0] for one in get_args(AttackPart)]
    assert set(kinds) == set(KINDS)
    found = {name: parse_any(text, source=name) for name, text in BUNDLED.items()}
    assert {f"{ATTACK}-{kind.replace('_', '-')}" for kind in kinds} == set(found)
    for name, scenario in found.items():
        assert isinstance(scenario, AttackScenario)
        assert scenario.name == name
        assert scenario.attack.kind.replace("_", "-") == name.removeprefix(f"{ATTACK}-")


def test_a_file_without_an_attack_is_a_scenario_as_before() -> None:
    assert isinstance(parse_any('name = "study"', source="study.toml"), Scenario)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[attack]\nkind = "membership"\nmodles = 9',
            "line 4, unknown key attack.modles (did you mean attack.models?)",
        ),
        (
            '[attack]\nkind = "membership"\nrounds = 9',
            "line 4, unknown key attack.rounds (another attack.kind has it)",
        ),
        ('[attack]\nkind = "member"', "attack.kind: it must be 'membership' or"),
        ("[attack]\nmodels = 9", "attack.kind: it must be 'membership' or"),
        ('[attack]\nkind = "membership"\nmodels = 7', "line 4, attack.models: it must be at least"),
        ('[attack]\nkind = "backdoor"\n[model]\nrounds = 2', "model cannot stand beside [attack]"),
        ('[attack]\nkind = "label_flips"\nhostile = 5', "fewer than half"),
        ('[attack]\nkind = "label_flips"\npartners = 8', "Krum needs three partners more"),
        ('[attack]\nkind = "collusion"\ncolluding = 4', "two honest partners"),
        ('[attack]\nkind = "label_inference"\nknown = 1_501', "at most half of all"),
        ('[attack]\nkind = "label_inference"\npartner = "bank"', "attack.partner: it must be"),
        ('[attack]\nkind = "feature_inversion"\ncolumns = ["age"]', "attack.columns"),
        (
            '[attack]\nkind = "feature_inversion"\ncolumns = ["occupation", "occupation"]',
            "columns must differ",
        ),
        ('seeds = [1, 1]\n[attack]\nkind = "collusion"', "seeds must differ"),
    ],
)
def test_a_mistake_is_named_by_its_line_and_the_nearest_right_key(text: str, said: str) -> None:
    assert said in refused(text)


def test_keys_of_attacks_are_explained_with_the_kinds_that_have_them() -> None:
    found = {kind for key in explained("attack.customers") for kind in key.only}
    kinds = ("membership", "canaries", "label_inference", "feature_inversion")
    assert found == {*kinds}
    assert {key.where for key in explained("model.rounds")} == {
        "where model.family = additive",
        "where model.family = network",
        "where model.family = split",
    }


def test_an_id_stands_for_settings_and_seed_and_more_seeds_leave_the_owner() -> None:
    few = AttackScenario.model_validate({"name": "a", "seeds": [1], "attack": {"kind": "backdoor"}})
    more = few.model_copy(update={"seeds": (1, 2), "name": "a"})
    assert attack_family(few) == attack_family(more)
    assert [one.id for one in expand_attack(few)] == [one.id for one in expand_attack(more)][:1]
    other = attack(kind="backdoor", scale=2.0)
    assert expand_attack(other)[0].id != expand_attack(few)[0].id


def test_levels_name_what_is_off_all_first_and_nothing_last() -> None:
    found = levels(("noise",), ("masks", "noise"))
    assert [(one.words, one.role) for one in found] == [
        ("masks and noise off", "off"),
        ("noise off", "part"),
        ("all on", "on"),
    ]
    assert found[1].has("masks")
    assert not found[1].has("noise")


def result(value: float, *, low: float = 0.1, high: float = 0.9) -> AttackResult:
    curve = (series("curve", [0.0, 1.0], [value, 2 * value]),)
    return AttackResult("a", "d", "f", "", value, low, high, 0.5, curve, least=0.0, most=1.0)


def test_the_mean_over_seeds_has_students_interval_cut_to_what_is_possible() -> None:
    found = mean_result([result(0.7), result(0.8), result(0.9)])
    # Student's t at 0.975 with 2 degrees of freedom is 4.303 (Fisher and Yates, table III).
    assert found.value == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8 - 4.303 * 0.1 / 3**0.5, abs=1e-3)
    assert found.high == 1.0
    assert found.series_named("curve").y == pytest.approx((0.8, 1.6))


def test_runs_that_all_give_the_same_keep_the_widest_of_their_intervals() -> None:
    found = mean_result([result(0.5, low=0.4), result(0.5, high=0.95)])
    assert (found.value, found.low, found.high) == (0.5, 0.1, 0.95)


def outcome(rule: str, value: float) -> SeedOutcome:
    around = Interval(value, value - 0.01, value + 0.01)
    return SeedOutcome(rule, around, 0.01, Interval(0.8, 0.7, 0.9), 0.5, False, (0.3, value))


def test_rows_of_seeds_are_turned_back_into_what_the_study_says() -> None:
    part = attack(kind="label_flips").attack
    assert isinstance(part, LabelFlipsPart)
    seeds = [
        rows_of_seed("label flips", LOST, [outcome("mean", at), outcome("Krum", at / 10)])
        for at in (0.2, 0.3, 0.4)
    ]
    found = poisoning_result(part, seeds)
    assert (found.hostile, found.partners, found.seeds) == (3, 10, 3)
    assert found.plain.attacked.value == pytest.approx(0.3)
    assert found.plain.added.value == pytest.approx(0.29)
    assert found.outcome("Krum").course == pytest.approx((0.3, 0.03))
    (plain, krum) = found.rows()
    assert (plain.defence, plain.value, plain.chance) == ("mean", pytest.approx(0.3), 0.01)
    assert krum.series_named("course").y == pytest.approx((0.3, 0.03))


def test_seeds_are_needed() -> None:
    with pytest.raises(ValidationError):
        AttackScenario.model_validate({"name": "a", "seeds": [], "attack": {"kind": "collusion"}})
