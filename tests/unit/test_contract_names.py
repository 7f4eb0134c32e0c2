"""Names of members, datasets, jobs and runs are safe as file names and on a terminal."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fedmkt.contract.schema import Identifier

NAMES = TypeAdapter(Identifier)


@pytest.mark.parametrize("name", ["bank", "epsilon-8-draw-2", "Kunden 2026", "顾客", "a.b@c+d"])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "..", ".hidden", "../../etc/x", "a/b", "a\\b", "a\nb", "a\x1b[2J", "\x00", "a\n", " a"],
)
def test_a_name_that_is_a_path_or_steers_a_terminal_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)
