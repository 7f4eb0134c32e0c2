"""The vertical demonstration reaches what it promises, and its report says what happened."""

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from typer.testing import CliRunner

from fedmkt.cli.commands import app
from fedmkt.core.errors import SettingInvalid
from fedmkt.data import bundled
from fedmkt.evaluation.value import NOTHING
from fedmkt.evidence.receipts import Receipt, verify_receipt
from fedmkt.evidence.report import ModelResult, Report
from fedmkt.evidence.shared_parts import PartnerValue, Value
from fedmkt.identity.keys import PublicIdentity
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import ExactEvent
from fedmkt.simulation.progress import Silent
from fedmkt.simulation.report_page import headline, write
from fedmkt.simulation.vertical_demo import PEOPLE_SEED, run_vertical
from fedmkt.simulation.vertical_partition import PartyData, make_parties, true_overlap
from fedmkt.storage.contract_files import read_contract

DELTA = 1e-5
SEED = 11
MEMBERS = ("bank", "retailer", "map_provider", "weather_service")
SIGMAS = 5  # beyond which a normal falls once in 1.7 million


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vertical")


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return run_vertical(out, seed=SEED, progress=Silent())


@pytest.fixture(scope="module")
def value(report: Report) -> Value:
    assert report.value is not None
    return report.value


def model(report: Report, name: str) -> ModelResult:
    return next(one for one in report.models if one.name == name)


def partner(value: Value, name: str) -> PartnerValue:
    return next(one for one in value.partners if one.name == name)


def receipts(out: Path, run: str) -> dict[str, Receipt]:
    """Return the receipts of a run, each verified with its member's key."""
    contract = read_contract(out / "coordinator")
    found = {}
    for path in sorted((out / "coordinator" / "runs" / run / "receipts").glob("*.json")):
        key = contract.key_of(path.stem)
        assert key is not None
        found[path.stem] = verify_receipt(path.read_bytes(), PublicIdentity(key), path.stem)
    return found


def found_by_email(party: PartyData) -> set[int]:
    """Return the people whose e-mail address a party has, and who agreed and did not withdraw."""
    said = party.consent.group_by("key").agg(pl.col("status"))
    agreed = {key for key, status in said.iter_rows() if "withdrawn" not in status}
    people = party.people.tolist()
    rows = party.table.select(party.schema.customer_key, "email").iter_rows()
    return {
        person
        for (key, email), person in zip(rows, people, strict=True)
        if key in agreed and email is not None
    }


def test_all_together_are_worth_at_least_6_points_of_auc(value: Value) -> None:
    assert value.joint_auc - value.owner_auc >= 0.06
    assert value.gain.value == pytest.approx(value.joint_auc - value.owner_auc)
    assert value.gain.low > 0
    assert value.verdict == "worth_it"


@pytest.mark.parametrize("name", ["retailer", "map_provider"])
def test_a_useful_partner_is_worth_it(value: Value, name: str) -> None:
    assert partner(value, name).verdict == "worth_it"
    assert partner(value, name).gain.low > 0


def test_a_partner_who_knows_nothing_useful_adds_nothing(value: Value) -> None:
    weather = partner(value, "weather_service")
    assert weather.verdict == "adds_nothing"
    assert weather.gain.high < NOTHING
    # Its standard error is some .009 here.
    assert abs(weather.auc - 0.5) < 0.045


def test_the_alignment_is_within_its_noise_of_the_truth(report: Report) -> None:
    truth = len(true_overlap(make_parties(bundled.load("adult_train"), seed=PEOPLE_SEED)))
    (alignment,) = report.alignment
    assert alignment.noise > 0
    assert abs(alignment.intersection - truth) <= SIGMAS * alignment.noise
    for member in MEMBERS:
        stated = alignment.match_rate[member] * alignment.sizes[member]
        assert abs(stated - truth) <= SIGMAS * alignment.noise


def test_an_overlap_is_within_its_noise_of_the_truth(report: Report) -> None:
    parties = make_parties(bundled.load("adult_train"), seed=PEOPLE_SEED)
    (overlap,) = report.overlaps
    assert (overlap.members, overlap.key) == (("bank", "retailer"), "email")
    truth = len(found_by_email(parties["bank"]) & found_by_email(parties["retailer"]))
    assert overlap.overlap is not None
    assert abs(overlap.overlap - truth) <= SIGMAS * overlap.noise


def test_duplicates_and_opt_outs_are_those_of_the_tables(report: Report) -> None:
    (alignment,) = report.alignment
    for member in MEMBERS:
        # Some 1.5% of customers are there twice, some 4% withdrew or never agreed.
        assert 0.005 < alignment.duplicates[member] / alignment.sizes[member] < 0.03
        assert 0.02 < alignment.opted_out[member] / alignment.sizes[member] < 0.07


def test_the_joint_training_costs_a_label_epsilon_3_by_the_signed_receipt(
    report: Report, out: Path
) -> None:
    joint = model(report, "joint")
    assert (joint.epsilon, joint.delta, joint.mode) == (3.0, DELTA, "encrypted")
    events = [stated.release().event for stated in receipts(out, "joint")["bank"].releases]
    assert joint.measured_epsilon == epsilon_of(events, DELTA)
    assert 2.97 < joint.measured_epsilon <= 3.0


