"""Models of finished trainings are listed, shown and pulled, as members signed for them."""

import json
from pathlib import Path

import pytest
from end_to_end.small_world import Trial, small_job, small_world
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.core.errors import OutputUnwritable, ResultUnknown
from fedmkt.models.additive import AdditiveModel


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = small_world(tmp_path_factory.mktemp("models"))
    Trial(world).run(small_job(world), "run-1")
    return world.folder


def ran(*words: str) -> str:
    result = CliRunner().invoke(app, ["model", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_is_listed_with_its_job_its_noise_and_its_hash(home: Path) -> None:
    model = json.loads((home / "coordinator" / "runs" / "run-1" / "model.json").read_bytes())
    listed = ran("list", "--home", str(home))
    for word in ("run-1", "small", "income", "local, epsilon 4"):
        assert word in listed
    assert AdditiveModel.from_json(model).hash[:16] in listed


def test_features_are_shown_with_those_first_that_move_scores_most(home: Path) -> None:
    rows = [line.split() for line in ran("show", "run-1", "--home", str(home)).splitlines()]
    moves = [
        float(row[2]) for row in rows if row and row[0] in ("age", "education", "hours_per_week")
    ]
    assert len(moves) == 3
    assert moves == sorted(moves, reverse=True)
    assert moves[0] > 0


def test_a_model_is_pulled_byte_for_byte_and_over_nothing_else(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "prospects.json"
    told = ran("pull", "run-1", "--out", str(file), "--home", str(home))
    kept = (home / "coordinator" / "runs" / "run-1" / "model.json").read_bytes()
    assert file.read_bytes() == kept
    receipts = (home / "coordinator" / "runs" / "run-1" / "receipts").glob("*.json")
    assert all(told.split()[-1].encode() in receipt.read_bytes() for receipt in receipts)
    ran("pull", "run-1", "--out", str(file), "--home", str(home))
    file.write_text("mine")
    with pytest.raises(OutputUnwritable, match="another file is there"):
        ran("pull", "run-1", "--out", str(file), "--home", str(home))
    assert file.read_text() == "mine"


def test_an_unknown_run_is_told_with_those_that_have_a_model(home: Path) -> None:
    with pytest.raises(ResultUnknown, match="Runs with a model: run-1"):
        ran("show", "run-9", "--home", str(home))
