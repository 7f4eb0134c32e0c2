"""One trial from its customers to its file."""

import tempfile
import time
from pathlib import Path

from fedmkt.simulation.scenario.customers import read_customers, source_of
from fedmkt.simulation.scenario.dealing import deal, kind_of
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.rows import Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.trials import Trial


def check(setting: Setting) -> None:
    """Refuse a setting that no trial can simulate. Raises: ScenarioPartMissing, SettingInvalid."""
    source_of(setting.data)
    kind_of(setting.partition)
    family(setting).check(setting)


def carry_out(trial: Trial, folder: Path) -> float:
    """Run a trial and make its rows durable; return the seconds it took. folder: the results'.

    Raises: what reading, dealing out and training raise.
    """
    started = time.monotonic()
    results = ResultsFolder(folder)
    customers = read_customers(trial.setting.data, trial.seed)
    parts = deal(customers, trial.setting.partition, trial.seed)
    seconds = {"customers": time.monotonic() - started}
    with tempfile.TemporaryDirectory(dir=results.work) as work:
        task = Task(
            setting=trial.setting,
            seed=trial.seed,
            run=f"trial-{trial.id}",
            customers=customers,
            parts=parts,
            folder=Path(work),
            seconds=seconds,
        )
        rows = family(trial.setting).run(task)
    whole = time.monotonic() - started
    results.finish(trial.id, rows, {**seconds, "whole": whole})
    return whole
