"""Matplotlib figures as inline SVG that follows the page: its fonts, its colours, light or dark.

Guarantee: equal figures give equal bytes (no date, fixed salt, ids prefixed by the plot's key);
nothing refers outside the page. Colours are named roles, written as CSS variables that the page's
style sheet defines for both colour schemes. The palette keeps its steps for the common colour
blindnesses (Okabe and Ito, Color Universal Design, 2008; darkened for 3:1 contrast on white).
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# role: (light, dark). The light value is also what stands in a figure until it is written.
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1f2328", "#e6e4df"),
    "quiet": ("#616870", "#a3a8ae"),
    "line": ("#d8d9d6", "#3b4047"),
    "rest": ("#e4e6e8", "#343a42"),
    "series-0": ("#0065a3", "#62b6f0"),
    "series-1": ("#c24f00", "#f48b4a"),
    "series-2": ("#00805d", "#3ccfa1"),
    "series-3": ("#a2487c", "#e59bc6"),
    "series-4": ("#8a6900", "#e3bd4e"),
    "series-5": ("#4f5bb5", "#a3aefa"),
}
SERIES = tuple(light for role, (light, _) in PALETTE.items() if role.startswith("series-"))

_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11.5,
    "text.parse_math": False,
    "text.color": PALETTE["ink"][0],
    "axes.edgecolor": PALETTE["quiet"][0],
    "axes.labelcolor": PALETTE["ink"][0],
    "axes.labelsize": 11.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"][0],
    "grid.linewidth": 0.7,
    "xtick.color": PALETTE["quiet"][0],
    "ytick.color": PALETTE["quiet"][0],
    "xtick.labelcolor": PALETTE["ink"][0],
    "ytick.labelcolor": PALETTE["ink"][0],
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "legend.frameon": False,
    "legend.fontsize": 11.0,
    "lines.linewidth": 1.8,
}
_POINTS_PER_INCH = 72.0
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot of the page: its SVG, its words and the table that says the same in numbers."""

    key: str
    title: str
    description: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@contextmanager
def plot_style(key: str) -> Iterator[None]:
    """Hold the project's plot style, and fixed ids for plot `key`, while figures are drawn."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": key}):
        yield


def new_axes(width_px: float, height_px: float) -> tuple[Figure, Axes]:
    """Return a transparent figure of that size in CSS pixels, and its only axes."""
    size = (width_px / _POINTS_PER_INCH, height_px / _POINTS_PER_INCH)
    figure = Figure(figsize=size, dpi=_POINTS_PER_INCH, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def to_svg(figure: Figure, *, key: str, title: str, description: str) -> str:
    """Return the figure as an <svg> element with a title and a description for screen readers.

    `key` must be unique in the page: it prefixes every id.
    """
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    width, height = _size(text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r'(<[^>]* id="|href="#|url\(#)', rf"\g<1>{key}-", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", body)
    for role, (light, _) in PALETTE.items():
        body = body.replace(light, f"var(--{role})")
    head = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{float(width) * 1.3:.0f}px" '
        'role="img" '
        f'aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>'
    )
    return head + re.sub(r"\s*\n\s*", "\n", body).strip()


def standalone(plot: Plot) -> str:
    """Return a plot as an SVG file of its own, in both colour schemes, on the page's ground."""
    light, dark = palette_css("light"), palette_css("dark")
    style = (
        f"<style>svg {{ --sans: sans-serif; --ground: #ffffff; {light} }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ --ground: #1b1e22; {dark} }} }}</style>"
        '<rect width="100%" height="100%" fill="var(--ground)"/>'
    )
    head = plot.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    end = head.index("</desc>") + len("</desc>")
    return head[:end] + style + head[end:] + "\n"


def palette_css(scheme: Literal["light", "dark"]) -> str:
    """Return the CSS declarations of every role for one colour scheme."""
    index = 0 if scheme == "light" else 1
    return " ".join(f"--{role}: {colours[index]};" for role, colours in PALETTE.items())


def css_colour(colour: str) -> str:
    """Return the CSS variable of a palette colour given by its light value."""
    role = next(role for role, (light, _) in PALETTE.items() if light == colour)
    return f"var(--{role})"


def shortened(text: str, longest: int) -> str:
    """Return `text`, cut to `longest` characters with an ellipsis where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _size(svg: str) -> tuple[str, str]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None, "matplotlib writes a viewBox"
    return found[1], found[2]
