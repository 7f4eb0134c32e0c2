"""One trial from its customers to its file."""

import tempfile
import time
from pathlib import Path

from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.rows import Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.trials import Trial


def check(setting: Setting) -> None:
    """Refuse a setting that no trial can simulate. Raises: ScenarioPartMissing, SettingInvalid."""
    found = family(setting)
    found.dealable(setting)
    found.check(setting)


def carry_out(trial: Trial, folder: Path) -> float:
    """Run a trial and make its rows durable; return the seconds it took. folder: the results'.

    Raises: what reading, dealing out and training raise.
    """
    started = time.monotonic()
    results = ResultsFolder(folder)
    trained = family(trial.setting)
    customers, parts = trained.dealt(trial.setting, trial.seed)
    seconds = {"customers": time.monotonic() - started}
    with tempfile.TemporaryDirectory(dir=results.work) as work:
        task = Task(
            setting=trial.setting,
            seed=trial.seed,
            run=trial.run,
            customers=customers,
            parts=parts,
            folder=Path(work),
            seconds=seconds,
        )
        rows = trained.run(task)
    whole = time.monotonic() - started
    results.finish(trial.id, rows, {**seconds, "whole": whole}, left_out=customers.left_out)
    return whole
