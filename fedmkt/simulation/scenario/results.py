"""From finished trials to two tables: results.parquet, and timings.parquet apart from it.

Guarantee: rows stand in the order of the trials and of their rounds, whatever order they finished
in; the same scenario gives the same bytes of results. Timings are never the same twice.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
from pydantic import JsonValue

from fedmkt.simulation.scenario.folder import Finished
from fedmkt.simulation.scenario.trials import Trial
from fedmkt.storage.whole_file import write_whole

_ROW = {
    "method": pl.String,
    "partner": pl.String,
    "round": pl.Int64,
    "status": pl.String,
    "auc": pl.Float64,
    "log_loss": pl.Float64,
    "epsilon": pl.Float64,
    "clock_s": pl.Float64,
    "bytes_up": pl.Int64,
    "bytes_down": pl.Int64,
    "exchanges": pl.Int64,
    "gain": pl.Float64,
    "shared_auc": pl.Float64,
    "shared_gain": pl.Float64,
    "share": pl.Float64,
    "true_share": pl.Float64,
}
RESULTS, TIMINGS = "results.parquet", "timings.parquet"
Done = Sequence[tuple[Trial, Finished]]


def results_of(done: Done) -> pl.DataFrame:
    """Return one row a trial, model and round: trial, swept keys, seed, and what was measured."""
    rows = [(trial, row) for trial, finished in done for row in finished.rows]
    swept = list(done[0][0].swept) if done else []
    columns = [pl.Series("trial", [trial.id for trial, _ in rows], dtype=pl.String)]
    columns += [_swept(key, [trial.swept[key] for trial, _ in rows]) for key in swept]
    columns.append(pl.Series("seed", [trial.seed for trial, _ in rows], dtype=pl.Int64))
    measured = pl.DataFrame([asdict(row) for _, row in rows], schema=_ROW)
    return pl.DataFrame(columns).hstack(measured)


def timings_of(done: Done) -> pl.DataFrame:
    """Return one row a trial and part of its work, in seconds."""
    rows = [
        (trial.id, trial.seed, part, seconds)
        for trial, finished in done
        for part, seconds in finished.seconds.items()
    ]
    schema = {"trial": pl.String, "seed": pl.Int64, "part": pl.String, "seconds": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def note_of(done: Done) -> str:
    """Return what is to be known of the tables that were read, or nothing."""
    left_out = max((finished.left_out for _, finished in done), default=0)
    if not left_out:
        return ""
    rows = "1 row was" if left_out == 1 else f"{left_out:,} rows were"
    return f"{rows} left out: of each customer the first row counts."


def taken_of(done: Done) -> tuple[str, ...]:
    """Return what of the user's own tables was taken for what, a sentence each."""
    return tuple(dict.fromkeys(finished.taken for _, finished in done if finished.taken))


def write_tables(folder: Path, done: Done) -> pl.DataFrame:
    """Write both tables, each whole or not at all, and return the results.

    Raises: OutputUnwritable.
    """
    results = results_of(done)
    for name, table in ((RESULTS, results), (TIMINGS, timings_of(done))):
        data = io.BytesIO()
        table.write_parquet(data)
        write_whole(folder / name, data.getvalue())
    return results


def _swept(key: str, values: Sequence[JsonValue]) -> pl.Series:
    """Return a swept key's column: numbers, true or false, or text."""
    kinds = {type(value) for value in values}
    if kinds <= {bool} or kinds <= {int} or kinds <= {str}:
        return pl.Series(key, values)
    if kinds <= {int, float}:
        return pl.Series(key, values, dtype=pl.Float64)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(key, texts, dtype=pl.String)
