"""Real processes are killed in the middle of a run: what was wanted of each fault holds."""

from pathlib import Path

import pytest
from end_to_end.faults import FAULTS, struck


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_run_that_is_struck_ends_well_or_by_name(name: str, tmp_path: Path) -> None:
    outcome = struck(name, tmp_path / "up")
    assert outcome.problems == (), outcome
