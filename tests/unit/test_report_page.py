"""The page holds the report's figures, asks the network for nothing and is written whole."""

import copy
import errno
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fedmkt.core.errors import OutputUnwritable
from fedmkt.evidence.report import Report
from fedmkt.simulation.report_page import headline, render, write, write_report_json

DOCUMENT = json.loads((Path(__file__).parents[1] / "contract" / "report_v1.json").read_text())
REPORT = Report.model_validate(DOCUMENT)
HOSTILE = "<script>alert('$x$ & \"y\"')</script>"
EXTRAS = (
    "curves",
    "shapes",
    "rounds",
    "data",
    "known_to_several",
    "notes",
    "created",
    "noise_source",
)
REACHING_OUT = {
    "src", "srcset", "href", "xlink:href", "action", "formaction", "poster", "data", "background",
    "ping", "manifest", "cite", "longdesc",
}  # fmt: skip


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


def bare_report() -> Report:
    return Report.model_validate({k: v for k, v in DOCUMENT.items() if k not in EXTRAS})


@pytest.fixture(scope="module")
def html() -> str:
    return render(REPORT)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_asks_the_network_for_nothing(html: str, page: Page) -> None:
    assert all(value.startswith("#") for value in page.values(*REACHING_OUT))
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html
    outside = {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "video",
        "audio",
        "base",
        "form",
    }
    assert not outside & {tag for tag, _ in page.tags}


def test_the_page_forbids_itself_any_request(page: Page) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")


def test_no_attribute_runs_code(page: Page) -> None:
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_ids_are_unique_and_every_reference_inside_the_page_resolves(html: str, page: Page) -> None:
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    used = [value.removeprefix("#") for value in page.values("href")]
    used += re.findall(r"url\(#([^)]*)\)", html)
    used += [one for value in page.values("aria-labelledby") for one in value.split()]
    assert set(used) <= set(ids)


def test_every_plot_has_words_for_those_who_cannot_see_it(page: Page) -> None:
    names = [tag for tag, _ in page.tags]
    svgs = [attrs for tag, attrs in page.tags if tag == "svg"]
    features = {shape.feature for shape in REPORT.shapes}
    # ROC, AUC against epsilon, loss, AUC by round, a shape each feature, one budget for
    # the partners, whose accounts stand alike here
    assert len(svgs) == 4 + len(features) + 1
    assert all(attrs["role"] == "img" for attrs in svgs)
    assert names.count("desc") == len(svgs)
    assert names.count("details") == len(svgs)


def test_parts_stand_in_the_order_of_reading(page: Page) -> None:
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "summary", "plots", "evidence", "budgets", "refusals", "measured", "notes", "words",
    ]  # fmt: skip


def test_every_figure_of_the_summary_is_shown(page: Page) -> None:
    for model in REPORT.models:
        assert model.name in page.text
        assert f"{model.auc.low:.3f} to {model.auc.high:.3f}" in page.text
    for refusal in REPORT.refusals:
        assert refusal.code in page.text
        assert refusal.message in page.text
    for note in REPORT.notes:
        assert note in page.text
    for account in REPORT.budget:
        if account.lifetime.left is not None:
            assert f"{account.lifetime.left:.3f}".rstrip("0") in page.text


def test_the_page_marks_the_draw_it_shows_and_why(page: Page) -> None:
    marked = [run for run in REPORT.protection if "epsilon" in run.model]
    assert marked
    for run in marked:
        assert f"{run.run}{run.model} (median of 5 draws)" in page.text
    assert "These are the ledgers after the first draw of each model" in page.text


def test_without_draws_nothing_is_said_of_them() -> None:
    models = [{**model, "draws": []} for model in DOCUMENT["models"]]
    text = Page(render(report_with(models=models))).text
    assert "(median of" not in text
    assert "first draw" not in text


def test_the_page_explains_spent_by_its_own_figures(page: Page) -> None:
    # The account that lost least, of the contract's report: lost 0.81, used 0.982 of 2 for life.
    words = "really lost epsilon 0.810 used 49.1% of a lifetime cap of 2."
    assert words in page.text


def test_a_printed_command_says_from_which_folder_it_works(page: Page) -> None:
    before, _, _ = page.text.partition("fedmkt audit verify nodes/")
    assert "in the folder that holds nodes/, this page's own unless" in before[-200:]


@pytest.mark.parametrize("verified", [True, False])
def test_a_log_that_does_not_verify_is_shown_so(verified: bool) -> None:
    audit = [{"partner": "bank", "records": 3, "verified": verified}]
    report = Report.model_validate({**bare_report().document(), "audit": audit, "protection": []})
    assert ('<span class="no">no</span>' in render(report)) is not verified


