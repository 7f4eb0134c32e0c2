"""The demonstration reaches what it promises, and its report says what happened."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from unit.full_disk import files_no_longer_than

from fedmkt.cli.commands import app
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import OutputUnwritable, RunUnknown, SettingInvalid
from fedmkt.evidence.receipts import verify_receipt
from fedmkt.evidence.report import ModelResult, Report
from fedmkt.identity.hash_chain import Head
from fedmkt.identity.keys import PublicIdentity
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import Event
from fedmkt.privacy.filter import cost_nano, filter_terms, spent_epsilon
from fedmkt.simulation.demo import run_horizontal
from fedmkt.simulation.progress import Silent
from fedmkt.simulation.report_page import write
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

DELTA = 1e-5
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


def signed_events(out: Path, run: str, member: str) -> list[Event]:
    """Return the events of a run that a member signed for."""
    path = out / "coordinator" / "runs" / run / "receipts" / f"{member}.json"
    key = read_contract(out / "coordinator").key_of(member)
    assert key is not None
    receipt = verify_receipt(path.read_bytes(), PublicIdentity(key), member)
    return [stated.release().event for stated in receipt.releases]


def test_what_was_lost_and_what_the_caps_charged_follow_from_the_signed_receipts(
    report: Report, out: Path
) -> None:
    noised = [row for row in report.budget if not row.dataset.endswith("no-noise")]
    assert len(noised) == 3 * 3 * 2  # partners, models with noise, caps of each
    for row in noised:
        run = row.dataset.removeprefix("prospects-")
        events = signed_events(out, run, row.partner)
        asked = float(run.rpartition("-")[2])
        assert row.reported_epsilon == epsilon_of(events, DELTA)
        assert asked * 0.99 < row.reported_epsilon <= asked
        for window in (row.period, row.lifetime):
            assert window.cap is not None
            terms = filter_terms(window.cap, DELTA)
            nano = sum(cost_nano(event, terms.order) for event in events)
            assert window.spent == spent_epsilon(window.cap, nano, terms.budget_nano)


def test_an_account_without_noise_is_shown_and_claims_no_epsilon(report: Report) -> None:
    rows = [row for row in report.budget if row.dataset == "prospects-no-noise"]
    assert {row.partner for row in rows} == {one.name for one in report.partners}
    for row in rows:
        assert row.reported_epsilon is None
        assert row.lifetime.spent is None


def test_a_models_epsilon_is_measured_from_the_receipts_of_all_partners(
    report: Report, out: Path
) -> None:
    for one in report.models:
        if one.epsilon is None:
            assert one.measured_epsilon is None
            continue
        dearest = max(
            epsilon_of(signed_events(out, one.name, partner.name), DELTA)
            for partner in report.partners
        )
        assert one.measured_epsilon == dearest
        assert dearest <= one.epsilon
        assert one.shares == 1


def heads_held(out: Path, of: str, by: str) -> Head:
    """Return the head of one member's log that another one keeps in its own store."""
    store = NodeStore.open(out / "nodes" / by / "node.db", SystemClock())
    with store.transaction() as tx:
        head = RunStore().heads(tx)[of]
    store.close()
    return head


def test_the_report_claims_no_more_of_a_log_than_others_hold(report: Report, out: Path) -> None:
    partners = {one.name for one in report.partners}
    for audit in report.audit:
        others = partners - {audit.partner}
        held = {other: heads_held(out, audit.partner, other) for other in others}
        assert {str(head) for head in held.values()} == {audit.head}
        assert set(audit.countersigned_by) == others
        log = out / "nodes" / audit.partner / "audit.log"
        written = len(log.read_bytes().splitlines())
        # The refused job's records come after the last run that was closed.
        assert audit.records - audit.after_head == int(audit.head.partition(":")[0])
        assert audit.after_head > 0
        assert audit.records <= written


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


def left_by_a_demonstration(out: Path) -> None:
    (out / ".fedmkt-demo").touch()
    (out / "nodes").mkdir()
    (out / "nodes" / "ledger-of-before").write_text("kept")


