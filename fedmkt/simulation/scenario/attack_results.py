"""An attack's results: one file a trial, then results.parquet with one row a seed and figure.

Guarantee: rows stand in the order of the seeds and of each trial's figures; the same scenario gives
the same bytes of results. Timings stand in a file of their own.
"""

import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fedmkt.simulation.attacks.result import AttackResult, Series, mean_result
from fedmkt.simulation.scenario.attack_kinds import kind_of
from fedmkt.simulation.scenario.attack_parts import Measured, Trial
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.scenario.folder import ResultsFolder
from fedmkt.simulation.scenario.results import RESULTS, TIMINGS
from fedmkt.storage.whole_file import write_whole

_ROW = {
    "trial": pl.String,
    "seed": pl.Int64,
    "name": pl.String,
    "role": pl.String,
    "defence": pl.String,
    "figure": pl.String,
    "unit": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "chance": pl.Float64,
}
_OPEN = ("low", "high", "least", "most")
"""Numbers that may be infinite; a trial's file holds null for these."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished trial: its figures, and the seconds it took."""

    trial: Trial
    measured: tuple[Measured, ...]
    seconds: float


def carry_out_attack(trial: Trial, folder: Path) -> float:
    """Run a trial and make its figures durable; return the seconds it took. folder: the results'.

    Raises: what the attack raises.
    """
    started = time.monotonic()
    measured = kind_of(trial.attack).run(trial.attack, trial.seed)
    seconds = time.monotonic() - started
    rows = [{"role": one.role, **_plain(one.result)} for one in measured]
    ResultsFolder(folder).keep(trial.id, {"measured": rows, "seconds": seconds})
    return seconds


def finished_attack(trial: Trial, folder: ResultsFolder) -> Done | None:
    """Return a finished trial, or None. A file that is not whole counts for nothing."""
    value = folder.kept(trial.id)
    try:
        if value is None:
            return None
        measured = tuple(Measured(one.pop("role"), _result(one)) for one in value["measured"])
        return Done(trial, measured, float(value["seconds"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def found_of(scenario: AttackScenario, done: Sequence[Done]) -> Found:
    """Return what all seeds say: each seed's figures, and their means."""
    seeds = tuple(one.measured for one in done)
    means = tuple(
        Measured(each[0].role, mean_result([one.result for one in each]))
        for each in zip(*seeds, strict=True)
    )
    return Found(scenario.attack, seeds, means)


def results_of(done: Sequence[Done]) -> pl.DataFrame:
    """Return one row a seed, defence and figure. chance: what guessing, or nobody hostile, gives.

    A figure without an upper limit has none in `high`: an empty cell.
    """
    rows = [
        {"trial": one.trial.id, "seed": one.trial.seed, "role": each.role, **_plain(each.result)}
        for one in done
        for each in one.measured
    ]
    return pl.DataFrame([[row[name] for name in _ROW] for row in rows], schema=_ROW, orient="row")


def write_results(folder: Path, done: Sequence[Done]) -> pl.DataFrame:
    """Write both tables, each whole or not at all, and return the results.

    Raises: OutputUnwritable.
    """
    results = results_of(done)
    timings = pl.DataFrame(
        {
            "trial": [one.trial.id for one in done],
            "seed": [one.trial.seed for one in done],
            "seconds": [one.seconds for one in done],
        }
    )
    for name, table in ((RESULTS, results), (TIMINGS, timings)):
        data = io.BytesIO()
        table.write_parquet(data)
        write_whole(folder / name, data.getvalue())
    return results


def _plain(result: AttackResult) -> dict[str, Any]:
    """Return a result as plain values, all numbers finite."""
    plain = asdict(result)
    return plain | {key: plain[key] if math.isfinite(plain[key]) else None for key in _OPEN}


def _result(plain: dict[str, Any]) -> AttackResult:
    below, above = (("low", "least"), ("high", "most"))
    open_ends = dict.fromkeys(below, -math.inf) | dict.fromkeys(above, math.inf)
    given = {key: plain[key] if plain[key] is not None else open_ends[key] for key in _OPEN}
    curves = tuple(Series(one["name"], tuple(one["x"]), tuple(one["y"])) for one in plain["series"])
    return AttackResult(**(plain | given | {"series": curves}))
