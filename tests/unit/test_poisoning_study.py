"""Attacks succeed against the plain mean; rules that should hold them off do, some do not."""

import re
from dataclasses import replace

import numpy as np
import pytest
from poisoning_world import population, trigger
from scipy.stats import ttest_1samp

from fedmkt.core.errors import SettingInvalid, UpdatesTooFew
from fedmkt.evaluation.metrics import Interval
from fedmkt.simulation.poisoning.attackers import Backdoor, EchoRiders, LabelFlips, TurnedUpdates
from fedmkt.simulation.poisoning.parts import Terms
from fedmkt.simulation.poisoning.plots import attack_plots
from fedmkt.simulation.poisoning.result import PoisoningResult, RuleOutcome, over_seeds
from fedmkt.simulation.poisoning.study import Study, run_study

TERMS = Terms(rounds=6, steps=3, batch=32, rate=0.6)
STUDY = Study(population, TERMS, hostile=3, seeds=(1, 2), rules=("bounded mean", "median", "Krum"))


@pytest.fixture(scope="module")
def results() -> dict[str, PoisoningResult]:
    attacks = {
        "turned": TurnedUpdates(2.0),
        "planted": Backdoor(trigger(), scale=3.0),
        "riders": EchoRiders(),
    }
    return dict(zip(attacks, run_study(STUDY, list(attacks.values())), strict=True))


def attacked(result: PoisoningResult, rule: str) -> float:
    return result.outcome(rule).attacked.value


def test_turned_updates_ruin_the_plain_mean_and_not_krum(results):
    result = results["turned"]
    assert attacked(result, "mean") > 0.1
    assert attacked(result, "Krum") < 0.03
    assert result.outcome("Krum").hostile_taken == 0.0


def test_the_median_and_bounded_norms_soften_turned_updates_and_still_lose(results):
    result = results["turned"]
    for rule in ("median", "bounded mean"):
        assert attacked(result, "Krum") < attacked(result, rule) < attacked(result, "mean") / 2


def test_a_scaled_backdoor_takes_the_plain_mean_at_no_visible_cost(results):
    plain = results["planted"].plain
    assert plain.attacked.value > 0.9
    assert plain.quiet.value < 0.3
    assert plain.clean_auc.value > 0.75  # guessing has 0.5


def test_krum_keeps_the_backdoor_out_and_bounded_norms_do_not(results):
    result = results["planted"]
    assert attacked(result, "Krum") < 0.3
    assert result.outcome("Krum").hostile_taken == 0.0
    assert attacked(result, "bounded mean") > attacked(result, "Krum") + 0.2


def test_no_rule_need_keep_free_riders_out(results):
    """They do little harm, and the plain mean takes all they send: they get the model unearned."""
    plain = results["riders"].plain
    assert plain.hostile_taken == 1.0
    assert plain.attacked.value < 0.03


def test_without_an_attack_the_plain_mean_loses_nothing_to_itself(results):
    for name in ("turned", "riders"):
        assert results[name].plain.quiet == Interval(0.0, 0.0, 0.0)


def test_what_is_added_is_attacked_minus_quiet(results):
    for result in results.values():
        for one in result.outcomes:
            assert one.added.value == pytest.approx(one.attacked.value - one.quiet.value)
            assert one.course[-1] == pytest.approx(one.attacked.value)
            assert len(one.course) == TERMS.rounds


def test_equal_studies_give_equal_results():
    short = replace(STUDY, terms=Terms(rounds=2, steps=1, batch=8), rules=("median",))
    assert run_study(short, [LabelFlips()]) == run_study(short, [LabelFlips()])


def test_more_hostile_partners_than_krum_bears_are_refused():
    # 9 partners: Krum bears (9 - 3) // 2 = 3.
    study = replace(STUDY, hostile=4, terms=Terms(rounds=1, steps=1, batch=8), rules=("Krum",))
    with pytest.raises(UpdatesTooFew):
        run_study(study, [LabelFlips()])


@pytest.mark.parametrize("wrong", [{"rules": ("mode",)}, {"seeds": (1, 1)}, {"hostile": 0}])
def test_a_study_that_shows_nothing_is_refused(wrong):
    with pytest.raises(SettingInvalid):
        replace(STUDY, **wrong)


@pytest.mark.parametrize("values", [[0.1, 0.3], [0.5, 0.2, 0.35, 0.3]])
def test_intervals_over_seeds_are_students(values):
    found = over_seeds(values, least=-9.0, most=9.0)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert over_seeds(values, least=0.15, most=0.4).low >= 0.15


def test_one_seed_gives_no_interval():
    with pytest.raises(SettingInvalid):
        over_seeds([0.1], least=0.0, most=1.0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.0, 0.01, "holds"), (0.011, 0.02, "does not hold"), (0.005, 0.02, "not told")],
)
def test_a_verdict_is_where_the_interval_lies_beside_the_tolerance(low, high, verdict):
    added = Interval((low + high) / 2, low, high)
    zero = Interval(0.0, 0.0, 0.0)
    outcome = RuleOutcome("median", added, zero, added, zero, 1.0, 1, (0.0,))
    result = PoisoningResult("label flips", "AUC lost", 0.01, 9, 3, 5, outcome, ())
    assert result.verdict(outcome) == verdict
    (sentence,) = result.sentences()
    begun = {
        "holds": "Median holds against label flips",
        "does not hold": "Median does not hold against label flips",
        "not told": "Median may or may not hold, as far as 5 seeds tell, against label flips",
    }[verdict]
    assert sentence.startswith(begun)
    assert f"{added.value:.3f} ({low:.3f} to {high:.3f})" in sentence
    assert "1 of 5 trainings diverged" in sentence


def test_plots_say_what_their_tables_say_and_do_not_change(results):
    keys = set()
    for result in results.values():
        plots = attack_plots(result)
        assert plots == attack_plots(result)
        rules, rounds = plots
        for plot in plots:
            keys.add(plot.key)
            assert plot.svg.startswith("<svg ")
            assert plot.svg.endswith("</svg>")
            assert plot.title in plot.svg
            assert not re.search(r"#[0-9a-f]{6}", plot.svg)  # colours are roles
        for one, row in zip(result.outcomes, rules.rows, strict=True):
            assert row[0] == one.rule
            assert row[1].startswith(f"{one.attacked.value:.3f} (")
            assert row[-1] == result.verdict(one)
            assert f">{one.rule}<" in rules.svg
        last = np.array([one.course[-1] for one in result.outcomes])
        assert [float(entry) for entry in rounds.rows[-1][1:]] == pytest.approx(last, abs=1e-4)
    assert len(keys) == 2 * len(results)
