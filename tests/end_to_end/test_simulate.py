"""`fedmkt simulate` and `fedmkt.simulate()`: whole sweeps, killed ones, and what they refuse."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from typer.testing import CliRunner

import fedmkt
from fedmkt.cli.commands import app
from fedmkt.core.errors import (
    FedmktError,
    OutputUnwritable,
    PartitionImpossible,
    ResultsInUse,
    ResultsOfAnother,
    ScenarioInvalid,
    ScenarioPartMissing,
    SweepTooLong,
    TrainingDiverged,
    WorkerLost,
)
from fedmkt.data import bundled
from fedmkt.simulation.scenario import additive, engine
from fedmkt.simulation.scenario.api import run_scenario
from fedmkt.simulation.scenario.engine import Unwatched
from fedmkt.simulation.scenario.families import FAMILIES, Family
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.rows import Row, Task

KILLED = Path(__file__).with_name("killed_sweep.py")
SMALL: dict[str, Any] = {
    "name": "small",
    "seeds": [1, 2],
    "protocol": "lean",
    "data": {"set": "bank_marketing", "rows": 600},
    "model": {"rounds": 2, "max_bins": 8},
    "privacy": {"trust": "local"},
    "sweep": {"privacy.epsilon": [1, 8]},
}
FAILING = {"participation.dropout": [0.0, 0.5]}
TIMELY_S = 120


def no_training(counted: list[int]) -> Family:
    """Return a family that trains nothing and counts its trials."""

    def run(task: Task) -> list[Row]:
        counted.append(task.seed)
        return [Row("federated", 1, auc=0.5, log_loss=0.6)]

    return Family(run, check=lambda setting: None, seconds=lambda setting: 1.0)


def run(values: Mapping[str, Any], out: Path) -> pl.DataFrame:
    return fedmkt.simulate(values, out=out)


def failed(words: list[str]) -> FedmktError:
    error = CliRunner().invoke(app, ["simulate", *words]).exception
    assert isinstance(error, FedmktError)
    return error


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of SMALL, run without interruption in one process."""
    out = tmp_path_factory.mktemp("whole")
    run(SMALL, out)
    return out


def test_a_row_a_trial_model_and_round_with_the_swept_keys(whole: Path) -> None:
    results = pl.read_parquet(whole / "results.parquet")
    models = 1 + 1 + 3  # together, pooled, and each of three partners alone
    assert results.height == 2 * 2 * 2 * models
    assert results.columns[:3] == ["trial", "privacy.epsilon", "seed"]
    assert results["trial"].n_unique() == 4
    last = results.filter(pl.col("round") == 2, pl.col("method") == "federated")
    spent = last["epsilon"] / last["privacy.epsilon"]
    assert spent.is_between(0.99, 1.0).all()
    timings = pl.read_parquet(whole / "timings.parquet")
    assert (timings["seconds"] > 0).all()
    assert set(timings["trial"]) == set(results["trial"])


