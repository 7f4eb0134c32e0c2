"""`fedmkt audit privacy` over jobs, finished runs and terms of networks."""

import json

import polars as pl
import pytest
from end_to_end.network_trial import network_job
from typer.testing import CliRunner

from fedmkt import __version__
from fedmkt.cli.audit import app
from fedmkt.contract.job import Job
from fedmkt.core.errors import FedmktError, FileMissing, SettingInvalid
from fedmkt.data import bundled
from fedmkt.data.binning import binning_from_schema
from fedmkt.models.additive import zero_model
from fedmkt.simulation.demo_plan import ARMS, job_for
from fedmkt.storage.contract_files import write_job

NETWORK = """
family = "network"
target = "y"
features = ["age", "job", "housing"]
width = 8
steps = 6
sampling_rate = 0.5
noise_multiplier = 4.0
"""


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["privacy", *map(str, words)])
    if isinstance(result.exception, FedmktError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "customers.parquet"
    bundled.load("adult_train").head(800).write_parquet(file)
    return file


@pytest.fixture
def job(tmp_path):
    file = tmp_path / "job.toml"
    write_job(file, job_for(ARMS[2]))
    return file


def test_a_job_is_audited_on_a_table_and_leaves_a_page(tmp_path, job, table):
    page = tmp_path / "audit.html"
    said = run(job, "--schema", "adult", "--table", table, "--canaries", 60, "--out", page)
    assert "Stated: epsilon 3 at delta 1e-05" in said
    assert "Lower bound:" in said
    text = page.read_text()
    assert "Canary audit" in text
    assert f"Job job.toml, table {table.name}, schema adult. By fedmkt {__version__}" in text


def test_a_finished_run_is_audited_with_its_models_bins(tmp_path, table):
    job: Job = job_for(ARMS[2])
    surveyed = job.model_copy(
        update={"model": job.model.model_copy(update={"edges": "private_quantiles"})}
    )
    folder = tmp_path / "run-1"
    folder.mkdir()
    (folder / "job.json").write_bytes(surveyed.signed_bytes())
    model = zero_model(binning_from_schema(bundled.schema("adult"), job.features, max_bins=8))
    (folder / "model.json").write_text(json.dumps(model.to_json()))
    said = run(folder, "--schema", "adult", "--table", table, "--canaries", 60)
    assert "Lower bound:" in said
    write_job(tmp_path / "alone.toml", surveyed)
    with pytest.raises(SettingInvalid, match="survey"):
        run(tmp_path / "alone.toml", "--schema", "adult", "--table", table)


@pytest.mark.parametrize("in_folder", [False, True])
def test_a_job_of_a_network_is_audited_by_its_rounds_and_local_steps(tmp_path, table, in_folder):
    members = ("a", "b", "c")
    model = {"algorithm": "fedavg", "rounds": 2, "local_steps": 3, "sampling_rate": 0.5}
    job = network_job(members, trust="local", epsilon=2.0, **model)
    file = tmp_path / "job.toml"
    write_job(file, job)
    if in_folder:
        (tmp_path / "job.json").write_bytes(job.signed_bytes())
        file = tmp_path
    said = run(file, "--schema", "adult", "--table", table, "--canaries", 60)
    assert "6 steps, clip norm 1" in said
    assert "Stated: epsilon 2 at delta 1e-05" in said


def test_a_job_of_a_network_without_noise_states_nothing_to_audit(tmp_path, table):
    write_job(tmp_path / "bare.toml", network_job(("a", "b", "c")))
    with pytest.raises(SettingInvalid, match="no noise"):
        run(tmp_path / "bare.toml", "--schema", "adult", "--table", table)


@pytest.mark.parametrize("kind", ["gradients", "customers"])
def test_a_network_is_audited_by_its_terms(tmp_path, kind):
    terms = tmp_path / "terms.toml"
    terms.write_text(NETWORK)
    said = run(terms, "--schema", "bank_marketing", "--canaries", 60, "--kind", kind)
    assert f"60 canaries that are {kind}" in said
    assert "Lower bound:" in said


def test_what_cannot_be_audited_is_named(tmp_path, job, table):
    write_job(tmp_path / "bare.toml", job_for(ARMS[0]))
    with pytest.raises(SettingInvalid, match="no noise"):
        run(tmp_path / "bare.toml", "--schema", "adult", "--table", table)
    with pytest.raises(FileMissing):
        run(tmp_path / "missing.toml", "--schema", "adult")
    with pytest.raises(FileMissing):
        run(job, "--schema", "adult", "--table", tmp_path / "missing.csv")
    other = tmp_path / "table.txt"
    pl.DataFrame({"x": [1]}).write_csv(other)
    with pytest.raises(SettingInvalid, match=r"\.csv"):
        run(job, "--schema", "adult", "--table", other)
    (tmp_path / "terms.toml").write_text(NETWORK.replace("width", "widht"))
    with pytest.raises(SettingInvalid, match="did you mean width"):
        run(tmp_path / "terms.toml", "--schema", "bank_marketing")