def test_what_no_demonstration_made_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    with pytest.raises(SettingInvalid, match=r"what stands there \(nodes\)"):
        run_horizontal(tmp_path, seed=SEED, progress=Silent(), draws=1)
    assert [path.name for path in tmp_path.iterdir()] == ["nodes"]


def test_an_earlier_demonstration_in_the_same_folder_is_moved_aside(
    report: Report, out: Path, tmp_path: Path
) -> None:
    write(report, out)
    copy = tmp_path / "twice"
    copy.mkdir()
    left_by_a_demonstration(copy)
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
    refused = CliRunner().invoke(app, ["ledger", "explain", "epsilon-8-again", "--home", bank])
    assert refused.exit_code == 0
    assert "was refused under rule budget_exceeded and spent nothing" in refused.output

    job = str(out / "jobs" / "epsilon-8.toml")
    judged = CliRunner().invoke(app, ["node", "dry-run", job, "--home", bank])
    assert judged.exit_code == 3
    assert "would be refused under rule budget_exceeded" in judged.output
    affordable = str(out / "jobs" / "epsilon-1.toml")
    assert CliRunner().invoke(app, ["node", "dry-run", affordable, "--home", bank]).exit_code == 0

    log = out / "nodes" / "bank" / "audit.log"
    key = str(log.with_name("audit.pub"))
    head = heads_held(out, of="bank", by="map_provider")
    verify = ["audit", "verify", str(log), "--key", key, "--head", str(head)]
    assert CliRunner().invoke(app, verify).exit_code == 0
    cut = out / "cut.log"
    records = log.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(records[: head.sequence - 1]))
    assert CliRunner().invoke(app, [*verify[:2], str(cut), *verify[3:]]).exit_code == 1


def test_a_run_that_no_ledger_knows_is_a_mistake_that_names_the_known_ones(
    report: Report, out: Path
) -> None:
    for command in ("explain", "give-back"):
        asked = CliRunner().invoke(app, ["ledger", command, "nope", "--home", str(out)])
        assert isinstance(asked.exception, RunUnknown)
        assert asked.exception.exit_code == 2
        assert "epsilon-1" in str(asked.exception)


def test_a_job_is_found_by_its_name_in_the_demonstration_that_home_names(
    report: Report, out: Path
) -> None:
    judged = CliRunner().invoke(app, ["node", "dry-run", "epsilon-1", "--home", str(out)])
    assert judged.exit_code == 0
    assert "retailer: job epsilon-1" in judged.output


def test_the_ledgers_table_shows_what_was_lost_beside_what_is_spent(
    report: Report, out: Path
) -> None:
    home = str(out / "nodes" / "bank")
    shown = CliRunner().invoke(app, ["ledger", "show", "--home", home], env={"COLUMNS": "80"})
    lines = [line.split() for line in shown.output.splitlines()]
    measured = model(report, "epsilon-8").measured_epsilon
    (life,) = (line for line in lines if line[:3] == ["prospects-epsilon-8", "all", "life"])
    assert life[-1] == f"{measured:.3f}"
    (uses,) = (line for line in lines if line[:1] == ["prospects-no-noise"])
    assert uses == ["prospects-no-noise", "all", "runs", "a", "day", "5", "1", "4", "no", "bound"]


def test_a_full_disk_leaves_no_half_of_a_demonstration(tmp_path: Path) -> None:
    left_by_a_demonstration(tmp_path)
    for size in (8192, 200_000):  # of a table, of a node's store
        with files_no_longer_than(size), pytest.raises(OutputUnwritable) as failure:
            run_horizontal(tmp_path, seed=SEED, progress=Silent(), draws=1)
        assert failure.value.exit_code == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == [".fedmkt-demo", "earlier-1"]
    assert (tmp_path / "earlier-1" / "nodes" / "ledger-of-before").read_text() == "kept"


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
