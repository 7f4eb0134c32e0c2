"""fedmkt: audience models across companies, without moving customer data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

__version__ = "0.1.0"
__all__ = ["__version__", "simulate"]


def simulate(
    scenario: Mapping[str, Any] | Path | str,
    *,
    tables: Any = None,
    out: Path | str | None = None,
    workers: int = 1,
    log: str | None = None,
) -> pl.DataFrame:
    """Run a scenario and return its results: one row a trial, model and round.

    Args: scenario: a dictionary with the keys of a scenario file, a file, or a bundled one's name.
        tables: your own customers in place of the scenario's [data] table: one frame, dealt out as
        [partition] says, or a frame for each partner; of polars or of pandas. out: the results
        folder, as of the command; None keeps nothing. workers: processes; from a script, call with
        more than one only below `if __name__ == "__main__":`. log: a tracker, mlflow:URI or
        tensorboard:FOLDER.
    Warns: where rows were left out, since of each customer one row counts.
    Raises: ScenarioInvalid and the other errors of `fedmkt simulate`.
    """
    # Imported by name when called: the package stays light, and no layer above is imported here.
    api = importlib.import_module("fedmkt.simulation.scenario.api")
    results: pl.DataFrame = api.simulate(scenario, tables=tables, out=out, workers=workers, log=log)
    return results
