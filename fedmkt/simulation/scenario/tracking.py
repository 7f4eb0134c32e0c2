"""Finished trials in a tracker of one's own: MLflow, or TensorBoard's event files.

    mlflow:URI            one MLflow run a trial, as sqlite:///mlflow.db or a server's address
    tensorboard:FOLDER    one folder of event files a trial

Guarantee: a trial that the tracker has is not written again. Only what stands in the results is
written: settings, swept values, seed, and the joint model's figures a round.
Not guaranteed: that a tracker is private. Whoever reads it reads the study.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from fedmkt.core.errors import ExtraMissing, SettingInvalid
from fedmkt.simulation.scenario.folder import Finished
from fedmkt.simulation.scenario.results import Done
from fedmkt.simulation.scenario.rows import Row
from fedmkt.simulation.scenario.schema import Scenario, flat
from fedmkt.simulation.scenario.trials import Trial
from fedmkt.storage.whole_file import unwritable

_EXTRA = "tracking"
_TAG = "fedmkt.trial"
_FIGURES = ("auc", "log_loss", "epsilon", "clock_s", "bytes_up", "bytes_down", "exchanges")


class Tracker(Protocol):
    """Somewhere to write trials to."""

    def write(self, trial: Trial, finished: Finished) -> None:
        """Write a trial, unless it is there."""
        ...


def refuse_log_of_attack(where: str | None) -> None:
    """Refuse a tracker beside an attack. Raises: SettingInvalid."""
    if where is not None:
        raise SettingInvalid(setting="--log", problem="attacks are not written to trackers")


def open_tracker(where: str, scenario: Scenario) -> Tracker:
    """Return the tracker that `where` names.

    Raises: SettingInvalid, ExtraMissing, OutputUnwritable.
    """
    kind, _, place = where.partition(":")
    if not place or kind not in ("mlflow", "tensorboard"):
        problem = "say mlflow:URI, as mlflow:sqlite:///mlflow.db, or tensorboard:FOLDER"
        raise SettingInvalid(setting=f"--log {where}", problem=problem)
    if kind == "mlflow":
        return _MLflow(place, scenario.name)
    return _TensorBoard(Path(place) / scenario.name)


def write_to(tracker: Tracker, done: Done) -> None:
    """Write all finished trials that the tracker does not have."""
    for trial, finished in done:
        tracker.write(trial, finished)


class _MLflow:
    """One MLflow experiment a scenario."""

    def __init__(self, uri: str, name: str) -> None:
        try:
            from mlflow import MlflowClient, MlflowException, entities
        except ModuleNotFoundError as error:
            raise _missing("mlflow-skinny") from error
        # A server that is not there is told after seconds, not minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            self._client, self._entities = MlflowClient(tracking_uri=uri), entities
            known = self._client.get_experiment_by_name(name)
            self._experiment = (
                self._client.create_experiment(name) if known is None else known.experiment_id
            )
        except MlflowException as error:
            problem = "MLflow cannot be reached there; check the address and that it is up"
            raise SettingInvalid(setting=f"--log mlflow:{uri}", problem=problem) from error

    def write(self, trial: Trial, finished: Finished) -> None:
        """Write a trial, unless it is there."""
        client, entities = self._client, self._entities
        if client.search_runs([self._experiment], f"tags.`{_TAG}` = '{trial.id}'"):
            return
        run = client.create_run(
            self._experiment, run_name=_name(trial), tags={_TAG: trial.id}
        ).info.run_id
        metrics = [
            entities.Metric(name, value, 0, number) for number, name, value in _figures(finished)
        ]
        given = [entities.Param(key, str(value)[:500]) for key, value in _settings(trial).items()]
        client.log_batch(run, metrics=metrics, params=given)
        client.set_terminated(run)


class _TensorBoard:
    """One folder of event files a trial."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise _missing("tensorboardX") from error
        # Found out now and not after hours of trials.
        with unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        self._folder, self._writer = folder, SummaryWriter

    def write(self, trial: Trial, finished: Finished) -> None:
        """Write a trial, unless it is there."""
        folder = self._folder / f"{_name(trial)} {trial.id}"
        if folder.exists():
            return
        writer = self._writer(str(folder))
        for number, name, value in _figures(finished):
            writer.add_scalar(name, value, number)
        writer.add_text("setting", "\n".join(f"{k}: {v}" for k, v in _settings(trial).items()))
        writer.close()


def _figures(finished: Finished) -> Iterator[tuple[int, str, float]]:
    """Yield round, name and value of what was measured of the joint model."""
    for row in _joint(finished):
        for name in _FIGURES:
            value = getattr(row, name)
            if value is not None:
                yield row.round, name, float(value)


def _joint(finished: Finished) -> list[Row]:
    return [row for row in finished.rows if row.method == "federated"]


def _settings(trial: Trial) -> Mapping[str, object]:
    """Return what a trial was set to, by dotted keys."""
    stated = trial.setting.model_dump(mode="json", exclude_unset=True)
    return {**flat(stated), **trial.swept, "seed": trial.seed}


def _name(trial: Trial) -> str:
    swept = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in trial.swept.items())
    return f"{swept} seed={trial.seed}".strip().replace("/", "-")


def _missing(library: str) -> ExtraMissing:
    return ExtraMissing(library=library, purpose="Trackers", extra=_EXTRA)
