"""Real processes are struck in the middle of a run: what was wanted of each fault holds."""

import re
from pathlib import Path

import pytest
from end_to_end.faults import FAULTS, QUICK, grouped, struck


def test_every_fault_stands_in_the_docs_as_it_was_measured() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (?:finished|failed) \|.*\| (.+?) \|$", page, re.M)
    assert rows == [(name, "none") for name in FAULTS]


def test_runs_that_are_struck_one_after_another_end_well(tmp_path: Path) -> None:
    outcomes = struck(QUICK, tmp_path / "up")
    assert [one.problems for one in outcomes] == [()] * len(QUICK), outcomes
    assert {one.state for one in outcomes} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("names", [*grouped([name for name in FAULTS if name not in QUICK])])
def test_a_run_that_is_struck_ends_well_or_by_name(names: tuple[str, ...], tmp_path: Path) -> None:
    outcomes = struck(names, tmp_path / "up")
    assert [one.problems for one in outcomes] == [()] * len(names), outcomes
