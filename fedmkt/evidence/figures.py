"""The figures a report is made of: shares, counts, amounts, and intervals around estimates.

Guarantee: a share lies between 0 and 1, nothing else is negative or unbounded, and an interval
holds its value.
"""

from typing import Annotated

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class AucInterval(Frozen):
    """An AUC with its 95% confidence interval."""

    value: Share
    low: Share
    high: Share

    @model_validator(mode="after")
    def _ordered(self) -> "AucInterval":
        if not self.low <= self.value <= self.high:
            raise ValueError("an interval needs low <= value <= high")
        return self


class Interval(Frozen):
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        if not self.low <= self.value <= self.high:
            raise ValueError("an interval needs low <= value <= high")
        return self
