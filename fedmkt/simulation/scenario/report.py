"""A sweep's page: what was asked, what came out, and plots, in one self-contained HTML file.

Guarantee: everything taken from the scenario is escaped; equal results give equal bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fedmkt import __version__
from fedmkt.simulation.report_page import palettes, template_environment
from fedmkt.simulation.scenario.page_plots import (
    key_plots,
    round_plot,
    setting_words,
    value_words,
)
from fedmkt.simulation.scenario.schema import Scenario, flat
from fedmkt.simulation.scenario.summary import Line, lines_of
from fedmkt.simulation.scenario.vertical_summary import gain_plots, worth_of
from fedmkt.storage.whole_file import write_whole

PAGE = "report.html"
_COLUMNS = ("pooled", "alone", "epsilon", "exchanges", "clock_s")
_OF_WORTH = {"best": "Best there is", "share": "Share of the score", "true_share": "True share"}


@dataclass(frozen=True, slots=True)
class _Head:
    """What the common template asks of a report."""

    version: str = __version__
    data: None = None
    created: None = None


def write_page(
    folder: Path, scenario: Scenario, results: pl.DataFrame, *, notes: Sequence[str] = ()
) -> Path:
    """Write report.html whole or not at all, and return its path. notes: of the tables read.

    Raises: OutputUnwritable.
    """
    path = folder / PAGE
    write_whole(path, render(scenario, results, notes=notes).encode())
    return path


def render(scenario: Scenario, results: pl.DataFrame, *, notes: Sequence[str] = ()) -> str:
    """Return the whole page as HTML."""
    keys = tuple(scenario.sweep)
    lines = lines_of(results, keys)
    rounds, worth = round_plot(results, keys), worth_of(results, keys)
    environment = template_environment()
    environment.filters |= {"value": value_words}
    return environment.get_template("scenario.html.j2").render(
        palettes(),
        report=_Head(),
        scenario=scenario,
        notes=notes,
        headline=headline(scenario, lines),
        keys=keys,
        lines=lines,
        asked=list(_asked(scenario)),
        plots=[
            *gain_plots(worth, keys),
            *key_plots(lines, keys, alone="label owner" if worth else "best partner"),
            *([rounds] if rounds else []),
        ],
        worth=worth,
        worth_has=[
            (name, words)
            for name, words in _OF_WORTH.items()
            if any(getattr(line, name) is not None for line in worth)
        ],
        splits="split" in (scenario.model.family, *scenario.sweep.get("model.family", ())),
        has={name for name in _COLUMNS if any(getattr(line, name) is not None for line in lines)},
        ended=sum(line.ended - line.failed for line in lines),
        failed=sum(line.failed for line in lines),
    )


def headline(scenario: Scenario, lines: Sequence[Line]) -> str:
    """Return the result in a sentence."""
    joint = [(line.joint.value, line) for line in lines if line.joint is not None]
    if not joint:
        why = next((f" ({line.first_end})" for line in lines if line.first_end), "")
        return f"{scenario.name}: no joint model was trained to the end{why}."
    low, high = (choose(joint, key=lambda one: one[0]) for choose in (min, max))
    if f"{low[0]:.3f}" == f"{high[0]:.3f}":
        said = f"{scenario.name}: trained together, an AUC of {high[0]:.3f}"
    else:
        best = setting_words(tuple(scenario.sweep), high[1].values)
        said = (
            f"{scenario.name}: trained together, an AUC of {low[0]:.3f} to {high[0]:.3f}, "
            f"the best at {best}"
        )
    pooled = high[1].pooled
    return f"{said}; in one place {pooled.value:.3f}." if pooled else f"{said}."


def _asked(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield what the scenario states, key by key, swept ones with their values."""
    plain = scenario.model_dump(mode="json", exclude_unset=True, exclude={"name", "sweep"})
    swept = {key: ", ".join(map(value_words, values)) for key, values in scenario.sweep.items()}
    stated = {key: _words(value) for key, value in flat(plain).items()}
    if scenario.data.path is not None:
        stated["data.path"] = scenario.data.path.name
    yield from (stated | swept).items()


def _words(value: object) -> str:
    return ", ".join(map(value_words, value)) if isinstance(value, list) else value_words(value)
