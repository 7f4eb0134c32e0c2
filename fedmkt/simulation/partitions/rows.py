"""Horizontal partitions: which partner of a simulation holds which customers' rows.

Guarantee: every row goes to exactly one partner, every partner gets at least `minimum_rows`, and
the same frame, settings and seed give the same parts. What cannot be divided so is refused with
what would do.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from fedmkt.core.errors import PartitionImpossible, SettingInvalid
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.simulation.partitions.label_skew import draw_label_counts
from fedmkt.simulation.partitions.value_groups import join_rarest

MOST_PARTNERS = 10_000
MOST_LABELS = 1_000
ALPHAS = (1e-3, 1e6)  # beyond them parts are as good as pure, or as good as even
Kind = Literal["iid", "by_column", "dirichlet", "quantity"]


@dataclass(frozen=True, slots=True)
class RowPartition:
    """How rows are divided among `partners` partners.

    iid: rows drawn evenly. by_column: each partner has some of the values of `column`; `groups`
    says which, one group a partner, else the two rarest are put together until there are as many
    groups as partners. dirichlet: equal sizes, each partner's shares of the values of `column`
    drawn by Dirichlet(alpha * shares in the table). quantity: rows drawn evenly, sizes uneven by
    `sizes`: `power` (the k-th partner's as k ** -exponent) or `dirichlet` (symmetric, alpha for
    each partner), both over what is above `minimum_rows`.

    Raises: SettingInvalid.
    Source: Hsu et al. 2019, arXiv:1909.06335, section 3.1 (dirichlet).
    """

    kind: Kind
    partners: int
    minimum_rows: int = 1
    column: str | None = None
    groups: tuple[tuple[str | None, ...], ...] = ()
    alpha: float = 1.0
    sizes: Literal["power", "dirichlet"] = "power"
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.partners <= MOST_PARTNERS:
            raise _invalid("partners", f"it is {self.partners}, not 2 to {MOST_PARTNERS}")
        if self.minimum_rows < 1:
            raise _invalid("minimum_rows", "a partner needs at least 1 row")
        if self.kind in ("by_column", "dirichlet") and self.column is None:
            raise _invalid("column", f"a partition {self.kind} needs one")
        if not ALPHAS[0] <= self.alpha <= ALPHAS[1]:
            raise _invalid("alpha", f"it must be {ALPHAS[0]:g} to {ALPHAS[1]:g}")
        if not 0 <= self.exponent < np.inf:
            raise _invalid("exponent", "it must be a finite number of at least 0")
        if self.groups and (self.kind != "by_column" or len(self.groups) != self.partners):
            raise _invalid("groups", "they are for by_column alone, one group a partner")
        given = [value for group in self.groups for value in group]
        if len(set(given)) != len(given):
            raise _invalid("groups", "a value is given twice")


def partition_rows(
    frame: pl.DataFrame, settings: RowPartition, rng: np.random.Generator
) -> dict[str, IntArray]:
    """Return each partner's row numbers of `frame`, ascending; partners in the order of numbers.

    rng: seeded; `by_column` draws nothing from it.

    Raises: PartitionImpossible, SettingInvalid (an unknown column, or values in no group).
    """
    refuse_too_many(frame.height, settings)
    if settings.kind == "iid":
        owner = _drawn(_even_sizes(frame.height, settings.partners), rng)
    elif settings.kind == "quantity":
        owner = _drawn(_uneven_sizes(frame.height, settings, rng), rng)
    elif settings.kind == "by_column":
        owner = _owners_by_value(_values(frame, settings), settings)
    else:
        owner = _owners_by_label(_values(frame, settings), settings, rng)
    return _by_owner(owner, settings)


def partner_names(partners: int) -> tuple[str, ...]:
    """Return `partner-0001` and so on."""
    return tuple(f"partner-{number:04}" for number in range(1, partners + 1))


def _invalid(field: str, problem: str) -> SettingInvalid:
    return SettingInvalid(setting=f"{field} of the partition", problem=problem)


def refuse_too_many(rows: int, settings: RowPartition) -> None:
    """Raise: PartitionImpossible, where rows are too few whatever the way of dividing."""
    wanted = settings.partners * settings.minimum_rows
    if wanted <= rows:
        return
    most = rows // settings.minimum_rows
    advice = f"Use at most {most} partners, or more rows." if most >= 2 else "Use a larger table."
    raise PartitionImpossible(
        problem=(
            f"{settings.partners} partners with at least {settings.minimum_rows} rows need "
            f"{wanted}, the table has {rows}"
        ),
        advice=advice,
    )


def _values(frame: pl.DataFrame, settings: RowPartition) -> pl.Series:
    """Return the column's values as text. Raises: SettingInvalid."""
    assert settings.column is not None
    if settings.column not in frame.columns:
        raise _invalid("column", f"the table has no column {settings.column}")
    return frame.get_column(settings.column).cast(pl.String)