def test_the_page_says_how_many_records_nobody_else_signed(page: Page) -> None:
    (log, *_) = REPORT.audit
    assert f"{log.head}map_provider, retailer2\n" in page.text


def test_a_log_whose_head_nobody_holds_is_shown_so() -> None:
    audit = [{"partner": "bank", "records": 3, "verified": False}]
    report = Report.model_validate({**bare_report().document(), "audit": audit})
    assert "bank3no–nobody–\n" in Page(render(report)).text


def test_an_account_without_a_cap_is_told_from_one_without_noise() -> None:
    account = {"partner": "bank", "dataset": "cards", "purpose": "reach", "period_days": None}
    none = {"cap": None, "spent": None, "left": None}
    life = {"cap": 8, "spent": 0.75, "left": 7.25}
    for lost, words in ((0.5, "no cap"), (None, "no noise, so no epsilon")):
        row = {**account, "period": none, "lifetime": life, "reported_epsilon": lost}
        assert f">{words}</td>" in render(report_with(budget=[row]))


def test_no_seed_is_said_in_words() -> None:
    assert "Seednone was given" in Page(render(report_with(seed=None))).text


def test_an_unmasked_run_is_never_called_masked() -> None:
    claim = "What left a node was masked"
    assert claim in render(bare_report())
    for masked in ([], [True, False]):
        runs = [{"run": f"r{i}", "masked": one, "noised": True} for i, one in enumerate(masked)]
        document = {**bare_report().document(), "protection": runs}
        assert claim not in render(Report.model_validate(document))


def test_words_from_the_report_are_escaped() -> None:
    document = json.loads(json.dumps(DOCUMENT).replace("retailer", json.dumps(HOSTILE)[1:-1]))
    text = json.dumps(document).replace("education", json.dumps(HOSTILE + "2")[1:-1])
    document = json.loads(text)
    document |= {"notes": [HOSTILE], "version": HOSTILE}
    hostile = render(Report.model_validate(document))
    page = Page(hostile)
    assert "script" not in {tag for tag, _ in page.tags}
    assert HOSTILE in page.text
    assert "<script" not in hostile


def test_equal_reports_give_equal_bytes(html: str) -> None:
    assert render(Report.model_validate(DOCUMENT)) == html


def test_a_report_without_its_optional_parts_has_a_page() -> None:
    page = Page(render(bare_report()))
    assert "How it was measured" in page.text
    assert "notes" not in page.values("id")


def test_every_style_variable_is_defined(html: str) -> None:
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    assert used <= set(re.findall(r"(--[\w-]+):", html))


def scored(together: float, alone: float, *, training: str = "federated") -> Report:
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": value, "high": value}

    models = [
        {**DOCUMENT["models"][-1], "training": training, "auc": interval(together), "draws": []}
    ]
    partners = [{"name": "bank", "rows": 10, "auc": interval(alone)}]
    empty = {"budget": [], "refusals": [], "audit": [], "protection": []}
    bare = {k: v for k, v in DOCUMENT.items() if k not in EXTRAS}
    return Report.model_validate({**bare, **empty, "models": models, "partners": partners})


@pytest.mark.parametrize(
    ("together", "alone", "word"),
    [(0.9, 0.8, "above"), (0.8, 0.9, "below"), (0.9001, 0.9002, "level with")],
)
def test_the_headline_says_which_way_it_went(together: float, alone: float, word: str) -> None:
    assert f"{together:.3f}, {word} the {alone:.3f} of the best" in headline(
        scored(together, alone)
    )


def test_the_headline_is_of_the_most_private_model() -> None:
    assert headline(REPORT).startswith("Trained together at epsilon 1, ")
    assert headline(REPORT).endswith("without noise it reaches 0.921.")


def test_the_headline_claims_no_joint_model_where_there_is_none() -> None:
    assert headline(scored(0.9, 0.8, training="pooled")).startswith("No joint model")


def test_both_files_are_written(tmp_path: Path, html: str) -> None:
    json_path, html_path = write(REPORT, tmp_path / "new" / "folder")
    assert Report.model_validate_json(json_path.read_text(encoding="utf-8")) == REPORT
    assert html_path.read_text(encoding="utf-8") == html


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputUnwritable, match="No space left"):
        write_report_json(REPORT, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_the_folders_place_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputUnwritable) as caught:
        write_report_json(REPORT, tmp_path / "taken" / "report.json")
    assert caught.value.exit_code == 2
