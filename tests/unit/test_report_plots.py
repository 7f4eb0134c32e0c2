"""Plots show what the report holds, in colours that both colour schemes can carry."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from fedmkt.evidence.report import Report
from fedmkt.simulation.budget_plots import budget_plots
from fedmkt.simulation.plots import (
    epsilon_plot,
    line_styles,
    roc_plot,
    round_plots,
)
from fedmkt.simulation.shape_plots import shape_plots
from fedmkt.simulation.svg import PALETTE, Plot, palette_css

DOCUMENT = json.loads((Path(__file__).parents[1] / "contract" / "report_v1.json").read_text())
REPORT = Report.model_validate(DOCUMENT)
PAGE = {"light": "#fcfcfa", "dark": "#16191d"}


def all_plots(report: Report) -> list[Plot]:
    found = [roc_plot(report), epsilon_plot(report), *round_plots(report)]
    found += [*shape_plots(report), *budget_plots(report)]
    return [plot for plot in found if plot is not None]


@pytest.fixture(scope="module")
def plots() -> list[Plot]:
    return all_plots(REPORT)


def report_with(**changes: Any) -> Report:
    return Report.model_validate({**copy.deepcopy(DOCUMENT), **changes})


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("scheme", "index"), [("light", 0), ("dark", 1)])
def test_colours_stand_out_from_the_page(scheme: str, index: int) -> None:
    # WCAG 2.2: 4.5 for text (1.4.3), 3 for lines and marks (1.4.11)
    for role, colours in PALETTE.items():
        least = 4.5 if role in ("ink", "quiet") else 3.0 if role.startswith("series") else 1.0
        assert contrast(colours[index], PAGE[scheme]) >= least, role


def test_plots_carry_no_fixed_colour(plots: list[Plot]) -> None:
    for plot in plots:
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", plot.svg), plot.key


def test_every_role_has_a_colour_in_both_schemes() -> None:
    for scheme in ("light", "dark"):
        css = palette_css(scheme)  # type: ignore[arg-type]
        assert all(f"--{role}: #" in css for role in PALETTE)


def test_text_stays_text(plots: list[Plot]) -> None:
    epsilon = next(plot for plot in plots if plot.key == "auc-epsilon")
    assert ">epsilon (smaller is more private)</text>" in epsilon.svg


def test_joint_models_are_solid_and_the_others_dashed() -> None:
    styles = line_styles(REPORT)
    for model in REPORT.models:
        assert (styles[model.name].dash == "-") is (model.training == "federated")
    assert len({(style.colour, style.dash) for style in styles.values()}) == len(styles)


def test_the_roc_table_reads_the_curves() -> None:
    # Curves made of straight lines through (0, 0), (0.1, 0.6) and (1, 1): known in between.
    curve = {"fpr": [0, 0.1, 1], "tpr": [0, 0.6, 1], "low": [0, 0.5, 1], "high": [0, 0.7, 1]}
    plot = roc_plot(report_with(curves=[{**curve, "model": DOCUMENT["models"][0]["name"]}]))
    assert plot is not None
    at_20, at_50 = 0.6 + 0.4 * 0.1 / 0.9, 0.6 + 0.4 * 0.4 / 0.9
    assert plot.rows[0][1:] == ("0.300", "0.600", f"{at_20:.3f}", f"{at_50:.3f}")


def test_roc_curves_start_where_nobody_is_reached() -> None:
    # A curve whose first point has customers found already: its line still begins at (0, 0).
    curve = {"fpr": [0, 0.5, 1], "tpr": [0.25, 0.8, 1], "low": [0.2, 0.7, 1], "high": [0.3, 0.9, 1]}
    plot = roc_plot(report_with(curves=[{**curve, "model": DOCUMENT["models"][0]["name"]}]))
    assert plot is not None
    style = r'style="fill: none; stroke[^"]*stroke-width: (0\.8|1\.8)[^"]*"'
    lines = re.findall(rf'<path d="M ([\d.]+ [\d.]+)\s[^"]*"[^>]*{style}', plot.svg)
    guessing = next(start for start, width in lines if width == "0.8")
    assert guessing in [start for start, width in lines if width == "1.8"]


def test_a_line_beneath_another_is_said_in_the_legend() -> None:
    document = copy.deepcopy(DOCUMENT)
    plain = next(m for m in document["models"] if m["training"] == "federated" and not m["draws"])
    twin = {**plain, "name": "pooled twin", "training": "pooled"}
    plot = epsilon_plot(Report.model_validate({**document, "models": [twin, *document["models"]]}))
    assert plot is not None
    assert f">pooled twin: same line as {plain['name']}</text>" in plot.svg
    assert f"{plain['name']}  {plain['auc']['value']:.3f}, with its 95% band</text>" in plot.svg


def test_auc_against_epsilon_lists_every_model(plots: list[Plot]) -> None:
    table = next(plot for plot in plots if plot.key == "auc-epsilon").rows
    expected = {m.name: "none" if m.epsilon is None else f"{m.epsilon:g}" for m in REPORT.models}
    assert {row[0]: row[1] for row in table} == expected


def test_every_bin_of_a_shape_stands_in_its_table(plots: list[Plot]) -> None:
    tables = [plot.rows for plot in plots if plot.key.startswith("shape-")]
    first = REPORT.shapes[0].model
    sizes = sorted(len(shape.labels) for shape in REPORT.shapes if shape.model == first)
    assert sorted(len(table) for table in tables) == sizes


def test_models_with_other_bins_are_never_read_against_each_others_labels() -> None:
    name, other = REPORT.shapes[0].model, REPORT.models[-2].name
    shape = {"feature": "age", "unit": "years", "ordered": True}
    fine = {
        **shape,
        "model": name,
        "labels": ["a", "b", "c"],
        "edges": [1, 2],
        "effects": [1, 2, 3],
    }
    coarse = {**shape, "model": other, "labels": ["x", "y"], "edges": [1.5], "effects": [4, 5]}
    (plot,) = shape_plots(report_with(shapes=[fine, coarse]))
    assert ("x", "+4.000", other) in plot.rows
    assert ("c", "+3.000", name) in plot.rows
    assert len(plot.rows) == 3 + 2


def test_the_feature_that_moves_the_score_most_comes_first(plots: list[Plot]) -> None:
    spans: dict[str, float] = {}
    for shape in REPORT.shapes:
        spans.setdefault(shape.feature, max(shape.effects) - min(shape.effects))
    shown = [plot.title.replace(" ", "_") for plot in plots if plot.key.startswith("shape-")]
    assert shown == sorted(spans, key=lambda feature: -spans[feature])


def test_many_categories_say_how_many_the_plot_leaves_out() -> None:
    labels = [f"place {i}" for i in range(40)]
    shape = {"model": REPORT.models[0].name, "feature": "place", "unit": "", "ordered": False}
    effects = [float(i) for i in range(40)]
    (plot,) = shape_plots(
        report_with(shapes=[{**shape, "labels": labels, "edges": [], "effects": effects}])
    )
    drawn = re.findall(r">(place \d+)</text>", plot.svg)
    assert set(drawn) == set(labels[40 - len(drawn) :])
    assert f"{40 - len(drawn)} weaker ones in the table" in plot.svg


def test_a_missing_bin_is_said_in_words(plots: list[Plot]) -> None:
    gains = next(plot for plot in plots if plot.title == "capital gain")
    assert "missing: " in gains.svg
    assert gains.rows[-1][0] == "missing"


def test_a_budget_shows_spent_and_cap_of_period_and_life() -> None:
    account = {"partner": "bank", "dataset": "cards", "purpose": "lookalike", "period_days": 30}
    period = {"cap": 2, "spent": 0.5, "left": 1.5}
    life = {"cap": 8, "spent": 0.75, "left": 7.25}
    (plot,) = budget_plots(report_with(budget=[{**account, "period": period, "lifetime": life}]))
    for text in ("30 days", "0.500 of 2", "life", "0.750 of 8"):
        assert f">{text}</text>" in plot.svg
    # columns: account, window, cap, spent, share of the cap, left, lost
    assert [row[2:6] for row in plot.rows] == [
        ("2", "0.500", "25.0%", "1.500"),
        ("8", "0.750", "9.4%", "7.250"),
    ]


def test_a_lost_epsilon_is_text_and_never_on_the_axis_of_the_caps() -> None:
    account = {"partner": "bank", "dataset": "cards", "purpose": "reach", "period_days": 30}
    none = {"cap": None, "spent": None, "left": None}
    life = {"cap": 10, "spent": 0.2, "left": 9.8}
    row = {**account, "period": none, "lifetime": life}
    drawn = [
        budget_plots(report_with(budget=[{**row, "reported_epsilon": lost}]))[0].svg
        for lost in (1.0, 9.0)
    ]
    assert ">lost 1.000</text>" in drawn[0]
    assert [re.findall(r"<path[^>]*>", svg) for svg in drawn[:1]] == [
        re.findall(r"<path[^>]*>", svg) for svg in drawn[1:]
    ]
    assert ">100%</text>" in drawn[0]


def test_partners_whose_accounts_stand_alike_share_a_plot_and_others_do_not() -> None:
    none = {"cap": None, "spent": None, "left": None}
    rows = [
        {
            "partner": partner,
            "dataset": "cards",
            "purpose": "reach",
            "period": none,
            "lifetime": {"cap": 10, "spent": spent, "left": 10 - spent},
        }
        for partner, spent in (("bank", 1.0), ("map_provider", 2.0), ("retailer", 1.0))
    ]
    shared, own = budget_plots(report_with(budget=rows))
    assert shared.title == "Budget of bank and retailer: alike"
    assert own.title == "Budget of map_provider"
    assert (shared.rows[0][3], own.rows[0][3]) == ("1.000", "2.000")


def test_an_account_without_a_cap_or_a_bound_draws_no_bar() -> None:
    account = {"partner": "bank", "dataset": "cards", "purpose": "lookalike"}
    none = {"cap": None, "spent": None, "left": None}
    (plot,) = budget_plots(report_with(budget=[{**account, "period": none, "lifetime": none}]))
    assert plot.rows == ()


def test_rounds_of_unequal_length_leave_gaps() -> None:
    first, second = (model.name for model in REPORT.models[:2])
    rounds = [{"model": first, "round": r, "loss": 0.5, "auc": 0.7} for r in (1, 2)]
    rounds.append({"model": second, "round": 1, "loss": 0.4, "auc": 0.8})
    loss, auc = round_plots(report_with(rounds=rounds))
    assert loss.rows == (("1", "0.5000", "0.4000"), ("2", "0.5000", "–"))
    assert auc.rows == (("1", "0.7000", "0.8000"), ("2", "0.7000", "–"))


def test_drawing_changes_no_global_setting() -> None:
    before = dict(mpl.rcParams)
    all_plots(REPORT)
    assert dict(mpl.rcParams) == before


def test_drawing_needs_no_display() -> None:
    check = (
        "import sys, fedmkt.simulation.report_page; sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
