"""The declared schema of a dataset: public knowledge, agreed before anybody looks at a row.

Guarantee: bin edges and category lists that come from here depend on no customer.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedmkt.core.frozen import Frozen

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]
"""A column's name: the partner's own, in any script."""

# Security: these become file names, log lines and terminal output; no path, no control character.
Identifier = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\w[\w .@+-]*$")]
"""The name of a member, dataset, purpose, job or run: letters, digits, blanks and . @ + - _"""


class Column(Frozen):
    """One declared column.

    bounds: public least and greatest value of a number, in `unit`. scale: how public bin edges are
    spaced; `log` wants `log_from`, the smallest amount told apart from zero. categories: public.
    use: `feature`, `target`, or `audit` (for fairness checks; a feature only if a job says so).
    sensitivity: `special` (race, health, belief) is a feature only if a job says so, too.
    """

    name: Name
    kind: Literal["integer", "number", "category", "boolean"]
    unit: str = ""
    use: Literal["feature", "target", "audit"] = "feature"
    sensitivity: Literal["ordinary", "personal", "special"] = "personal"
    bounds: tuple[float, float] | None = None
    scale: Literal["linear", "log"] = "linear"
    log_from: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False

    @model_validator(mode="after")
    def _declared(self) -> "Column":
        if self.kind in ("integer", "number"):
            if self.bounds is None or self.bounds[0] >= self.bounds[1]:
                raise ValueError(f"column {self.name}: a number needs bounds = [least, greatest]")
            if self.scale == "log" and not (
                self.log_from and max(self.bounds[0], 0) < self.log_from < self.bounds[1]
            ):
                raise ValueError(f"column {self.name}: log scale needs log_from inside the bounds")
        if self.kind == "category" and len(set(self.categories)) < 2:
            raise ValueError(f"column {self.name}: a category needs at least two categories")
        return self

    @property
    def guarded(self) -> bool:
        """Tell whether this column is a feature only where a job says so."""
        return self.use == "audit" or self.sensitivity == "special"


class TableSchema(Frozen):
    """The columns of a customer table and what one row stands for.

    customer_key: the column that names the customer; rows of one customer count as one.
    target_positive: the target's value that counts as 1.
    """

    privacy_unit: Literal["customer"] = "customer"
    customer_key: Name
    columns: tuple[Column, ...]
    target_positive: str | float | bool | None = None
    freshness_column: Name | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "TableSchema":
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or self.customer_key in names:
            raise ValueError("column names, the customer key among them, must differ")
        targets = [column for column in self.columns if column.use == "target"]
        if targets and self.target_positive is None:
            raise ValueError("a schema with a target needs target_positive")
        return self

    def column(self, name: str) -> Column:
        """Return the declared column `name`. Raises: KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
