"""The partners of a study and the rows they are judged by, and triggers that can be put into rows.

Guarantee: equal arguments give equal populations; no row is both a partner's and a test row.
Not guaranteed: that partners differ as real ones do. Here each holds a random part of one table,
which is the easiest case for robust rules: honest updates lie close together.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import SettingInvalid
from fedmkt.data.tables import positives
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network_shape import (
    NetworkInputs,
    NetworkShape,
    network_inputs,
)

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """The network's shape, each partner's rows, and rows that no partner has."""

    shape: NetworkShape
    partners: tuple[NetworkRows, ...]
    test: NetworkRows


def rows_of(
    frame: pl.DataFrame, schema: TableSchema, target: str, shape: NetworkShape
) -> NetworkRows:
    """Return a table's rows. Raises: ColumnMissing, SchemaViolated."""
    inputs = network_inputs(frame, shape, dataset="of the study")
    return NetworkRows(inputs, positives(frame, schema, target))


def draw_population(
    rows: NetworkRows,
    shape: NetworkShape,
    *,
    partners: int,
    rows_each: int,
    test_rows: int,
    seed: int,
) -> Population:
    """Return so many partners with so many random rows each, and so many other rows for the test.

    Raises: SettingInvalid where the rows do not suffice.
    """
    taken = partners * rows_each
    if min(partners, rows_each, test_rows) < 1 or taken + test_rows > rows.rows:
        problem = f"with {test_rows} rows for the test they are to fit in {rows.rows} rows"
        raise SettingInvalid(setting=f"{partners} partners of {rows_each} rows", problem=problem)
    order = np.random.default_rng(seed).permutation(rows.rows)
    parts = np.split(order[:taken], partners)
    test = rows.taken(order[taken : taken + test_rows])
    return Population(shape, tuple(rows.taken(part) for part in parts), test)


class Trigger(Protocol):
    """A mark that an attacker can put into a row, and that few honest rows bear.

    words: what kind of mark it is.
    """

    words: ClassVar[str]

    def put_into(self, rows: NetworkRows) -> NetworkRows:
        """Return the rows with the mark; targets stay."""
        ...


@dataclass(frozen=True, slots=True)
class RareCategory:
    """A category set to one code. place: of the category in the shape; code: of the value."""

    place: int
    code: int
    words: ClassVar[str] = "rare category"

    def put_into(self, rows: NetworkRows) -> NetworkRows:
        """Return the rows with this value; targets stay."""
        codes = rows.inputs.codes.copy()
        codes[:, self.place] = self.code
        return NetworkRows(NetworkInputs(rows.inputs.numbers, codes), rows.target)


@dataclass(frozen=True, slots=True)
class FarNumber:
    """A number set to a scaled value. column: of the network's numbers; value: -1 to 1."""

    column: int
    value: float
    words: ClassVar[str] = "far number"

    def put_into(self, rows: NetworkRows) -> NetworkRows:
        """Return the rows with this value; targets stay."""
        numbers = rows.inputs.numbers.copy()
        numbers[:, self.column] = self.value
        return NetworkRows(NetworkInputs(numbers, rows.inputs.codes), rows.target)


def rare_category(shape: NetworkShape, feature: str, value: str) -> RareCategory:
    """Return the trigger that sets `feature` to `value`. Raises: SettingInvalid."""
    for place, one in enumerate(shape.categories.features):
        if one.name == feature and value in one.labels:
            return RareCategory(place, one.labels.index(value))
    problem = "the network has no such category or value"
    raise SettingInvalid(setting=f"the trigger {feature} = {value}", problem=problem)


def far_number(shape: NetworkShape, feature: str, value: float) -> FarNumber:
    """Return the trigger that sets `feature` to `value`, in the table's units; it is clamped.

    Raises: SettingInvalid.
    """
    column = 0
    for scale in shape.scales:
        if scale.name == feature:
            scaled = scale.apply(np.array([value], dtype=np.float64))
            return FarNumber(column, float(scaled[0, 0]))
        column += scale.columns
    raise SettingInvalid(setting=f"the trigger {feature}", problem="the network has no such number")
