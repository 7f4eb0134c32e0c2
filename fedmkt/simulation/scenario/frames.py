"""Frames of other libraries as polars frames.

Guarantee: every column comes over with its values, missing ones as missing, or the frame is refused
by its column. No value is in an error. Not guaranteed: speed; values come over one by one.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import polars as pl

from fedmkt.core.errors import FrameInvalid

SOURCE = "given to simulate()"
_MISSING = ("NAType", "NaTType")
"""What pandas calls a missing value that is no number."""


class HasColumns(Protocol):
    """A frame that can give its columns as lists, as pandas' can."""

    columns: Any

    def to_dict(self, orient: str) -> Any:
        """Return the columns by their names where `orient` is list."""
        ...


AnyFrame = pl.DataFrame | pl.LazyFrame | HasColumns


def as_polars(frame: AnyFrame, whose: str) -> pl.DataFrame:
    """Return a frame as polars has it. whose: it is, in words. Raises: FrameInvalid."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if not (hasattr(frame, "to_dict") and hasattr(frame, "columns")):
        raise _refused(f"{whose} is a {type(frame).__name__}; give a polars or a pandas frame")
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise _refused(f"the columns of {whose} need names that are text and differ")
    columns = frame.to_dict("list")
    return pl.DataFrame([_series(name, columns[name], whose) for name in names])


def _series(name: str, values: Sequence[Any], whose: str) -> pl.Series:
    plain = [None if _is_missing(value) else value for value in values]
    try:
        series = pl.Series(name, plain)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        # Security: the library's own words may quote a cell.
        problem = f"the column {name} of {whose} has values of more than one kind; make them one"
        raise _refused(problem) from None
    if series.dtype.is_object():  # as pandas' intervals and periods: no table can hold them
        raise _refused(f"the column {name} of {whose} has no plain values; make them text")
    return series


def _is_missing(value: Any) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _MISSING


def _refused(problem: str) -> FrameInvalid:
    return FrameInvalid(source=SOURCE, problem=problem)