def _even_sizes(rows: int, partners: int) -> IntArray:
    """Return sizes that differ by at most one, shape (partners,)."""
    sizes = np.full(partners, rows // partners, dtype=np.int64)
    sizes[: rows % partners] += 1
    return sizes


def _uneven_sizes(rows: int, settings: RowPartition, rng: np.random.Generator) -> IntArray:
    """Return sizes of at least the minimum, by largest remainders, shape (partners,)."""
    if settings.sizes == "power":
        powers = np.arange(1, settings.partners + 1) ** -float(settings.exponent)
        weights: FloatArray = powers / powers.sum()
    else:
        weights = rng.dirichlet(np.full(settings.partners, settings.alpha))
    spare = rows - settings.partners * settings.minimum_rows
    exact = spare * weights
    sizes = np.floor(exact).astype(np.int64)
    order = np.argsort(sizes - exact, kind="stable")
    sizes[order[: spare - int(sizes.sum())]] += 1
    return sizes + settings.minimum_rows


def _drawn(sizes: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the partner of each row, rows drawn evenly, shape (rows,)."""
    return rng.permutation(np.repeat(np.arange(sizes.size), sizes))


def _owners_by_value(values: pl.Series, settings: RowPartition) -> IntArray:
    """Return the partner of each row by its value. Raises: PartitionImpossible, SettingInvalid."""
    counted = values.value_counts(name="rows").sort("rows", values.name, descending=[True, False])
    groups = settings.groups
    if not groups:
        if counted.height < settings.partners:
            raise PartitionImpossible(
                problem=f"{settings.column} has {counted.height} values for "
                f"{settings.partners} partners",
                advice="Use as many partners as it has values, or another column.",
            )
        sizes = dict(zip(counted[values.name], counted["rows"], strict=True))
        groups = join_rarest(sizes, settings.partners)
    owner = {value: place for place, group in enumerate(groups) for value in group}
    codes = [owner.get(value, -1) for value in counted[values.name]]
    if -1 in codes:
        nobody = int(counted["rows"].filter(pl.Series(codes) == -1).sum())
        raise _invalid("groups", f"{nobody} rows of {settings.column} belong to none")
    return values.replace_strict(
        counted[values.name], pl.Series(codes, dtype=pl.Int64), return_dtype=pl.Int64
    ).to_numpy()


def _owners_by_label(
    values: pl.Series, settings: RowPartition, rng: np.random.Generator
) -> IntArray:
    """Return the partner of each row by label skew. Raises: PartitionImpossible."""
    labels = values.unique().sort()
    if labels.len() > MOST_LABELS:
        raise PartitionImpossible(
            problem=f"{settings.column} has {labels.len()} values, label skew takes {MOST_LABELS}",
            advice="Use the target or a column of categories.",
        )
    codes = values.replace_strict(
        labels, pl.Series(range(labels.len()), dtype=pl.Int64), return_dtype=pl.Int64
    ).to_numpy()
    sizes = _even_sizes(codes.size, settings.partners)
    pools = np.bincount(codes, minlength=labels.len())
    counts = draw_label_counts(pools, sizes, alpha=settings.alpha, rng=rng)
    # The last drawn get what is left of the labels; a partner's number is not to tell of it.
    counts = counts[_shuffled_within_sizes(sizes, rng)]
    owner = np.empty(codes.size, dtype=np.int64)
    for label in range(labels.len()):
        owner[codes == label] = _drawn(counts[:, label], rng)
    return owner


def _shuffled_within_sizes(sizes: IntArray, rng: np.random.Generator) -> IntArray:
    """Return a permutation of partners that keeps the larger sizes in front."""
    order = rng.permutation(sizes.size)
    return order[np.argsort(-sizes[order], kind="stable")]


def _by_owner(owner: IntArray, settings: RowPartition) -> dict[str, IntArray]:
    """Return the rows of each partner. Raises: PartitionImpossible (one with too few)."""
    sizes = np.bincount(owner, minlength=settings.partners)
    if sizes.min() < settings.minimum_rows:
        raise PartitionImpossible(
            problem=f"the smallest group of {settings.column} has {sizes.min()} rows, "
            f"{settings.minimum_rows} are asked for",
            advice="Use fewer partners, other groups or more rows.",
        )
    rows = np.argsort(owner, kind="stable")
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    return dict(zip(partner_names(settings.partners), parts, strict=True))
