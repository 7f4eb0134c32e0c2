"""A schema read off a table, for simulations of a table that has none.

Not guaranteed: that it may be used where anything is to be private. Bounds and categories are those
of the rows themselves; in a deployment they are declared before anybody looks at a row.
"""

from collections.abc import Iterator

import polars as pl

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import SettingInvalid

PARTNER_COLUMN = "fedmkt.partner"
MOST_CATEGORIES = 1000
_MOST_OF_ITS_OWN = 50  # of fewer rows, values may all differ by chance
_KEYS = ("customer", "customer_id")
MADE_KEY = "fedmkt.customer"
_YES = (True, 1)


def with_key(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Return the table with a customer key, and its name; row numbers where it has none."""
    for name in _KEYS:
        if name in frame.columns:
            return frame, name
    return frame.with_row_index(MADE_KEY), MADE_KEY


def guess_schema(
    frame: pl.DataFrame, *, key: str, target: str, positive: str | bool | int | None
) -> TableSchema:
    """Return a schema of all columns that vary: numbers, true or false, or up to 1,000 categories.

    positive: the target's value that counts as yes; None takes true or 1.
    Raises: SettingInvalid (no such target, one with gaps or of one value, or one whose yes is not
        known).
    """
    if target not in frame.columns:
        problem = f"the table has no column {target}"
        raise SettingInvalid(setting="data.target", problem=problem)
    _refuse_unlearnable(frame.get_column(target))
    columns = tuple(_columns(frame.drop(key, PARTNER_COLUMN, strict=False), target))
    return TableSchema(
        customer_key=key,
        columns=columns,
        target_positive=_positive(frame.get_column(target), positive),
    )


def _refuse_unlearnable(values: pl.Series) -> None:
    """Raise SettingInvalid where the target is not known of every row, or the same of all."""
    problem = None
    if values.null_count():
        problem = f"{values.null_count():,} rows of {values.name} have no value; leave them out"
    elif values.n_unique() < 2:
        problem = f"all rows of {values.name} have the same value; a model needs both"
    if problem:
        raise SettingInvalid(setting="data.target", problem=problem)


def _columns(frame: pl.DataFrame, target: str) -> Iterator[Column]:
    for name in frame.columns:
        values = frame.get_column(name)
        if values.n_unique() - values.has_nulls() < 2:
            continue  # nothing can be learnt from it
        use = "target" if name == target else "feature"
        common = {"name": name, "use": use, "nullable": values.has_nulls()}
        yield Column.model_validate(common | _kind(values))


def _kind(values: pl.Series) -> dict[str, object]:
    if values.dtype == pl.Boolean:
        return {"kind": "boolean"}
    if values.dtype.is_numeric():
        kind = "integer" if values.dtype.is_integer() else "number"
        numbers = values.cast(pl.Float64).drop_nulls()
        finite = numbers.filter(numbers.is_finite())  # others are refused by their rows
        return {"kind": kind, "bounds": (finite.min(), finite.max())}
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        problem = (
            f"its kind {values.dtype} is none of number, true or false, text; make it one of them, "
            "as a date the days since another, or name data.features without it"
        )
        raise SettingInvalid(setting=f"column {values.name}", problem=problem)
    known = values.cast(pl.String).drop_nulls()
    categories = known.unique().sort().to_list()
    if len(categories) == len(known) > _MOST_OF_ITS_OWN:
        problem = (
            "each row has another value, so nothing can be learnt from it; call it customer if it "
            "says who the customer is, or name data.features without it"
        )
        raise SettingInvalid(setting=f"column {values.name}", problem=problem)
    if len(categories) > MOST_CATEGORIES:
        problem = f"it has more than {MOST_CATEGORIES:,} values; name data.features without it"
        raise SettingInvalid(setting=f"column {values.name}", problem=problem)
    return {"kind": "category", "categories": categories}


def _positive(values: pl.Series, positive: str | bool | int | None) -> str | bool | int:
    """Return the value that counts as yes. Raises: SettingInvalid."""
    found = set(values.drop_nulls().unique().to_list())
    for value in _YES if positive is None else (positive,):
        if value in found:
            return bool(value) if values.dtype == pl.Boolean else value
    problem = "say which value of the target counts as yes"
    raise SettingInvalid(setting="data.positive", problem=problem)
