"""Which errors of a trial end a sweep, and which are that trial's own."""

from pathlib import Path

import pytest

from fedmkt.core.errors import (
    ExtraMissing,
    FedmktError,
    FileMissing,
    OutputUnwritable,
    PartitionImpossible,
    StorageFailed,
)
from fedmkt.simulation.scenario.workers import worker_pool

FOR_ALL: list[FedmktError] = [
    ExtraMissing(purpose="networks", library="torch", extra="networks"),
    FileMissing(what="table", path="own.csv", advice="Look."),
    OutputUnwritable(path="out", problem="full"),
    StorageFailed(path="ledger", problem="full"),
]


def outcomes(error: FedmktError) -> list[float | FedmktError]:
    """Return what is told of two trials, the first of which fails."""
    told: list[float | FedmktError] = []

    def work(trial: int, _folder: Path) -> float:
        if trial == 1:
            raise error
        return 0.5

    with worker_pool(1) as run:
        run(work, (1, 2), Path(), lambda _, outcome: told.append(outcome))
    return told


@pytest.mark.parametrize("error", FOR_ALL, ids=lambda error: error.code)
def test_what_other_trials_would_meet_too_ends_the_sweep(error: FedmktError) -> None:
    with pytest.raises(type(error)):
        outcomes(error)


def test_what_is_a_trials_own_is_told_and_the_others_go_on() -> None:
    error = PartitionImpossible(problem="too few rows", advice="Take more.")
    assert outcomes(error) == [error, 0.5]
