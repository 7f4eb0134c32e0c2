"""Bins for the additive model, cut from the declared schema or at given edges, and encoding.

Guarantee: nothing here derives an edge or a category from a row. `binning_from_schema` knows the
declared schema alone; `binning_with_edges` takes the edges it is given, which must have been
released before. `encode` gives every declared value exactly one bin and refuses every other.
Not guaranteed: that the bins suit the data. A bad guess of bounds costs accuracy, never privacy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import ColumnMissing, MessageInvalid, SchemaViolated, SettingInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.core.stages import CodeArray

MISSING = "missing"
BOOLEAN_LABELS = ("false", "true")


@dataclass(frozen=True, slots=True)
class FeatureBins:
    """The bins of one feature, in the order of their codes.

    labels: one a bin. edges: for numbers, bin i holds edges[i-1] <= x < edges[i]; empty for
    categories. ordered: neighbouring bins are neighbouring values. nullable: the last bin is
    "missing" and stands outside that order.
    """

    name: str
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    ordered: bool
    nullable: bool = False

    def __post_init__(self) -> None:
        """Refuse bins that contradict themselves. Raises: SettingInvalid."""
        if self.ordered and len(self.values) != len(self.edges) + 1:
            self._refuse("it needs one label more than edges")
        if any(not low < high for low, high in pairwise(self.edges)):
            self._refuse("its edges must rise")
        if len(set(self.labels)) != len(self.labels):
            self._refuse("two of its bins have the same label")

    def _refuse(self, problem: str) -> None:
        raise SettingInvalid(setting=f"the binning of {self.name}", problem=problem)

    @property
    def bins(self) -> int:
        """Return the number of bins, the one for missing values included."""
        return len(self.labels)

    @property
    def values(self) -> tuple[str, ...]:
        """Return the labels of the bins that hold values, without the missing one."""
        return self.labels[:-1] if self.nullable else self.labels

    @property
    def missing(self) -> int | None:
        """Return the code of a missing value, or None where it is not allowed."""
        return self.bins - 1 if self.nullable else None


@dataclass(frozen=True, slots=True)
class Binning:
    """The bins of all features, laid one block after another in a vector of length `total`."""

    features: tuple[FeatureBins, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    def coded(self, frame: pl.DataFrame, *, dataset: str) -> CodeArray:
        """Return the bin codes of a table's rows, as `encode` does."""
        return encode(frame, self, dataset=dataset)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Return the start of each feature's block."""
        return tuple(accumulate((feature.bins for feature in self.features), initial=0))[:-1]

    @property
    def total(self) -> int:
        """Return the number of bins of all features together."""
        return sum(feature.bins for feature in self.features)

    def to_json(self) -> dict[str, object]:
        """Return plain values for a file or a message."""
        return cast("dict[str, object]", _BINNING.dump_python(self, mode="json"))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Binning":
        """Return the binning of plain values. Raises: MessageInvalid, SettingInvalid."""
        try:
            return _BINNING.validate_python(dict(value))
        except ValidationError as error:
            raise MessageInvalid(kind="binning", problem=first_problem(error)) from None


_BINNING = TypeAdapter(Binning)


def binning_from_schema(schema: TableSchema, features: Sequence[str], *, max_bins: int) -> Binning:
    """Cut public bins for `features` from their declared bounds and categories.

    A category has one bin a declared category. A number has at most `max_bins` bins: one a value
    if an integer's range fits, else of equal width, or with scale `log` one for all that is below
    `log_from` and then bins of equal ratio up to the upper bound. A nullable column has one bin
    more, the last.

    Raises: SettingInvalid (undeclared feature, or bins that cannot be cut).
    """
    declared = {column.name: column for column in schema.columns}
    unknown = [name for name in features if name not in declared]
    if unknown:
        raise SettingInvalid(
            setting=f"feature {unknown[0]}", problem="the schema declares no such column"
        )
    columns = (declared[name] for name in features)
    return Binning(tuple(_feature(column, _edges(column, max_bins)) for column in columns))


def binning_with_edges(
    schema: TableSchema, features: Sequence[str], edges: Mapping[str, Sequence[float]]
) -> Binning:
    """Cut bins for declared `features` at `edges`, one list a number; categories stay as declared.

    Raises: SettingInvalid (edges that do not rise).
    """
    declared = (schema.column(name) for name in features)
    return Binning(
        tuple(_feature(column, tuple(edges.get(column.name, ()))) for column in declared)
    )


