"""The demonstration reaches what it promises, and its report says what happened."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.evidence.report import ModelResult, Report
from fedmkt.simulation.demo import run_horizontal
from fedmkt.simulation.progress import Silent
from fedmkt.simulation.report_page import write

SEED = 11


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return run_horizontal(out, seed=SEED, progress=Silent(), draws=1)


def model(report: Report, name: str) -> ModelResult:
    return next(one for one in report.models if one.name == name)


def test_without_noise_the_joint_model_reaches_920_in_at_most_15_rounds(report: Report) -> None:
    joint = model(report, "no-noise")
    assert joint.auc.value >= 0.920
    assert joint.rounds <= 15
    assert len(joint.features) == 10
    assert not {"race", "sex"} & set(joint.features)


def test_without_noise_the_joint_model_is_its_pooled_twin(report: Report) -> None:
    assert model(report, "no-noise").auc == model(report, "pooled twin").auc


def test_at_epsilon_1_with_local_noise_it_reaches_900_in_at_most_8_rounds(report: Report) -> None:
    private = model(report, "epsilon-1")
    assert (private.epsilon, private.delta, private.trust) == (1.0, 1e-5, "local")
    assert private.auc.value >= 0.900
    assert private.rounds <= 8


def test_a_run_takes_at_most_three_exchanges_a_round_and_three_more(report: Report) -> None:
    joint = [one for one in report.models if one.training == "federated"]
    assert all(0 < one.exchanges <= 3 * one.rounds + 3 for one in joint)


def test_what_the_ledger_says_was_lost_is_at_most_the_epsilon_asked_for(report: Report) -> None:
    for row in report.budget:
        asked = float(row.dataset.rpartition("-")[2])
        assert row.reported_epsilon is not None
        assert asked * 0.99 < row.reported_epsilon <= asked
        for window in (row.period, row.lifetime):
            assert window.cap is not None
            assert window.spent is not None
            assert window.left is not None
            assert 0 < window.spent <= window.cap
            assert math.isclose(window.spent + window.left, window.cap)


def test_every_partners_own_node_refused_the_job_past_its_cap(report: Report) -> None:
    assert {one.partner for one in report.refusals} == {one.name for one in report.partners}
    assert {one.code for one in report.refusals} == {"budget_exceeded"}
    assert all("epsilon-8" in one.message for one in report.refusals)


def test_every_log_verifies_and_every_run_says_how_it_was_protected(report: Report) -> None:
    assert all(one.verified and one.records > 0 for one in report.audit)
    protected = {one.run: (one.masked, one.noised) for one in report.protection}
    assert protected.pop("no-noise") == (True, False)
    assert set(protected.values()) == {(True, True)}


def test_the_report_names_a_reproducible_source_of_noise(report: Report) -> None:
    assert report.seed == SEED
    assert report.noise_source == "reproducible"


def test_one_seed_gives_one_set_of_models(report: Report, tmp_path: Path) -> None:
    again = run_horizontal(tmp_path, seed=SEED, progress=Silent(), draws=1)
    assert [one.auc for one in again.models] == [one.auc for one in report.models]
    assert again.shapes == report.shapes


def test_an_earlier_demonstration_in_the_same_folder_is_moved_aside(
    report: Report, out: Path, tmp_path: Path
) -> None:
    write(report, out)
    copy = tmp_path / "twice"
    copy.mkdir()
    (copy / "nodes").mkdir()
    (copy / "nodes" / "ledger-of-before").write_text("kept")
    run_horizontal(copy, seed=SEED, progress=Silent(), draws=1)
    assert (copy / "earlier-1" / "nodes" / "ledger-of-before").read_text() == "kept"
    assert (copy / "nodes" / "bank" / "node.db").exists()


def test_the_commands_explain_judge_and_verify_what_the_demonstration_left(
    report: Report, out: Path
) -> None:
    bank = str(out / "nodes" / "bank")
    explained = CliRunner().invoke(app, ["ledger", "explain", "epsilon-1", "--home", bank])
    assert explained.exit_code == 0
    assert "epsilon 1.000 at delta 1e-05" in explained.output

    job = str(out / "jobs" / "epsilon-8.toml")
    judged = CliRunner().invoke(app, ["node", "dry-run", job, "--home", bank])
    assert judged.exit_code == 3
    assert "would be refused under rule budget_exceeded" in judged.output
    affordable = str(out / "jobs" / "epsilon-1.toml")
    assert CliRunner().invoke(app, ["node", "dry-run", affordable, "--home", bank]).exit_code == 0

    log = out / "nodes" / "bank" / "audit.log"
    key = str(log.with_name("audit.pub"))
    head = next(one.head for one in report.audit if one.partner == "bank")
    verify = ["audit", "verify", str(log), "--key", key, "--head", head]
    assert CliRunner().invoke(app, verify).exit_code == 0
    cut = out / "cut.log"
    cut.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:20]))
    assert CliRunner().invoke(app, [*verify[:2], str(cut), *verify[3:]]).exit_code == 1


def test_a_dry_run_spends_nothing(report: Report, out: Path) -> None:
    bank = str(out / "nodes" / "bank")
    before = CliRunner().invoke(app, ["ledger", "show", "--home", bank]).output
    job = str(out / "jobs" / "epsilon-1.toml")
    CliRunner().invoke(app, ["node", "dry-run", job, "--home", bank])
    assert CliRunner().invoke(app, ["ledger", "show", "--home", bank]).output == before
    assert "prospects-epsilon-1" in before


def test_written_report_holds_the_keys_programs_rely_on(report: Report, out: Path) -> None:
    write(report, out)
    document = json.loads((out / "report.json").read_text())
    assert document["schema_version"] == 1
    assert {"seed", "partners", "models", "budget", "refusals", "audit", "protection"} <= set(
        document
    )
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
