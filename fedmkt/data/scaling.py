"""Numbers of a table between -1 and 1, by the bounds that its schema declares.

Guarantee: every entry lies in [-1, 1] whatever stands in the row, and its scale depends on no
customer. A value that is missing or not a number is 0; where a column may be missing, a flag beside
it says so.
Not guaranteed: that the bounds suit the data. A bad guess costs accuracy, never privacy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray

NumberArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NumberScale:
    """How a column of numbers is scaled: `low` becomes -1, `high` 1, what lies outside is clamped.

    log: the logarithm is scaled; `low` is then the smallest amount told apart from zero.
    nullable: a second column is 1 where the value is missing, else 0.
    """

    name: str
    low: float
    high: float
    log: bool = False
    nullable: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that scale nothing. Raises: SettingInvalid."""
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            problem = "its bounds must be finite and rise"
            raise SettingInvalid(setting=f"the scale of {self.name}", problem=problem)
        if self.log and self.low <= 0:
            problem = "a logarithm needs a bound above 0"
            raise SettingInvalid(setting=f"the scale of {self.name}", problem=problem)

    @property
    def columns(self) -> int:
        """Return how many inputs the number becomes."""
        return 2 if self.nullable else 1

    def apply(self, values: FloatArray) -> NumberArray:
        """Return the inputs of one column's `values` (rows,), shape (rows, columns)."""
        inside = np.clip(values, self.low, self.high)  # keeps NaN
        low, high = self.low, self.high
        if self.log:
            inside, low, high = np.log(inside), np.log(low), np.log(high)
        # Halves first, so that no difference of bounds overflows.
        scaled = (inside / 2 - low / 2) / (high / 2 - low / 2) * 2 - 1
        missing = np.isnan(values)
        parts = [np.clip(np.where(missing, 0.0, scaled), -1.0, 1.0)]
        if self.nullable:
            parts.append(missing.astype(np.float64))
        return np.stack(parts, axis=1).astype(np.float32)


def scales_from_schema(schema: TableSchema, features: Sequence[str]) -> tuple[NumberScale, ...]:
    """Return the scales of those `features` that are numbers, in their order.

    Raises: KeyError for an undeclared feature.
    """
    found = []
    for column in (schema.column(name) for name in features):
        if column.bounds is not None:
            log = column.scale == "log"
            low = column.log_from if log and column.log_from else column.bounds[0]
            found.append(NumberScale(column.name, low, column.bounds[1], log, column.nullable))
    return tuple(found)


def scale_numbers(frame: pl.DataFrame, scales: Sequence[NumberScale]) -> NumberArray:
    """Return the scaled numbers of a table's rows, shape (rows, sum of the scales' columns)."""
    parts = [
        scale.apply(frame.get_column(scale.name).cast(pl.Float64).fill_null(np.nan).to_numpy())
        for scale in scales
    ]
    return np.concatenate([np.empty((frame.height, 0), dtype=np.float32), *parts], axis=1)
