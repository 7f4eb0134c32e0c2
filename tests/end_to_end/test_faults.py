"""Real processes are struck in the middle of a run: what was wanted of each fault holds."""

from pathlib import Path

import pytest
from end_to_end.faults import FAULTS, QUICK, grouped, struck


def test_runs_that_are_struck_one_after_another_end_well(tmp_path: Path) -> None:
    outcomes = struck(QUICK, tmp_path / "up")
    assert [one.problems for one in outcomes] == [()] * len(QUICK), outcomes
    assert {one.state for one in outcomes} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("names", grouped([name for name in FAULTS if name not in QUICK]))
def test_a_run_that_is_struck_ends_well_or_by_name(names: tuple[str, ...], tmp_path: Path) -> None:
    outcomes = struck(names, tmp_path / "up")
    assert [one.problems for one in outcomes] == [()] * len(names), outcomes
