"""Runs an attack's scenario into its folder: trials, results.parquet, page and picture."""

import polars as pl

from fedmkt.simulation.scenario.attack_kinds import kind_of
from fedmkt.simulation.scenario.attack_parts import Trial
from fedmkt.simulation.scenario.attack_report import write_attack_page
from fedmkt.simulation.scenario.attack_results import (
    Done,
    carry_out_attack,
    finished_attack,
    found_of,
    write_results,
)
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.attack_trials import expand_attack
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.scenario.engine import Plan, SweepWatcher, run_unfinished
from fedmkt.simulation.scenario.folder import ResultsFolder


def run_attack(
    scenario: AttackScenario, folder: ResultsFolder, *, workers: int, watcher: SweepWatcher
) -> tuple[pl.DataFrame, Found]:
    """Run an attack into its folder, write tables, page and picture, and return what was found.

    Raises: what `ResultsFolder.held` and `run_unfinished` raise, and OutputUnwritable.
    """
    trials = expand_attack(scenario)
    plan = Plan(trials, _is_finished, carry_out_attack, _seconds)
    with folder.held(scenario):
        run_unfinished(plan, folder, workers=workers, watcher=watcher)
        done = [_read(trial, folder) for trial in trials]
        results, found = write_results(folder.path, done), found_of(scenario, done)
        write_attack_page(folder.path, scenario, found)
    return results, found


def _is_finished(trial: Trial, folder: ResultsFolder) -> bool:
    return finished_attack(trial, folder) is not None


def _seconds(trial: Trial) -> float:
    return kind_of(trial.attack).seconds


def _read(trial: Trial, folder: ResultsFolder) -> Done:
    done = finished_attack(trial, folder)
    assert done is not None, "it was finished before anybody was told"
    return done
