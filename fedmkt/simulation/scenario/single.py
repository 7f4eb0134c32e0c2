"""One trial from its customers to its file, and what is refused before any."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedmkt.core.errors import (
    FedmktError,
    PartitionImpossible,
    ScenarioPartMissing,
    SettingInvalid,
)
from fedmkt.simulation.scenario.customers import Customers, read_customers
from fedmkt.simulation.scenario.data_parts import DataPart
from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.rows import Task
from fedmkt.simulation.scenario.schema import Setting
from fedmkt.simulation.scenario.trials import Trial
from fedmkt.simulation.scenario.vertical_checks import KIND as VERTICAL
from fedmkt.simulation.scenario.vertical_customers import columns_of, refuse_unusable


def check_all(trials: Sequence[Trial], scenario: str) -> None:
    """Refuse settings that no trial can simulate, by the scenario's name and the swept values.

    Raises: ScenarioPartMissing, SettingInvalid, PartitionImpossible, and what else reading and
        checking the user's own table raises.
    """
    for trial in trials:
        with _named(scenario, trial):
            found = family(trial.setting)
            found.dealable(trial.setting)
            found.check(trial.setting)
    _check_tables(trials, scenario)


def _check_tables(trials: Sequence[Trial], scenario: str) -> None:
    """Read each table of the user's own once, and refuse what no trial could do with it."""
    using: dict[DataPart, list[Trial]] = {}
    for trial in trials:
        if trial.setting.data.kind == "file":
            using.setdefault(trial.setting.data, []).append(trial)
    for data, those in using.items():
        with _named(scenario, those[0]):
            customers = read_customers(data, 0)  # whatever the seed, the table is the same
        for trial in those:
            with _named(scenario, trial):
                _refuse_columns(trial.setting, customers)


@contextmanager
def _named(scenario: str, trial: Trial) -> Iterator[None]:
    """Say in a refusal of the block which scenario it is of, and with which swept values."""
    try:
        yield
    except tuple(_OPENING) as error:
        swept = f" with {trial.combination}" if trial.swept else ""
        opening = _OPENING[type(error)]
        words = f"scenario {scenario}{swept}: {error.fields[opening]}"
        raise type(error)(**error.fields | {opening: words}) from None


_OPENING: Mapping[type[FedmktError], str] = {
    SettingInvalid: "setting",
    ScenarioPartMissing: "key",
    PartitionImpossible: "problem",
}
"""The field of a refusal that says first what it is about."""


def _refuse_columns(setting: Setting, customers: Customers) -> None:
    """Raise SettingInvalid where a partition names columns that the table does not have."""
    partition, present = setting.partition, customers.training.columns
    if partition.kind == VERTICAL:
        refuse_unusable(customers, columns_of(setting))
    elif partition.column is not None and partition.column not in present:
        problem = f"the table has no such column, only {', '.join(present)}"
        raise SettingInvalid(setting=f"partition.column = {partition.column}", problem=problem)


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
    taken = customers.taken if trial.setting.data.kind == "file" else ""
    seconds["whole"] = whole
    results.finish(trial.id, rows, seconds, left_out=customers.left_out, taken=taken)
    return whole