def test_two_workers_give_the_bytes_that_one_process_gives(whole: Path, tmp_path: Path) -> None:
    fedmkt.simulate(SMALL, out=tmp_path / "again", workers=2)
    for name in ("results.parquet", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (whole / name).read_bytes()


def test_the_full_protocol_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    full = {**SMALL, "protocol": "full", "seeds": [1], "compare": []}
    for name in ("one", "two"):
        run(full, tmp_path / name)
    one, two = (tmp_path / name / "results.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    sent = pl.read_parquet(one).filter(pl.col("round") == 2)
    assert (sent["bytes_up"] > 0).all()


def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    values = {**SMALL, "seeds": list(range(1, 41))}
    words = [sys.executable, str(KILLED), json.dumps(values), str(tmp_path / "out")]
    process = subprocess.Popen(words)
    trials = tmp_path / "out" / "trials"
    end = time.monotonic() + TIMELY_S
    while len(list(trials.glob("*.json"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=TIMELY_S)
    assert alive == []
    kept = {file: file.stat().st_mtime_ns for file in trials.glob("*.json")}
    assert 3 <= len(kept) < 80
    results = run(values, tmp_path / "out")
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert results["trial"].n_unique() == 80
    run(values, tmp_path / "uninterrupted")
    for folder in ("out", "uninterrupted"):
        assert not (tmp_path / folder / ".work").exists()
    assert (tmp_path / "out" / "results.parquet").read_bytes() == (
        tmp_path / "uninterrupted" / "results.parquet"
    ).read_bytes()


def test_finished_trials_are_not_run_again_and_new_seeds_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setitem(FAMILIES, "additive", no_training(counted))  # type: ignore[arg-type]
    values = {"name": "counted", "seeds": [1, 2]}
    run(values, tmp_path)
    run(values, tmp_path)
    assert counted == [1, 2]
    assert run({**values, "seeds": [2, 3]}, tmp_path)["seed"].to_list() == [2, 3]
    assert counted == [1, 2, 3]


def test_a_trial_whose_file_is_not_whole_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setitem(FAMILIES, "additive", no_training(counted))  # type: ignore[arg-type]
    run({"name": "counted"}, tmp_path)
    (file,) = (tmp_path / "trials").glob("*.json")
    file.write_bytes(file.read_bytes()[:-10])
    run({"name": "counted"}, tmp_path)
    assert counted == [1, 1]


def test_the_results_of_another_scenario_are_refused_untouched(whole: Path) -> None:
    before = {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    for other, said in (
        ({"name": "other"}, "name = small there, other here"),
        ({"model": {"rounds": 3, "max_bins": 8}}, "model.rounds = 2 there, 3 here"),
        ({"protocol": "full"}, "protocol = lean there, full here"),
        (
            {"sweep": {"privacy.epsilon": [1], "data.rows": [600]}},
            "data.rows is swept over here alone",
        ),
    ):
        with pytest.raises(ResultsOfAnother, match=re.escape(f"scenario: {said}. Name")):
            run({**SMALL, **other}, whole)
    assert {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()} == before


def test_results_of_a_table_that_changed_are_refused_without_a_word_of_it(tmp_path: Path) -> None:
    file, folder = tmp_path / "own.csv", ResultsFolder(tmp_path / "out")
    data = {"kind": "file", "path": str(file), "target": "bought"}
    scenario = scenario_of({"name": "own", "data": data}, source="test")
    file.write_text("age,bought\n31,0\n")
    with folder.held(scenario):
        pass
    file.write_text("age,bought\n31,0\n47,1\n")
    with pytest.raises(ResultsOfAnother, match="bytes of a file") as refused, folder.held(scenario):
        pass
    assert "47" not in str(refused.value)


def test_a_folder_that_holds_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ResultsOfAnother):
        run(SMALL, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letters.txt"]


def test_a_folder_that_another_sweep_writes_is_refused_and_left_to_it(whole: Path) -> None:
    folder, scenario = ResultsFolder(whole), scenario_of(SMALL, source="test")
    with folder.held(scenario):
        (folder.work / "of a trial").mkdir(parents=True)
        with pytest.raises(ResultsInUse):
            run(SMALL, whole)
        assert (folder.work / "of a trial").exists()


def test_a_diverging_training_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = additive.train_lean

    def diverges(job: Any, *given: Any, **named: Any) -> Any:
        if job.privacy.epsilon == 8:
            trained(job.model_copy(update={"model": job.model.model_copy(update={"rounds": 1})}),
                    *given, **named)  # fmt: skip
            raise TrainingDiverged(round=2)
        return trained(job, *given, **named)

    monkeypatch.setattr(additive, "train_lean", diverges)
    results = run({**SMALL, "compare": []}, tmp_path)
    ends = results.filter(pl.col("round") == 2).select("privacy.epsilon", "status", "auc")
    assert ends.filter(pl.col("privacy.epsilon") == 1)["status"].to_list() == ["trained"] * 2
    diverged = ends.filter(pl.col("privacy.epsilon") == 8)
    assert diverged["status"].to_list() == ["diverged"] * 2
    assert diverged["auc"].null_count() == 2
    assert "2 trainings ended early" in (tmp_path / "report.html").read_text()


PLAIN = {**SMALL, "sweep": {}, "privacy": {}, "seeds": [1, 2, 3], "compare": []}


def broken(monkeypatch: pytest.MonkeyPatch, error: FedmktError, seeds: set[int]) -> None:
    """Make the trials of some seeds fail."""
    carry_out = engine.carry_out

    def breaks(trial: Any, folder: Path) -> float:
        if trial.seed in seeds:
            raise error
        return carry_out(trial, folder)

    monkeypatch.setattr(engine, "carry_out", breaks)


IMPOSSIBLE = PartitionImpossible(problem="it is", advice="Do.")


def test_a_trial_that_fails_is_a_row_with_its_code_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        broken(failing, IMPOSSIBLE, {2})
        results = run(PLAIN, tmp_path)
    rows = results.filter(pl.col("round") != 1).select("seed", "round", "status").rows()
    assert rows == [(1, 2, "trained"), (2, 0, "failed: partition_impossible"), (3, 2, "trained")]
    page = (tmp_path / "report.html").read_text()
    assert "1 trial could not be simulated" in page
    assert ">failed: partition_impossible<" in page
    assert "ended early:" not in page
    again = run(PLAIN, tmp_path)
    assert again["status"].unique().to_list() == ["trained"]


def test_a_failure_of_all_trials_is_raised_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, IMPOSSIBLE, {1, 2, 3})
    with pytest.raises(PartitionImpossible):
        run(PLAIN, tmp_path)


def test_what_would_befall_every_trial_ends_the_sweep_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, OutputUnwritable(path="x", problem="full"), {3})
    with pytest.raises(OutputUnwritable):
        run(PLAIN, tmp_path)
    assert len(list((tmp_path / "trials").glob("*.json"))) == 2


def test_the_command_says_how_many_trials_failed_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study.toml").write_text(
        'name = "study"\nseeds = [1, 2, 3]\nprotocol = "lean"\ncompare = []\n'
        '[data]\nset = "bank_marketing"\nrows = 500\n[model]\nrounds = 1\n'
    )
    broken(monkeypatch, IMPOSSIBLE, {2})
    words = [str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    told = CliRunner().invoke(app, ["simulate", *words])
    assert told.exit_code == 1
    assert "seed 2 failed: partition_impossible: The table cannot be divided" in told.output
    assert "1 of 3 trials could not be simulated" in told.output


def test_a_part_that_is_missing_is_refused_before_any_trial_runs(tmp_path: Path) -> None:
    with pytest.raises(ScenarioPartMissing):
        run({**SMALL, "protocol": "full", "privacy": {}, "sweep": FAILING}, tmp_path)
    assert list(tmp_path.iterdir()) == []


class _KillsOne(Unwatched):
    """Kills a worker as soon as a trial is finished."""

    def __init__(self) -> None:
        self.finished = 0

    def advanced(self, finished: int, left_s: float) -> None:
        self.finished = finished
        python = [one for one in psutil.Process().children() if "spawn_main" in str(one.cmdline())]
        for one in python:
            one.kill()


def test_a_worker_that_is_ended_from_outside_is_named_and_finished_trials_kept(
    tmp_path: Path,
) -> None:
    scenario, watcher = scenario_of({**SMALL, "seeds": list(range(40))}, source="test"), _KillsOne()
    with pytest.raises(WorkerLost):
        run_scenario(scenario, ResultsFolder(tmp_path), workers=2, watcher=watcher)
    assert len(list((tmp_path / "trials").glob("*.json"))) >= watcher.finished > 0


class _Asked(Unwatched):
    """Says no, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def agrees(self, trials: int, left_s: float) -> bool:
        assert left_s > engine.LONG_S
        self.asked.append(trials)
        return False


def test_a_sweep_that_would_take_long_is_measured_and_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    long = Family(no_training(counted).run, lambda setting: None, lambda setting: 1e6)
    monkeypatch.setitem(FAMILIES, "additive", long)  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "carry_out", lambda trial, folder: 1e6)
    scenario, watcher = scenario_of({"name": "long", "seeds": [1, 2, 3]}, source="test"), _Asked()
    with pytest.raises(SweepTooLong):
        run_scenario(scenario, ResultsFolder(tmp_path), workers=1, watcher=watcher)
    assert watcher.asked == [2]


def test_a_sweep_that_only_seemed_long_goes_on_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    short = Family(no_training(counted).run, lambda setting: None, lambda setting: 1e6)
    monkeypatch.setitem(FAMILIES, "additive", short)  # type: ignore[arg-type]
    scenario, watcher = scenario_of({"name": "short", "seeds": [1, 2, 3]}, source="test"), _Asked()
    run_scenario(scenario, ResultsFolder(tmp_path), workers=1, watcher=watcher)
    assert sorted(counted) == [1, 2, 3]
    assert watcher.asked == []


def test_a_frame_is_dealt_out_as_the_scenario_says() -> None:
    frame = bundled.load("bank_marketing").drop("customer").head(1200)
    target = bundled.schema("bank_marketing").columns[-1].name
    values = {
        "name": "own",
        "protocol": "lean",
        "data": {"target": target, "positive": "yes"},
        "partition": {"kind": "column", "column": "marital", "partners": 3},
        "model": {"rounds": 2, "max_bins": 8},
    }
    results = fedmkt.simulate(values, tables=frame)
    alone = results.filter(pl.col("method") == "alone")["partner"].unique().sort().to_list()
    assert alone == sorted(frame["marital"].unique())
    assert results.filter(pl.col("status") == "trained")["auc"].is_between(0, 1).all()


def test_a_frame_for_each_partner_keeps_their_names_and_rows() -> None:
    whole = bundled.load("bank_marketing").head(900)
    tables = {"north": whole[:300], "south": whole[300:900]}
    target = bundled.schema("bank_marketing").columns[-1].name
    values = {
        "name": "own",
        "protocol": "lean",
        "data": {"target": target, "positive": "yes"},
        "model": {"rounds": 1, "max_bins": 8},
    }
    results = fedmkt.simulate(values, tables=tables)
    assert set(results["partner"].drop_nulls()) == {"north", "south"}
    with pytest.raises(ScenarioInvalid, match="cannot stand beside"):
        fedmkt.simulate({**values, "partition": {"partners": 2}}, tables=tables)


BOUGHT = pl.DataFrame({"visits": [float(n) for n in range(120)], "bought": [False, True] * 60})


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (BOUGHT.with_columns(bought=pl.lit(None, pl.Boolean)), "120 rows of bought have no value"),
        (BOUGHT.with_columns(bought=pl.lit(True)), "all rows of bought have the same value"),
        (BOUGHT.with_columns(visits=pl.lit(float("inf"))).vstack(BOUGHT), "visits: not finite"),
        ({"north": BOUGHT, "south": BOUGHT.rename({"visits": "calls"})}, "calls is a column of"),
        ({"north": BOUGHT, "south": BOUGHT.head(0)}, "the frame of south has no rows"),
    ],
    ids=["gaps", "one value", "infinite", "columns", "empty"],
)
def test_a_frame_that_nothing_can_be_learnt_from_is_refused_in_words(
    tables: pl.DataFrame | dict[str, pl.DataFrame], said: str
) -> None:
    values = {"name": "own", "protocol": "lean", "data": {"target": "bought"}}
    with pytest.raises(FedmktError, match=said):
        fedmkt.simulate(values, tables=tables)


def test_rows_of_customers_who_had_one_are_counted_and_told(tmp_path: Path) -> None:
    own = {"name": "own", "protocol": "lean", "compare": [], "data": {"target": "bought"}}
    once = BOUGHT.with_columns(customer=pl.int_range(pl.len()))
    said = "3 rows were left out: of each customer the first row counts"
    with pytest.warns(UserWarning, match=said) as warned:
        fedmkt.simulate(own, tables=once.vstack(once.head(3)), out=tmp_path)
    assert warned[0].filename == __file__
    assert said in (tmp_path / "report.html").read_text()
    fedmkt.simulate(own, tables=once, out=tmp_path / "once")
    assert "left out" not in (tmp_path / "once" / "report.html").read_text()


def test_importing_fedmkt_imports_none_of_the_simulation() -> None:
    code = "import sys, fedmkt; print(fedmkt.simulate.__name__, 'polars' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["simulate", "False"]


def test_the_command_runs_a_file_and_says_where_the_page_is(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'name = "study"\nprotocol = "lean"\ncompare = []\n'
        '[data]\nset = "bank_marketing"\nrows = 500\n[model]\nrounds = 1\n'
    )
    words = [str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    told = CliRunner().invoke(app, ["simulate", *words])
    assert told.exit_code == 0, told.exception
    assert str(tmp_path / "out" / "report.html") in told.output.replace("\n", "")
    assert "study: trained together, an AUC of 0." in told.output
    assert (tmp_path / "out" / "report.html").exists()


def test_the_command_ends_with_1_where_no_joint_model_was_trained(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'name = "away"\nprotocol = "lean"\ncompare = []\n'
        '[data]\nset = "bank_marketing"\nrows = 500\n[model]\nrounds = 1\n'
        "[participation]\ndropout = 0.999\nquorum = 3\n"
    )
    words = [str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    told = CliRunner().invoke(app, ["simulate", *words])
    assert told.exit_code == 1
    assert "no joint model was trained to the end (too few partners in round 1)" in told.output
    assert "No trial trained a joint model to the end" in told.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_help_list_and_explain_tell_what_there_is() -> None:
    runner = CliRunner()
    assert "--explain" in runner.invoke(app, ["simulate", "--help"]).output
    listed = runner.invoke(app, ["simulate", "--list"]).output
    for word in ("first", "bank_marketing", "column", "additive", "fedprox", "privacy.epsilon"):
        assert word in listed
    explained = runner.invoke(app, ["simulate", "--explain", "partition.alpha"]).output
    for words in ("at least 0.001", "0.5", "mostly one"):
        assert words in explained


def test_the_commands_mistakes_are_named(tmp_path: Path) -> None:
    assert "did you mean partition.alpha?" in str(failed(["--explain", "partition.alhpa"]))
    assert "--list shows" in str(failed([]))
    (tmp_path / "typo.toml").write_text('name = "x"\n[privacy]\nepsilonn = 1\n')
    said = str(failed([str(tmp_path / "typo.toml")]))
    assert f"{tmp_path / 'typo.toml'}: line 3" in said
    assert "privacy.epsilon?" in said


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (BOUGHT, "each row is a customer"),
        (BOUGHT.with_columns(customer=pl.int_range(pl.len())), "told apart by customer"),
    ],
    ids=["rows", "key"],
)
def test_the_page_says_what_of_an_own_table_was_taken_for_what(
    table: pl.DataFrame, told: str, tmp_path: Path
) -> None:
    own = {"name": "own", "protocol": "lean", "compare": [], "data": {"target": "bought"}}
    fedmkt.simulate(own, tables=table, out=tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"{told}; features: visits; target: bought." in page
