"""An attack's page and picture: what was asked, what came out for each defence, and what it means.

Guarantee: the page is self-contained, everything taken from the scenario is escaped, and equal
results give equal bytes. The picture is the page's first plot as a file of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedmkt import __version__
from fedmkt.simulation.attacks.result import AttackResult, interval_words
from fedmkt.simulation.report_page import palettes, template_environment
from fedmkt.simulation.scenario.attack_kinds import kind_of
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_pooling import DIVERGED, TAKEN
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.attack_schema_poisoning import PoisoningPart
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.scenario.attack_words import MODEL, NOISE_LEFT
from fedmkt.simulation.scenario.page_plots import value_words
from fedmkt.simulation.scenario.report import PAGE
from fedmkt.simulation.svg import standalone
from fedmkt.storage.whole_file import write_whole

PICTURE = "picture.svg"
_BESIDE = {NOISE_LEFT: "Counted on", MODEL: "The owner alone", STATED: "", TAKEN: "", DIVERGED: ""}


@dataclass(frozen=True, slots=True)
class _Head:
    """What the common template asks of a report."""

    version: str = __version__
    data: None = None
    created: None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a figure's table. main: the defence that a deployment has."""

    defence: str
    value: str
    interval: str
    chance: str
    meaning: str
    main: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One figure for each defence. beside: what stands in `chance`, or nothing."""

    figure: str
    unit: str
    beside: str
    lines: tuple[Line, ...]


def write_attack_page(folder: Path, scenario: AttackScenario, found: Found) -> None:
    """Write report.html and picture.svg, each whole or not at all. Raises: OutputUnwritable."""
    write_whole(folder / PAGE, render_attack(scenario, found).encode())
    write_whole(folder / PICTURE, standalone(kind_of(scenario.attack).plots(found)[0]).encode())


def render_attack(scenario: AttackScenario, found: Found) -> str:
    """Return the whole page as HTML."""
    kind = kind_of(scenario.attack)
    return (
        template_environment()
        .get_template("attack.html.j2")
        .render(
            palettes(),
            report=_Head(),
            scenario=scenario,
            kind=kind,
            headline=attack_headline(scenario, found),
            tables=tables_of(found),
            plots=kind.plots(found),
            poisoning=isinstance(scenario.attack, PoisoningPart),
            asked=list(_asked(scenario)),
        )
    )


def attack_headline(scenario: AttackScenario, found: Found) -> str:
    """Return the result in a sentence: the main figure with the defence off, and on."""
    off, on = extremes(found)
    return (
        f"{kind_of(scenario.attack).title}, {off.figure}: {off.value:.3f} with "
        f"{_defence(off, found)}, {on.value:.3f} with {_defence(on, found)}; {_beside(found)} "
        f"{on.chance:.3f}."
    )


def extremes(found: Found) -> tuple[AttackResult, AttackResult]:
    """Return the main figure with all protections off, and with the best defence on."""
    off = next(one.result for one in found.main if one.role == "off")
    on = [one.result for one in found.main if one.role == "on"]
    if isinstance(found.attack, PoisoningPart):
        return off, min(on, key=lambda one: one.value)
    return off, on[-1]


def tables_of(found: Found) -> tuple[Table, ...]:
    """Return a table a figure, the main one first; of diverged trainings only if there are any."""
    tables = []
    for figure in found.figures:
        rows = found.of(figure)
        if figure == DIVERGED and not any(one.result.value for one in rows):
            continue
        lines = tuple(_line(one, found) for one in rows)
        tables.append(Table(figure, rows[0].result.unit, _column(figure, found), lines))
    return tuple(tables)


def _column(figure: str, found: Found) -> str:
    """Return the heading of what a figure stands beside."""
    if isinstance(found.attack, PoisoningPart) and figure == found.figures[0]:
        return "Nobody hostile"
    return _BESIDE.get(figure, "By chance")


def _line(one: Measured, found: Found) -> Line:
    result = one.result
    return Line(
        defence=result.defence,
        value=f"{result.value:.3f}",
        interval=interval_words(result),
        chance=f"{result.chance:.3f}",
        meaning=kind_of(found.attack).says(result, found),
        main=one.role == "on",
    )


def _defence(one: AttackResult, found: Found) -> str:
    if not isinstance(found.attack, PoisoningPart) or "Krum" in one.defence:
        return one.defence
    return "the plain mean" if one.defence == "mean" else f"the {one.defence}"


def _beside(found: Found) -> str:
    return "with nobody hostile" if isinstance(found.attack, PoisoningPart) else "by chance"


def _asked(scenario: AttackScenario) -> Iterator[tuple[str, str]]:
    """Yield every key of the attack, since what was found holds for these settings."""
    yield "seeds", ", ".join(map(str, scenario.seeds))
    for key, value in scenario.attack.model_dump(mode="json", exclude_none=True).items():
        words = (
            ", ".join(map(value_words, value)) if isinstance(value, list) else value_words(value)
        )
        yield f"attack.{key}", words
