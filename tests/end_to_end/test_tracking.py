"""Studies in a tracker of one's own hold what the results hold, once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import fedmkt
from fedmkt.core.errors import OutputUnwritable, SettingInvalid

SMALL: dict[str, Any] = {
    "name": "tracked",
    "seeds": [1, 2],
    "protocol": "lean",
    "compare": [],
    "data": {"set": "bank_marketing", "rows": 600},
    "model": {"rounds": 2, "max_bins": 8},
}


def joint(results: pl.DataFrame, figure: str) -> list[float]:
    return sorted(results.filter(pl.col("method") == "federated")[figure].to_list())


# MLflow's own models use what SQLAlchemy 2.1 means to remove.
@pytest.mark.filterwarnings("ignore:The ``noload``")
def test_mlflow_holds_every_trial_once_with_its_rounds(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    results = fedmkt.simulate(SMALL, out=tmp_path / "out", log=f"mlflow:{uri}")
    fedmkt.simulate(SMALL, out=tmp_path / "out", log=f"mlflow:{uri}")
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tracked")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params["seed"] for run in runs) == ["1", "2"]
    assert {run.data.params["model.max_bins"] for run in runs} == {"8"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    found = [
        metric.value for run in runs for metric in client.get_metric_history(run.info.run_id, "auc")
    ]
    assert sorted(found) == joint(results, "auc")


def test_a_folder_that_cannot_be_written_is_refused_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable):
        fedmkt.simulate(SMALL, out=tmp_path / "out", log=f"tensorboard:{tmp_path / 'file'}")
    assert not (tmp_path / "out").exists()


def test_tensorboard_holds_every_trial_once(tmp_path: Path) -> None:
    log = f"tensorboard:{tmp_path / 'events'}"
    for _ in range(2):
        fedmkt.simulate(SMALL, out=tmp_path / "out", log=log)
    files = list((tmp_path / "events" / "tracked").glob("*/events.*"))
    assert len(files) == 2
    assert all(b"log_loss" in file.read_bytes() for file in files)


def test_an_unknown_tracker_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="mlflow:URI"):
        fedmkt.simulate(SMALL, out=tmp_path / "out", log="wandb:here")
    assert not (tmp_path / "out").exists()


def test_an_attack_is_refused_a_tracker_and_not_run_without_it(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="attacks are not written to trackers"):
        fedmkt.simulate("attack-collusion", out=tmp_path / "out", log="tensorboard:events")
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_cannot_be_reached_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="cannot be reached"):
        fedmkt.simulate(SMALL, out=tmp_path / "out", log="mlflow:nowhere://x")
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_is_not_installed_is_named_with_its_extra() -> None:
    program = """
import sys
sys.modules["mlflow"] = None
from fedmkt.core.errors import ExtraMissing
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.tracking import open_tracker
try:
    open_tracker("mlflow:sqlite:///x.db", scenario_of({"name": "a"}, source="test"))
except ExtraMissing as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    assert "fedmkt[tracking]" in result.stdout
