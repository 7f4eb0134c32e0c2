"""How far a sweep is: plain lines without a terminal, and nothing above a refusal."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from fedmkt.cli import simulate_progress
from fedmkt.cli.simulate import simulate
from fedmkt.cli.simulate_progress import Bar, Lines, shown
from fedmkt.core.errors import FedmktError, ScenarioInvalid
from fedmkt.simulation.scenario.attack_kinds import kind_of
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.loading import bundled_scenarios, load_any
from fedmkt.simulation.scenario.trials import expand


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_each_tenth_of_the_trials_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with shown(Console(file=io.StringIO()), yes=False) as lines:
        lines.planned(40, 0, 2400.0)
        for finished in range(1, 41):
            lines.advanced(finished, 60.0 * (40 - finished))
    told = said(capsys)
    assert told[0] == "0 of 40 trials, about 40 minutes left"
    assert told[1] == "4 of 40 trials, about 36 minutes left"
    assert [int(line.split()[0]) for line in told] == list(range(0, 41, 4))


def test_finished_trials_that_are_kept_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(yes=False).planned(10, 7, 0.0)
    assert said(capsys) == [
        "7 of 10 trials were finished before and are kept",
        "7 of 10 trials",
    ]


def test_a_slow_trial_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate_progress, "EVERY_S", 0.05)
    with shown(Console(file=io.StringIO()), yes=False) as lines:
        lines.planned(1, 0, 0.0)
        wait_for(lambda: len(found := said(capsys)) > 0 and found[-1] == "0 of 1 trials")
        wait_for(lambda: said(capsys) != [])


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_estimate_is_less_the_later_it_is_and_not_said_when_it_has_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(simulate_progress.time, "monotonic", lambda: now[0])
    lines = Lines(yes=False)
    lines.planned(9, 0, 91.0)
    for passed in (60.0, 30.0, 30.0):
        now[0] += passed
        lines.tell_late()
    assert said(capsys) == [
        "0 of 9 trials, about 91 seconds left",
        "0 of 9 trials, about 31 seconds left",
        "0 of 9 trials, about 1 second left",
        "0 of 9 trials",
    ]


def test_of_many_failures_the_first_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(yes=False)
    for seed in range(9):
        lines.failed(f"seed {seed}", FedmktError(problem="why"))
    told = said(capsys)
    assert told[0] == "seed 0 failed: error: Something failed: why."
    assert len(told) == 5


def test_on_a_terminal_a_refusal_stands_without_a_bar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True)
    monkeypatch.setattr("fedmkt.cli.simulate.Console", lambda: console)
    (tmp_path / "wrong.toml").write_text('name = "wrong"\n[sweep]\n"partition.partners" = [3, 1]\n')
    with pytest.raises(ScenarioInvalid):
        simulate(str(tmp_path / "wrong.toml"), out=tmp_path / "out")
    assert screen.getvalue() == ""


def test_on_a_terminal_a_sweep_has_a_bar() -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True, width=80), yes=False) as bar:
        bar.planned(4, 0, 0.0)
        bar.advanced(4, 0.0)
    assert "4/4" in screen.getvalue()


def test_a_long_sweep_is_asked_about_without_a_bar_that_draws_over_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    drawn: list[bool] = []

    def confirm(_words: str) -> bool:
        drawn.append(progress.live.is_started)
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(simulate_progress.click, "confirm", confirm)
    bar = Bar(progress, yes=False)
    bar.planned(4, 0, 9000.0)
    try:
        assert bar.agrees(4, 9000.0)
        assert [*drawn, progress.live.is_started] == [False, True]
    finally:
        progress.stop()


def test_a_bar_has_the_estimate_from_the_start() -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True, width=80), yes=False) as bar:
        bar.planned(4, 0, 90.0)
    assert "about 90 seconds left" in screen.getvalue()


@pytest.mark.parametrize("name", sorted(bundled_scenarios()))
def test_a_bundled_scenario_that_takes_long_says_so_in_its_first_line(name: str) -> None:
    scenario = load_any(Path(name))
    if isinstance(scenario, AttackScenario):
        attack = scenario.attack
        left_s = kind_of(attack).seconds * len(scenario.seeds)
    else:
        left_s = sum(family(one.setting).seconds(one.setting) for one in expand(scenario))
    first = bundled_scenarios()[name].splitlines()[0]
    assert left_s < 20 or "minute" in first, left_s
