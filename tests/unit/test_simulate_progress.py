"""How far a sweep is: plain lines without a terminal, and nothing above a refusal."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from fedmkt.cli import simulate_progress
from fedmkt.cli.simulate import simulate
from fedmkt.cli.simulate_progress import Lines, shown
from fedmkt.core.errors import FedmktError, ScenarioInvalid


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_each_tenth_of_the_trials_is_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with shown(Console(file=io.StringIO()), yes=False) as lines:
        lines.planned(40, 0)
        for finished in range(1, 41):
            lines.advanced(finished, 60.0 * (40 - finished))
    told = said(capsys)
    assert told[0] == "0 of 40 trials"
    assert told[1] == "4 of 40 trials, about 36 minutes left"
    assert [int(line.split()[0]) for line in told] == list(range(0, 41, 4))


def test_finished_trials_that_are_kept_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(yes=False).planned(10, 7)
    assert said(capsys) == [
        "7 of 10 trials were finished before and are kept",
        "7 of 10 trials",
    ]


def test_a_slow_trial_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate_progress, "EVERY_S", 0.05)
    with shown(Console(file=io.StringIO()), yes=False) as lines:
        lines.planned(1, 0)
        wait_for(lambda: len(found := said(capsys)) > 0 and found[-1] == "0 of 1 trials")
        wait_for(lambda: said(capsys) != [])


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


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
        bar.planned(4, 0)
        bar.advanced(4, 0.0)
    assert "4/4" in screen.getvalue()