def recode(codes: CodeArray, fine: Binning, coarse: Binning) -> CodeArray:
    """Return codes of `fine` bins as codes of `coarse` ones, shape (rows, features).

    The coarse edges must be among the fine ones: then it equals encoding the table anew.
    """
    recoded = np.empty_like(codes)
    for place, (old, new) in enumerate(zip(fine.features, coarse.features, strict=True)):
        assert set(new.edges) <= set(old.edges)
        table = np.arange(old.bins, dtype=np.uint16)
        if old.ordered:
            least = (-np.inf, *old.edges)  # of each bin
            table[: len(least)] = np.searchsorted(new.edges, least, side="right")
            table[len(least) :] = len(new.values)  # missing values
        recoded[:, place] = table[codes[:, place]]
    return recoded


def encode(frame: pl.DataFrame, binning: Binning, *, dataset: str) -> CodeArray:
    """Return the bin codes of a table's rows, shape (rows, features); errors name `dataset`.

    Numbers outside the declared bounds fall into the outermost bins: every customer's contribution
    stays within the bounds. NaN and missing customers are validation's to refuse beforehand.

    Raises: ColumnMissing, SchemaViolated (unknown category, NaN, or an undeclared missing value).
    """
    codes = np.empty((frame.height, len(binning.features)), dtype=np.uint16, order="F")
    for place, feature in enumerate(binning.features):
        if feature.name not in frame.columns:
            raise ColumnMissing(
                dataset=dataset,
                column=feature.name,
                width=frame.width,
                present=", ".join(frame.columns),
                advice="Name them as the schema does.",
            )
        codes[:, place] = _codes(frame.get_column(feature.name), feature, dataset)
    return codes


def _codes(values: pl.Series, feature: FeatureBins, dataset: str) -> NDArray[np.uint16]:
    """Return the codes of one column, shape (rows,)."""
    if feature.ordered:
        numbers = values.cast(pl.Float64).to_numpy()
        codes = np.searchsorted(feature.edges, numbers, side="right").astype(np.uint16)
        unplaced = np.isnan(numbers)
    else:
        physical = values.cast(pl.String).cast(pl.Enum(feature.values), strict=False).to_physical()
        unplaced = physical.is_null().to_numpy()
        codes = physical.fill_null(0).to_numpy().astype(np.uint16)
    null = values.is_null().to_numpy()
    wrong = int(np.count_nonzero(unplaced & ~null if feature.nullable else unplaced))
    if wrong:
        raise SchemaViolated(
            dataset=dataset, report=f"{feature.name}: {wrong} values fit no declared bin"
        )
    if feature.missing is not None:
        codes[null] = feature.missing
    return codes


def _feature(column: Column, edges: tuple[float, ...]) -> FeatureBins:
    """Return the bins of one declared column; edges are for numbers."""
    if column.kind == "category":
        labels = column.categories
    elif column.kind == "boolean":
        labels = BOOLEAN_LABELS
    else:
        labels = tuple(_labels(column, edges))
    if column.nullable:
        labels = (*labels, MISSING)
    ordered = column.kind in ("integer", "number")
    return FeatureBins(column.name, labels, edges, ordered, column.nullable)


def _edges(column: Column, max_bins: int) -> tuple[float, ...]:
    """Return the inner edges of a number, at most max_bins - 1 of them; none for categories."""
    if column.bounds is None or column.kind not in ("integer", "number"):
        return ()
    low, high = column.bounds
    whole = column.kind == "integer"
    if whole and np.floor(high) - np.ceil(low) < max_bins:
        return tuple(float(value) for value in np.arange(np.ceil(low) + 1, np.floor(high) + 1))
    if column.scale == "log":
        assert column.log_from is not None
        edges = np.geomspace(column.log_from, high, max_bins - 1)
    else:
        edges = np.linspace(low, high, max_bins + 1)[1:-1]
    return tuple(float(edge) for edge in np.unique(np.ceil(edges.round(9)) if whole else edges))


def _labels(column: Column, edges: tuple[float, ...]) -> Iterator[str]:
    """Yield one label a bin: "[20, 25)", or the value itself where an integer's bin holds one."""
    assert column.bounds is not None
    low, high = column.bounds
    limits = (low, *edges, high)
    written = _written(limits)
    for place, (start, end) in enumerate(pairwise(limits[:-1])):
        single = column.kind == "integer" and end - start == 1
        yield written[place] if single else f"[{written[place]}, {written[place + 1]})"
    yield written[-1] if limits[-2] == high else f"[{written[-2]}, {written[-1]}]"


def _written(limits: Sequence[float]) -> list[str]:
    """Write limits without needless digits, but with as many as tell them apart."""
    written: list[str] = []
    for digits in range(6, 18):
        written = [str(int(x)) if x == int(x) else f"{x:.{digits}g}" for x in limits]
        if len(set(written)) == len(set(limits)):
            break
    return written
