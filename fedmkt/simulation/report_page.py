"""The report as a page and as files: report.html for people, report.json for programs.

Guarantee: the page is self-contained (its own policy forbids any request), everything taken from
the report is escaped, and equal reports give equal bytes. A file is written whole or not at all.
"""

import json
from pathlib import Path

import jinja2
from markupsafe import Markup

from fedmkt.evidence.figures import AucInterval
from fedmkt.evidence.report import Report
from fedmkt.simulation.budget_plots import budget_plots
from fedmkt.simulation.plots import (
    epsilon_plot,
    interval_text,
    line_styles,
    roc_plot,
    round_plots,
)
from fedmkt.simulation.shape_plots import shape_plots
from fedmkt.simulation.svg import Plot, css_colour, palette_css
from fedmkt.simulation.vertical_page import page_parts, vertical_headline
from fedmkt.simulation.vertical_plots import plain, signed
from fedmkt.storage.whole_file import write_whole

_TRAINING = {
    "federated": "together",
    "vertical": "together",
    "pooled": "pooled in one place",
    "alone": "alone",
}
_ORDER = tuple(_TRAINING)
_TRUST = {"local": "at each partner", "distributed": "shared by the partners", "none": "none"}


def template_environment() -> jinja2.Environment:
    """Return what renders the pages' templates, everything escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fedmkt.simulation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": interval_text,
        "count": _count,
        "plain": plain,
        "signed": signed,
        "size": _size,
        "epsilon": _epsilon,
        "power": _power,
        "svg": _svg,
    }
    return environment


def palettes() -> dict[str, Markup]:
    """Return the colours of both schemes, as the base template wants them."""
    return {
        "light": Markup(palette_css("light")),  # noqa: S704 - our own constants
        "dark": Markup(palette_css("dark")),  # noqa: S704 - our own constants
    }


def render(report: Report) -> str:
    """Return the whole page as HTML. Takes about two seconds, most of it drawing."""
    environment = template_environment()
    vertical = report.story == "vertical"
    parts = page_parts(report) if vertical else _horizontal(report)
    return environment.get_template("vertical.html.j2" if vertical else "report.html.j2").render(
        parts | palettes(),
        report=report,
        headline=headline(report),
        models=sorted(report.models, key=lambda model: _ORDER.index(model.training)),
        training=_TRAINING,
        budgets=budget_plots(report),
        counted=[one for one in report.budget if one.exact_scores or one.alignments],
        example=_example(report),
        draws={model.name: len(model.draws) for model in report.models if model.draws},
    )


def _horizontal(report: Report) -> dict[str, object]:
    """Return what the horizontal template needs beside what both templates share."""
    drawn, styles = {shape.model for shape in report.shapes}, line_styles(report)
    return {
        "trust": _TRUST,
        "quality": [plot for plot in (roc_plot(report), epsilon_plot(report)) if plot],
        "rounds": round_plots(report),
        "shapes": shape_plots(report),
        "shape_keys": [
            (name, css_colour(style.colour)) for name, style in styles.items() if name in drawn
        ],
        "features": _features(report),
    }


def headline(report: Report) -> str:
    """Return the result in a sentence or two, whichever way it went."""
    if report.story == "vertical":
        return vertical_headline(report)
    best = max(report.partners, key=lambda partner: partner.auc.value)
    alone = f"the {best.auc.value:.3f} of the best partner alone ({best.name})"
    joint = [model for model in report.models if model.training == "federated"]
    private = [model for model in joint if model.epsilon is not None]
    plain = next((model for model in joint if model.epsilon is None), None)
    if private:
        model = min(private, key=lambda model: model.epsilon or 0.0)
        start = f"Trained together at epsilon {model.epsilon:g}"
    elif plain:
        model, start = plain, "Trained together without noise"
    else:
        return f"No joint model was trained; the best partner alone reaches {best.auc.value:.3f}."
    text = (
        f"{start}, the model of {_in_words(len(report.partners))} partners reaches an AUC of "
        f"{model.auc.value:.3f}, {_compared(model.auc, best.auc)} {alone}"
    )
    if plain and model is not plain:
        text += f"; without noise it reaches {plain.auc.value:.3f}"
    return text + "."


def write_report_json(report: Report, path: Path) -> None:
    """Write report.json whole or not at all. Raises: OutputUnwritable."""
    text = json.dumps(report.document(), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def write(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write report.json and report.html into `directory` and return their paths.

    Raises: OutputUnwritable; a file that stood there before is then untouched.
    """
    page = render(report)
    json_path, html_path = directory / "report.json", directory / "report.html"
    write_report_json(report, json_path)
    write_whole(html_path, page.encode())
    return json_path, html_path


def _example(report: Report) -> tuple[float, float, float] | None:
    """Return lost epsilon, used share and lifetime cap of the account that lost least."""
    found = [
        (account.reported_epsilon, account.lifetime.spent / cap, cap)
        for account in report.budget
        if account.reported_epsilon and account.lifetime.spent and (cap := account.lifetime.cap)
    ]
    return min(found, default=None)


def _features(report: Report) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return each distinct list of features with the models that use it."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for model in report.models:
        grouped.setdefault(model.features, []).append(model.name)
    return list(grouped.items())


def _compared(one: AucInterval, other: AucInterval) -> str:
    difference = round(one.value, 3) - round(other.value, 3)
    if difference == 0:
        return "level with"
    return "above" if difference > 0 else "below"


def _in_words(number: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[number] if number < len(words) else str(number)


def _svg(plot: Plot) -> Markup:
    # Security: the drawing library and `to_svg` escape every text they put into the SVG.
    return Markup(plot.svg)  # noqa: S704


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f}\u202f{unit}" if unit == "B" else f"{size:.1f}\u202f{unit}"
        size /= 1000
    return f"{size:.1f}\u202fGB"


def _power(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _epsilon(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
