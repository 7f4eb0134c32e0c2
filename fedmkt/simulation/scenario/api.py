"""`fedmkt.simulate()`: a scenario from a file or a dictionary, run to its results frame."""

import io
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from fedmkt.core.errors import FrameInvalid, ScenarioInvalid
from fedmkt.simulation.scenario.attack_run import run_attack
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.engine import (
    SweepWatcher,
    Unwatched,
    checked_trials,
    run_sweep,
)
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.frames import SOURCE, AnyFrame, as_polars
from fedmkt.simulation.scenario.loading import (
    ATTACK,
    attack_of,
    load_any,
    load_scenario,
    scenario_of,
)
from fedmkt.simulation.scenario.report import write_page
from fedmkt.simulation.scenario.results import note_of, taken_of, write_tables
from fedmkt.simulation.scenario.schema import Scenario, replaced
from fedmkt.simulation.scenario.schema_guess import PARTNER_COLUMN
from fedmkt.simulation.scenario.tracking import open_tracker, refuse_log_of_attack, write_to
from fedmkt.storage.whole_file import write_whole

Tables = AnyFrame | Mapping[str, AnyFrame]


def simulate(
    scenario: Mapping[str, Any] | Path | str,
    *,
    tables: Tables | None = None,
    out: Path | str | None = None,
    workers: int = 1,
    log: str | None = None,
) -> pl.DataFrame:
    """Run a scenario and return its results: one row a trial, model and round; of an attack, one
    row a seed, defence and figure.

    Args: scenario: a dictionary with the keys of a scenario file, a file, or a bundled one's name.
        tables: your own customers in place of the scenario's [data] table: one frame, dealt out as
        [partition] says, or a frame for each partner; of polars or of pandas. out: the results
        folder, as of the command; None keeps nothing. workers: processes; from a script, call with
        more than one only below `if __name__ == "__main__":`. log: a tracker, mlflow:URI or
        tensorboard:FOLDER.
    Warns: where rows were left out, since of each customer one row counts.
    Raises: ScenarioInvalid and the other errors of `fedmkt simulate`.
    """
    with tempfile.TemporaryDirectory() as passing:
        file = Path(passing) / "customers.parquet"
        folder = ResultsFolder(Path(passing) / "results" if out is None else Path(out))
        wanted = _scenario(scenario, tables, file)
        if isinstance(wanted, AttackScenario):
            refuse_log_of_attack(log)
            return run_attack(wanted, folder, workers=workers, watcher=Unwatched())[0]
        return run_scenario(wanted, folder, workers=workers, watcher=_Warns(), log=log)


class _Warns(Unwatched):
    """Warns of what there is to know of the results."""

    def noted(self, words: str) -> None:
        """Warn, at the line that called `fedmkt.simulate`."""
        warnings.warn(words, stacklevel=5)


def run_scenario(
    scenario: Scenario,
    folder: ResultsFolder,
    *,
    workers: int,
    watcher: SweepWatcher,
    log: str | None = None,
) -> pl.DataFrame:
    """Run a scenario into its folder, write tables and page, and return the results.

    log: a tracker to write the trials to as well.
    Raises: what `open_tracker`, `checked_trials`, `ResultsFolder.held` and `run_sweep` raise, and
        OutputUnwritable.
    """
    trials = checked_trials(scenario)  # before the folder is taken: a refusal leaves nothing behind
    tracker = None if log is None else open_tracker(log, scenario)
    with folder.held(scenario):
        done = run_sweep(trials, folder, workers=workers, watcher=watcher)
        results = write_tables(folder.path, done)
        note = note_of(done)
        notes = (*taken_of(done), *filter(None, [note]))
        write_page(folder.path, scenario, results, notes=notes)
        if note:
            watcher.noted(note)
        if tracker is not None:
            write_to(tracker, done)
    return results


def _scenario(
    given: Mapping[str, Any] | Path | str, tables: Tables | None, file: Path
) -> Scenario | AttackScenario:
    """Return the scenario, its table in `file` where frames were given. Raises: ScenarioInvalid."""
    if tables is None:
        if not isinstance(given, Mapping):
            return load_any(Path(given))
        if ATTACK in given:
            return attack_of(given, source=SOURCE)
        return scenario_of(given, source=SOURCE, folder=Path.cwd())
    if not isinstance(given, Mapping):
        plain = load_scenario(Path(given)).model_dump(exclude_unset=True)
        return scenario_of(_with_tables(plain, tables, file), source=str(given))
    return scenario_of(_with_tables(given, tables, file), source=SOURCE, folder=Path.cwd())


def _with_tables(given: Mapping[str, Any], tables: Tables, file: Path) -> dict[str, Any]:
    """Write the frames into `file`, and return the scenario's values that read it."""
    values: dict[str, Any] = {"data.kind": "file", "data.path": str(file)}
    given = _without_source(given)
    if not isinstance(tables, Mapping):
        frame = as_polars(tables, "the frame")
    else:
        if "partition" in given:
            problem = "[partition] cannot stand beside a frame for each partner"
            raise ScenarioInvalid(source=SOURCE, problem=problem)
        frame = _joined(tables)
        values |= {
            "partition.kind": "column",
            "partition.column": PARTNER_COLUMN,
            "partition.partners": len(tables),
        }
    data = io.BytesIO()
    frame.write_parquet(data)
    write_whole(file, data.getvalue())
    return replaced(given, values)


def _joined(tables: Mapping[str, AnyFrame]) -> pl.DataFrame:
    """Return partners' frames as one, with a column that says whose a row is."""
    frames = {name: as_polars(one, f"the frame of {name}") for name, one in tables.items()}
    _refuse_unlike(frames)
    named = (one.with_columns(pl.lit(name).alias(PARTNER_COLUMN)) for name, one in frames.items())
    return pl.concat(named, how="vertical_relaxed")


def _without_source(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scenario's values without those that name another table."""
    data = given.get("data")
    if not isinstance(data, Mapping):
        return given
    kept = {key: value for key, value in data.items() if key not in ("set", "generator")}
    return {**given, "data": kept}


def _refuse_unlike(tables: Mapping[str, pl.DataFrame]) -> None:
    """Raise FrameInvalid where partners' frames have not the same columns, or no rows."""
    first, *others = tables
    for partner, one in tables.items():
        if not one.height:
            raise FrameInvalid(source=SOURCE, problem=f"the frame of {partner} has no rows")
    for partner in others:
        unlike = sorted({*tables[first].columns} ^ {*tables[partner].columns})
        if unlike:
            problem = f"{unlike[0]} is a column of {first} or of {partner}, not of both"
            raise FrameInvalid(source=SOURCE, problem=problem)
