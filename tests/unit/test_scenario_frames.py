"""Frames of other libraries come over with their values, or are refused by their column."""

from typing import Any

import polars as pl
import pytest

from fedmkt.core.errors import ScenarioInvalid
from fedmkt.simulation.scenario.frames import as_polars

SECRET = "Frieda-Musterfrau-4711"


class Pandas:
    """What is asked of a pandas frame."""

    def __init__(self, columns: dict[Any, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def to_dict(self, orient: str) -> dict[Any, list[Any]]:
        assert orient == "list"
        return self._columns


class NAType:
    """As pandas.NA: it has no truth."""

    def __bool__(self) -> bool:
        raise TypeError


class Interval:
    """As pandas.cut makes them."""

    def __repr__(self) -> str:
        return SECRET


def test_a_frame_that_gives_its_columns_comes_over_with_what_is_missing() -> None:
    given = Pandas({"age": [31.0, float("nan")], "town": [None, "x"], "old": [NAType(), True]})
    expected = pl.DataFrame({"age": [31.0, None], "town": [None, "x"], "old": [None, True]})
    assert as_polars(given, "the frame").equals(expected, null_equal=True)


def test_a_polars_frame_is_itself_and_a_lazy_one_is_collected() -> None:
    frame = pl.DataFrame({"age": [31]})
    assert as_polars(frame, "the frame") is frame
    assert as_polars(frame.lazy(), "the frame").equals(frame)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"age": SECRET}], "the frame is a list; give a polars or a pandas frame"),
        (Pandas({1: [SECRET]}), "need names that are text"),
        (Pandas({"age": [31, SECRET]}), "the column age of the frame has values of more than one"),
        (Pandas({"age": [Interval()]}), "the column age of the frame has no plain values"),
    ],
    ids=["list", "names", "kinds", "objects"],
)
def test_what_is_no_frame_is_refused_in_words_without_a_value(given: Any, said: str) -> None:
    with pytest.raises(ScenarioInvalid, match=said) as refused:
        as_polars(given, "the frame")
    assert SECRET not in str(refused.value)
    assert str(refused.value).endswith(". Correct them and call it again.")