def test_every_receipt_verifies_and_says_what_the_report_says(report: Report, out: Path) -> None:
    assert [run.run for run in report.protection] == [run.run for run in report.runs]
    for run in report.protection:
        found = receipts(out, run.run)
        assert set(found) == set(run.receipts)
        assert run.epsilon == {m: r.epsilon for m, r in found.items() if r.noised}
        counted = {
            member: sum(isinstance(one.release().event, ExactEvent) for one in receipt.releases)
            for member, receipt in found.items()
        }
        assert run.exact == {member: count for member, count in counted.items() if count}
    assert all(run.masked for run in report.protection)
    assert {run.run for run in report.protection if not run.noised} == {"scoring"}


def test_partners_totals_are_counted_once_a_round_and_once_a_scoring(report: Report) -> None:
    rounds = {one.name: one.rounds for one in report.models}
    for name in MEMBERS[1:]:
        (row,) = (b for b in report.budget if b.partner == name and b.exact_scores)
        assert row.exact_scores is not None
        assert row.exact_scores.used == rounds["joint"] + rounds[f"bank-and-{name}"] + 1
        assert row.alignments is not None
        assert row.alignments.used == 1


def test_every_log_verifies_up_to_a_head_that_others_hold(report: Report, out: Path) -> None:
    assert {audit.partner for audit in report.audit} == set(MEMBERS)
    for audit in report.audit:
        assert audit.verified
        assert audit.records > 0
        log = out / "nodes" / audit.partner / "audit.log"
        verify = ["audit", "verify", str(log), "--key", str(log.with_name("audit.pub"))]
        assert CliRunner().invoke(app, [*verify, "--head", audit.head]).exit_code == 0


def test_the_owners_node_refused_a_training_past_its_cap(report: Report, out: Path) -> None:
    (refusal,) = report.refusals
    assert (refusal.partner, refusal.job) == ("bank", "joint-again")
    assert refusal.code == "budget_exceeded"
    asked = ["ledger", "explain", "joint-again", "--home", str(out / "nodes" / "bank")]
    explained = CliRunner().invoke(app, asked)
    assert "was refused under rule budget_exceeded and spent nothing" in explained.output


def test_noise_costs_little_beside_the_twin_without_it(report: Report) -> None:
    twin, joint = model(report, "twin without noise"), model(report, "joint")
    assert abs(twin.auc.value - joint.auc.value) < 0.02
    assert (twin.exchanges, twin.epsilon, twin.training) == (0, None, "pooled")


def test_curves_are_those_of_the_models_they_name(report: Report) -> None:
    for curve in report.curves:
        area = sum(
            (right - left) * (high + low) / 2
            for left, right, low, high in zip(
                curve.fpr, curve.fpr[1:], curve.tpr, curve.tpr[1:], strict=False
            )
        )
        # A curve on 101 points loses a little of its bend.
        assert area == pytest.approx(model(report, curve.model).auc.value, abs=0.01)


def test_totals_of_one_partner_tell_more_than_those_of_three(report: Report) -> None:
    found = {(one.run, one.column): one for one in report.column_inference}
    for column, name in (
        ("marital_status", "retailer"),
        ("relationship", "retailer"),
        ("education", "map_provider"),
        ("occupation", "map_provider"),
    ):
        several, alone = found["joint", column], found[f"bank-and-{name}", column]
        assert several.known == 1000
        assert several.majority < several.accuracy < alone.accuracy


def test_students_find_more_than_chance_and_less_than_the_joint_model(report: Report) -> None:
    assert {one.partner for one in report.students} == {"retailer", "map_provider"}
    for student in report.students:
        assert 0.7 < student.auc.value < student.joint_auc.value
        assert 0.99 < student.epsilon <= 1.0
        assert student.ranked > 5000
        for percent, share in student.recall.items():
            assert share > 1.3 * int(percent) / 100


def test_each_member_explains_its_own_columns(report: Report) -> None:
    features = {one.name: set(one.features) for one in report.models}
    for one in report.explained:
        own = features[f"{one.member} alone"]
        *columns, constant = one.reasons
        assert {reason.partition(" is ")[0] for reason in columns} == own
        assert constant.startswith("for every customer: ")
        amounts = [float(reason.rpartition(": ")[2]) for reason in one.reasons]
        assert sum(amounts) == pytest.approx(one.total, abs=0.005 * len(amounts))
    said = [reason for one in report.explained for reason in one.reasons]
    assert any(re.fullmatch(r"marital_status is Married-civ-spouse: \+\d\.\d\d", s) for s in said)


def test_a_training_takes_four_exchanges_a_round_and_three_more(report: Report) -> None:
    for one in report.models:
        if one.training == "vertical":
            assert one.exchanges == 4 * one.rounds + 3
    (alignment,) = report.alignment
    assert alignment.exchanges == len(MEMBERS) + 4


def test_the_report_names_a_reproducible_source_of_noise(report: Report) -> None:
    assert (report.story, report.seed, report.noise_source) == ("vertical", SEED, "reproducible")


def test_race_and_sex_are_in_no_model(report: Report) -> None:
    assert not {"race", "sex"} & {name for one in report.models for name in one.features}


def test_the_written_report_fits_the_schema_and_the_page_shows_it(
    report: Report, value: Value, out: Path
) -> None:
    write(report, out)
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    schema = resources.files("fedmkt.evidence").joinpath("report.schema.json")
    jsonschema.validate(document, json.loads(schema.read_text(encoding="utf-8")))
    assert document["value"]["gain"]["low"] == value.gain.low
    assert document["alignment"][0]["match_rate"].keys() == set(MEMBERS)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert headline(report).replace("'", "&#39;") in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    for one in value.partners:
        assert f"{one.joint_auc:.3f}" in page


def test_what_no_demonstration_made_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    with pytest.raises(SettingInvalid, match=r"what stands there \(nodes\)"):
        run_vertical(tmp_path, seed=SEED, progress=Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["nodes"]
