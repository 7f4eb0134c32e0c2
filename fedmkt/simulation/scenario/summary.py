"""What a sweep's results say: means over seeds, with intervals, for each combination of values.

Guarantee: every figure is of the last round of trainings that did not diverge; those that did, or
had too few partners, are counted beside it.
Not guaranteed: that an interval speaks of other data; it speaks of other seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fedmkt.evaluation.metrics import student_half
from fedmkt.simulation.scenario.rows import FAILED, TRAINED

Values = tuple[object, ...]
_TO_THE_END = pl.col("status") == TRAINED


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds and the half width of its 95% interval, None for a single seed."""

    value: float
    half: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class Line:
    """One combination of swept values: the joint model, and what stands beside it.

    alone: the best partner's own model, by its mean. ended: how many joint trainings ended early,
    failed: how many of those trials could not be simulated. first_end: why and in which round the
    first of them did. clock_s: simulated seconds of a whole training.
    """

    values: Values
    joint: Mean | None
    pooled: Mean | None
    alone: Mean | None
    ended: int
    failed: int
    first_end: str | None
    epsilon: float | None
    exchanges: float | None
    size_bytes: float | None
    clock_s: float | None


def mean_of(values: Sequence[float]) -> Mean | None:
    """Return the mean of one figure a seed, with Student's interval; None of nothing."""
    count = len(values)
    if not count:
        return None
    half = student_half(values) if count > 1 else None
    return Mean(math.fsum(values) / count, half, count)


def last_rounds(results: pl.DataFrame) -> pl.DataFrame:
    """Return the last row of every model of every trial."""
    return results.unique(["trial", "method", "partner"], keep="last", maintain_order=True)


def lines_of(results: pl.DataFrame, keys: Sequence[str]) -> tuple[Line, ...]:
    """Return a line for each combination of the swept `keys`, in the order of the trials."""
    last = last_rounds(results)
    if not keys:
        return (_line((), last),) if last.height else ()
    groups = last.group_by(list(keys), maintain_order=True)
    return tuple(_line(values, group) for values, group in groups)


def _line(values: Values, rows: pl.DataFrame) -> Line:
    joint = rows.filter(pl.col("method") == "federated")
    kept, early = (joint.filter(which) for which in (_TO_THE_END, ~_TO_THE_END))
    return Line(
        values=values,
        joint=mean_of(kept["auc"].drop_nulls().to_list()),
        pooled=_aucs(rows.filter(pl.col("method") == "pooled")),
        alone=_best_alone(rows.filter(pl.col("method") == "alone")),
        ended=early.height,
        failed=count_failed(early),
        first_end=_first_end(early),
        epsilon=_plain_mean(kept["epsilon"]),
        exchanges=_plain_mean(kept["exchanges"]),
        size_bytes=_plain_mean(kept["bytes_up"] + kept["bytes_down"]),
        clock_s=_plain_mean(kept["clock_s"]),
    )


def count_failed(rows: pl.DataFrame) -> int:
    """Return how many trials could not be simulated."""
    return rows.filter(pl.col("status").str.starts_with(FAILED)).height


def _first_end(early: pl.DataFrame) -> str | None:
    if not early.height:
        return None
    status, number = early["status"][0], early["round"][0]
    return f"{status} in round {number}" if number else str(status)


def _aucs(rows: pl.DataFrame) -> Mean | None:
    return mean_of(rows["auc"].drop_nulls().to_list())


def _best_alone(rows: pl.DataFrame) -> Mean | None:
    each = [_aucs(group) for _, group in rows.group_by("partner", maintain_order=True)]
    return max((one for one in each if one), key=lambda one: one.value, default=None)


def _plain_mean(values: pl.Series) -> float | None:
    found = values.drop_nulls().to_list()
    return math.fsum(found) / len(found) if found else None
