"""A sweep's page says what the results say, escaped, and asks the network for nothing."""

import math
import re
from typing import Any

import polars as pl
import pytest

from fedmkt.simulation.scenario.folder import Finished
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.page_plots import _draw_beside
from fedmkt.simulation.scenario.report import headline, render
from fedmkt.simulation.scenario.results import results_of
from fedmkt.simulation.scenario.rows import DIVERGED, TOO_FEW, Row
from fedmkt.simulation.scenario.schema import Scenario
from fedmkt.simulation.scenario.summary import lines_of, mean_of
from fedmkt.simulation.scenario.trials import expand
from fedmkt.simulation.svg import new_axes

HOSTILE = "<script>alert('x & \"y\"')</script>"
AUCS = {1: (0.7, 0.72, 0.71), 8: (0.8, 0.81, 0.85)}


def study(**values: Any) -> Scenario:
    plain = {
        "name": "study",
        "seeds": [1, 2, 3],
        "privacy": {"trust": "local"},
        "sweep": {"privacy.epsilon": [1, 8]},
        **values,
    }
    return scenario_of(plain, source="test")


def results(scenario: Scenario) -> pl.DataFrame:
    done = []
    for trial in expand(scenario):
        auc = AUCS[trial.setting.privacy.epsilon or 1][trial.seed - 1]  # type: ignore[index]
        rows = (
            Row("federated", 1, auc=auc - 0.01, log_loss=0.5, epsilon=0.5),
            Row("federated", 2, auc=auc, log_loss=0.4, epsilon=1.0),
            Row("pooled", 1, auc=0.9, log_loss=0.3),
            Row("alone", 1, "north", auc=0.6, log_loss=0.3),
            Row("alone", 1, "south", auc=0.65, log_loss=0.3),
        )
        done.append((trial, Finished(rows, {"whole": 1.0})))
    return results_of(done)


def test_an_interval_is_students_over_seeds() -> None:
    # Student's t at 0.975 with 2 degrees of freedom is 4.303 (Fisher and Yates, table III).
    values = (0.7, 0.72, 0.71)
    mean = mean_of(values)
    assert mean is not None
    assert mean.value == pytest.approx(0.71)
    assert mean.half == pytest.approx(4.303 * 0.01 / math.sqrt(3), rel=1e-3)
    single = mean_of([0.7])
    assert single is not None
    assert single.half is None
    assert mean_of([]) is None


def test_a_line_holds_the_last_rounds_and_the_best_partner_alone() -> None:
    scenario = study()
    first, second = lines_of(results(scenario), ("privacy.epsilon",))
    assert first.values == (1,)
    assert second.values == (8,)
    assert first.joint == mean_of(AUCS[1])
    assert second.joint == mean_of(AUCS[8])
    assert first.pooled is not None
    assert first.pooled.value == pytest.approx(0.9)
    assert first.alone is not None
    assert first.alone.value == pytest.approx(0.65)


@pytest.mark.parametrize("status", [DIVERGED, TOO_FEW])
def test_trainings_that_ended_early_are_counted_and_left_out_of_means(status: str) -> None:
    (first, second, third) = expand(study(sweep={}, privacy={}))
    good, bad = Row("federated", 1, auc=0.7), Row("federated", 1, status=status)
    done = [(first, Finished((good,), {})), (second, Finished((bad,), {})),
            (third, Finished((good,), {}))]  # fmt: skip
    (line,) = lines_of(results_of(done), ())
    assert (line.ended, line.first_end) == (1, f"{status} in round 1")
    assert line.joint is not None
    assert line.joint.seeds == 2
    page = render(study(sweep={}, privacy={}), results_of(done))
    assert "1 training ended early" in page


def test_a_training_with_too_few_partners_is_named_so_and_not_diverged() -> None:
    scenario = study(sweep={}, privacy={})
    away = Finished((Row("federated", 3, status=TOO_FEW),), {})
    frame = results_of([(trial, away) for trial in expand(scenario)])
    said = headline(scenario, lines_of(frame, ()))
    assert said.endswith("no joint model was trained to the end (too few partners in round 3).")
    assert "too few partners in round 3" in render(scenario, frame)


def test_the_simulated_clock_stands_on_the_page_where_a_line_was_stated() -> None:
    scenario = study(sweep={}, privacy={})

    def page(**values: float) -> str:
        row = Row("federated", 1, auc=0.7, **values)
        return render(
            scenario, results_of([(one, Finished((row,), {})) for one in expand(scenario)])
        )

    assert "Clock, s" not in page()
    assert '<td class="n">12.5</td>' in page(clock_s=12.5)


@pytest.mark.parametrize(("family", "said"), [("split", True), ("additive", False)])
def test_a_page_of_split_networks_says_what_no_epsilon_bounds(family: str, said: bool) -> None:
    scenario = study(model={"family": family})
    assert ("No epsilon bounds either" in render(scenario, results(scenario))) == said


def test_the_headline_names_the_best_setting() -> None:
    scenario = study()
    said = headline(scenario, lines_of(results(scenario), ("privacy.epsilon",)))
    assert "0.710 to 0.820, the best at epsilon 8; in one place 0.900." in said


def test_the_page_is_complete_escaped_and_the_same_twice() -> None:
    scenario = study(
        sweep={"data.target": [HOSTILE, "y"]}, privacy={"trust": "local", "epsilon": 1}
    )
    frame = results(scenario)
    page = render(scenario, frame)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)
    assert render(scenario, frame) == page


@pytest.mark.parametrize("values", [{"seeds": [1]}, {"sweep": {}, "privacy": {}}])
def test_a_page_of_one_seed_or_of_one_setting_is_drawn(values: dict[str, Any]) -> None:
    scenario = study(**values)
    page = render(scenario, results(scenario))
    assert ("One seed says nothing" in page) == (len(scenario.seeds) == 1)
    assert ("AUC against" in page) == bool(scenario.sweep)


def test_a_twin_of_one_setting_alone_is_drawn_as_a_mark() -> None:
    lines = lines_of(results(study()), ("privacy.epsilon",))
    _, axes = new_axes(400, 340)
    _draw_beside(axes, [(1.0, lines[0])], "best partner")
    assert [drawn.get_marker() for drawn in axes.lines] == ["_", "_"]
    _draw_beside(axes, [(1.0, lines[0]), (8.0, lines[1])], "best partner")
    assert [drawn.get_marker() for drawn in axes.lines[2:]] == ["", ""]
