"""A vertical trial in one place measures what the deployed runs do, to the last bit."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedmkt.simulation.scenario.families import family
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.rows import Row, Task

SEED = 5
SMALL: dict[str, Any] = {
    "partition": {"kind": "vertical", "overlap": 0.8},
    "model": {"rounds": 2, "max_bins": 6},
    "compare": ["alone"],
}
MADE: dict[str, Any] = {
    "data": {
        "kind": "generated",
        "generator": {"rows": 700, "signal": 2, "numbers": 2, "levels": 0},
    },
}
NOISED = {"privacy": {"trust": "local", "epsilon": 4}}


def rows_of(**values: Any) -> list[Row]:
    study = scenario_of({"name": "study"} | SMALL | values, source="test")
    trained = family(study)
    customers, parts = trained.dealt(study, SEED)
    with tempfile.TemporaryDirectory() as folder:
        return list(trained.run(Task(study, SEED, "run", customers, parts, Path(folder))))


def unsent(rows: list[Row]) -> list[Row]:
    return [replace(row, bytes_up=None, bytes_down=None, exchanges=None) for row in rows]


@pytest.mark.parametrize(
    "values",
    [MADE, MADE | NOISED, {"data": {"rows": 1000}, "model": {"rounds": 2, "max_bins": 8}} | NOISED],
    ids=["without noise", "with noise", "adult"],
)
def test_one_place_measures_what_the_deployed_runs_do_to_the_last_bit(
    values: dict[str, Any],
) -> None:
    full, lean = rows_of(**values), rows_of(**values, protocol="lean")
    assert unsent(full) == lean
    assert [row.method for row in full] == [row.method for row in lean]
    sent = [row for row in full if row.method in ("pair", "federated")]
    assert len(sent) == 3
    assert all(row.exchanges and row.bytes_up and row.bytes_down for row in sent)
    assert all((row.epsilon is not None) == ("privacy" in values) for row in sent)


def test_the_same_seed_sends_the_same_bytes() -> None:
    values = MADE | NOISED | {"vertical": {"shares": {"us": 1, "them": 1}}}
    assert rows_of(**values) == rows_of(**values)
