"""The page of the vertical demonstration shows the report's figures, whichever way they went."""

import copy
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fedmkt.evidence.report import Report
from fedmkt.simulation.report_page import headline, render
from fedmkt.simulation.svg import Plot
from fedmkt.simulation.vertical_plots import (
    VERDICT_COLOUR,
    auc_plot,
    found_plots,
    gain_plot,
    lift_plot,
)
from fedmkt.simulation.vertical_run_plots import cost_plot, inference_plot, recall_plot, stages_of

DOCUMENT = json.loads(
    (Path(__file__).parents[1] / "contract" / "report_v1_vertical.json").read_text(encoding="utf-8")
)
REPORT = Report.model_validate(DOCUMENT)
HOSTILE = "<script>alert('$x$ & \"y\"')</script>"
OPTIONAL = (
    "curves", "shapes", "overlaps", "alignment", "value", "column_inference", "students",
    "explained", "runs", "notes", "data", "created", "noise_source",
)  # fmt: skip


class Page(HTMLParser):
    """All tags with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, *names: str) -> list[str]:
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names]


def report_with(**changes: Any) -> Report:
    return Report.model_validate({**copy.deepcopy(DOCUMENT), **changes})


def judged(verdict: str, partners: list[str]) -> Report:
    """Return the report with these verdicts, of all together and of each partner."""
    value = copy.deepcopy(DOCUMENT["value"])
    value["verdict"] = verdict
    for partner, own in zip(value["partners"], partners, strict=True):
        partner["verdict"] = own
    return report_with(value=value)


def drawn(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


@pytest.fixture(scope="module")
def html() -> str:
    return render(REPORT)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_opens_with_the_verdict(page: Page) -> None:
    value = REPORT.value
    assert value is not None
    opening = page.text.partition("What it is worth")[0]
    assert headline(REPORT) in opening
    assert f"{value.joint_auc:.3f} instead of {value.owner_auc:.3f}" in opening


@pytest.mark.parametrize(
    ("verdict", "partners", "start", "rest"),
    [
        (
            "worth_it",
            ["worth_it", "worth_it", "adds_nothing"],
            "Worth it: ",
            "The retailer and the map provider add to it; the weather service adds nothing.",
        ),
        (
            "adds_nothing",
            ["adds_nothing"] * 3,
            "Adds nothing: ",
            "The retailer, the map provider and the weather service add nothing.",
        ),
        (
            "not_shown",
            ["not_shown", "adds_nothing", "not_shown"],
            "Not shown: ",
            "The map provider adds nothing; the retailer and the weather service are not shown to "
            "add anything.",
        ),
    ],
)
def test_the_headline_says_which_way_it_went(
    verdict: str, partners: list[str], start: str, rest: str
) -> None:
    said = headline(judged(verdict, partners))
    assert said.startswith(start)
    assert said.endswith(rest)


def test_parts_stand_in_the_order_of_reading(page: Page) -> None:
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "summary", "found", "why", "learnt", "beyond", "cost", "evidence", "budgets", "refusals",
        "measured", "notes", "words",
    ]  # fmt: skip


def test_every_figure_of_the_report_is_shown(page: Page) -> None:
    value = REPORT.value
    assert value is not None
    for partner in value.partners:
        assert f"{partner.joint_auc:.3f}" in page.text
        assert f"{partner.gain.low:+.3f}".replace("-", "−") in page.text
    for model in REPORT.models:
        assert f"{model.auc.low:.3f} to {model.auc.high:.3f}" in page.text
    for student in REPORT.students:
        assert f"{student.auc.value:.3f}" in page.text
    for guess in REPORT.column_inference:
        assert f"{guess.accuracy:.1%}" in page.text
    for refusal in REPORT.refusals:
        assert refusal.message in page.text
    for note in REPORT.notes:
        assert note in page.text


def test_the_page_says_what_was_counted_and_how_much_is_allowed(page: Page) -> None:
    counted = [one for one in REPORT.budget if one.exact_scores and one.alignments]
    assert counted
    for one in counted:
        scores, alignments = one.exact_scores, one.alignments
        assert scores is not None
        assert alignments is not None
        row = f"{one.partner}{one.dataset}{scores.used}{scores.allowed}{alignments.used}"
        assert f"{row}{alignments.allowed}" in page.text


def test_a_run_of_exact_releases_alone_is_never_called_noised(page: Page) -> None:
    scoring = next(run for run in REPORT.protection if run.run == "scoring")
    assert (scoring.noised, scoring.epsilon) == (False, {})
    assert "scoringyesexact, counted–" in page.text


def test_the_customer_of_the_explanation_is_called_made(page: Page) -> None:
    assert "Nobody real." in page.text
    for one in REPORT.explained:
        for reason in one.reasons:
            said, _, amount = reason.rpartition(": ")
            assert f"{said.replace('_', ' ')}{amount.replace('-', '−')}" in page.text


def test_the_explained_score_is_the_sum_of_all_members_parts(page: Page) -> None:
    score = sum(one.total for one in REPORT.explained)
    # The logistic function of that sum, as the template's words say.
    probability = 1 / (1 + 2.718281828459045**-score)
    words = f"a score of {score:+.2f}, a probability of {100 * probability:.0f}%"
    assert words in page.text


def test_the_page_asks_the_network_for_nothing(html: str, page: Page) -> None:
    assert all(value.startswith("#") for value in page.values("src", "href", "action", "data"))
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert "@import" not in html


def test_ids_are_unique_and_every_reference_inside_the_page_resolves(html: str, page: Page) -> None:
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    used = [value.removeprefix("#") for value in page.values("href")]
    used += re.findall(r"url\(#([^)]*)\)", html)
    used += [one for value in page.values("aria-labelledby") for one in value.split()]
    assert set(used) <= set(ids)


def test_every_plot_has_words_and_numbers_for_those_who_cannot_see_it(page: Page) -> None:
    names = [tag for tag, _ in page.tags]
    features = {shape.feature for shape in REPORT.shapes}
    # AUC, gain, lift, ROC, found, attack, recall, seconds, each feature, each partner's budget
    assert names.count("svg") == 8 + len(features) + len(REPORT.partners)
    assert names.count("desc") == names.count("details") == names.count("svg")


def test_words_from_the_report_are_escaped() -> None:
    text = json.dumps(DOCUMENT).replace("retailer", json.dumps(HOSTILE)[1:-1])
    hostile = json.loads(text.replace("occupation", json.dumps(HOSTILE + "2")[1:-1]))
    html = render(Report.model_validate({**hostile, "notes": [HOSTILE]}))
    assert "script" not in {tag for tag, _ in Page(html).tags}
    assert "<script" not in html
    assert HOSTILE in unescape(html)


@pytest.mark.parametrize("left_out", ["value", "models", "alignment", "students"])
def test_a_report_without_one_of_its_parts_has_a_page(left_out: str) -> None:
    slow = ("shapes", "curves", "budget", "runs", "column_inference", "protection")
    document = {**DOCUMENT, **dict.fromkeys(slow, ())}
    # Of the models one has to be there; the one left is none that the plots name.
    rest = DOCUMENT["models"][-1:] if left_out == "models" else None if left_out == "value" else ()
    document |= {left_out: rest}
    assert "How it was measured" in render(Report.model_validate(document))


def test_a_report_without_its_optional_parts_has_a_page() -> None:
    document = {key: value for key, value in DOCUMENT.items() if key not in OPTIONAL}
    page = Page(render(Report.model_validate(document)))
    assert "No joint model was trained." in page.text
    assert "found" not in page.values("id")


def test_an_overlap_under_the_minimum_is_not_given_a_number() -> None:
    overlap = {**DOCUMENT["overlaps"][0], "overlap": None}
    text = Page(render(report_with(overlaps=[overlap]))).text
    assert "Fewer than 1 000, the agreed minimum." in text.replace("\u202f", " ")


def test_equal_reports_give_equal_bytes(html: str) -> None:
    assert render(Report.model_validate(DOCUMENT)) == html


def test_the_auc_plot_shows_each_alone_each_pair_and_all_together() -> None:
    labels = [row[0] for row in drawn(auc_plot(REPORT)).rows]
    assert labels == [
        "bank alone", "retailer alone", "map provider alone", "weather service alone",
        "bank + retailer", "bank + map provider", "bank + weather service", "all together",
    ]  # fmt: skip


def test_the_gain_plot_marks_both_thresholds_and_says_each_verdict() -> None:
    plot = drawn(gain_plot(REPORT))
    assert [row[-1] for row in plot.rows] == ["worth it", "worth it", "adds nothing", "worth it"]
    assert "left of 0.005, the dotted line" in plot.description
    for words in ("worth it", "adds nothing"):
        assert f">{words}</text>" in plot.svg


def test_colour_follows_the_verdict() -> None:
    colours = {
        verdict: drawn(gain_plot(judged(verdict, [verdict] * 3))).svg for verdict in VERDICT_COLOUR
    }
    assert len(set(colours.values())) == len(VERDICT_COLOUR)


def test_the_found_plot_fills_each_bar_to_its_match_rate() -> None:
    (plot,) = found_plots(REPORT)
    (alignment,) = REPORT.alignment
    rates = {row[0]: row[2] for row in plot.rows}
    assert rates == {name: f"{rate:.1%}" for name, rate in alignment.match_rate.items()}
    for rate in alignment.match_rate.values():
        assert f">{rate:.0%}</text>" in plot.svg


def test_the_attack_on_one_partner_is_told_from_that_on_several() -> None:
    plot = drawn(inference_plot(REPORT))
    assert "with this partner alone: from its scores" in plot.svg
    runs = {(row[0], row[2]) for row in plot.rows}
    assert {("occupation", "joint"), ("occupation", "bank-and-map_provider")} <= runs


def test_the_page_names_the_attack_that_got_most_of_what_was_left_to_guess(page: Page) -> None:
    alone = [one for one in REPORT.column_inference if one.run != "joint"]
    worst = max(alone, key=lambda one: (one.accuracy - one.majority) / (1 - one.majority))
    assert f"it got {worst.column} right for {worst.accuracy:.1%}" in page.text


def test_the_recall_table_has_every_student_and_share() -> None:
    rows = drawn(recall_plot(REPORT)).rows
    assert [row[0] for row in rows] == [student.partner for student in REPORT.students]
    assert rows[0][1:] == tuple(f"{share:.1%}" for share in REPORT.students[0].recall.values())


def test_the_seconds_of_a_run_add_up_to_what_it_took() -> None:
    for run in REPORT.runs:
        assert sum(stages_of(run).values()) == pytest.approx(run.wall_s)
    assert [row[0] for row in drawn(cost_plot(REPORT)).rows] == [run.run for run in REPORT.runs]


def test_plots_carry_no_fixed_colour() -> None:
    plots = [auc_plot(REPORT), gain_plot(REPORT), lift_plot(REPORT), *found_plots(REPORT)]
    plots += [inference_plot(REPORT), recall_plot(REPORT), cost_plot(REPORT)]
    for plot in plots:
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawn(plot).svg), drawn(plot).key


@pytest.mark.parametrize("part", ["students", "column_inference"])
def test_a_stranger_among_the_partners_is_refused(part: str) -> None:
    entry = {**DOCUMENT[part][0], "partner": "stranger"}
    with pytest.raises(ValidationError, match="no partner is called stranger"):
        report_with(**{part: [entry]})


@pytest.mark.parametrize("named", ["sizes", "match_rate", "duplicates", "opted_out"])
def test_an_alignment_states_a_figure_for_each_member(named: str) -> None:
    alignment = copy.deepcopy(DOCUMENT["alignment"][0])
    del alignment[named]["retailer"]
    with pytest.raises(ValidationError, match="each of its members"):
        report_with(alignment=[alignment])
