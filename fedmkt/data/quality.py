"""How good a table is: a scorecard, and the floor a contract may set for it.

Guarantee: a scorecard holds shares and names of checks, never a value or a row. Privacy: the
shares depend on the rows, so a scorecard stays at its node and is never a release.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from fedmkt.core.errors import ColumnKindWrong, QualityTooLow
from fedmkt.data.validation import MISSING_VALUE, ValidationReport

TOLERANCE = 0.01  # a check passes while at most this share of rows breaks it
DUPLICATE = "duplicate customer"
STALE = "stale"


@dataclass(frozen=True, slots=True)
class FreshnessTerms:
    """A row is fresh when its date is at most `within_days` before `today`, and not after it."""

    today: date
    within_days: int = 365


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Shares between 0 and 1 over a table of `rows` rows.

    completeness: cells of required columns that hold something. validity: cells that keep the
    rules on values. uniqueness: rows that are their customer's first. freshness: rows that are
    fresh, None where it was not asked. share: checks passed. failing: the other checks.
    """

    rows: int
    completeness: float
    validity: float
    uniqueness: float
    freshness: float | None
    share: float
    failing: tuple[str, ...]

    def require(self, floor: float, *, dataset: str) -> None:
        """Do nothing where the share of checks passed reaches `floor`. Raises: QualityTooLow."""
        if self.share < floor:
            failing = ", ".join(self.failing)
            raise QualityTooLow(dataset=dataset, share=self.share, floor=floor, failing=failing)


def scorecard(report: ValidationReport, *, duplicates: int, stale: int | None) -> Scorecard:
    """Sum up a validation report, the number of surplus rows and the number of stale ones.

    Each column's rules, uniqueness and (where asked) freshness are one check each.
    """
    rows = max(report.rows, 1)
    broken = {(finding.column, finding.rule): finding.count for finding in report.findings}
    shares = {
        (check.column, check.rule): 1 - broken.get((check.column, check.rule), 0) / rows
        for check in report.checks
    }
    present = [share for (_, rule), share in shares.items() if rule == MISSING_VALUE]
    valid = [share for (_, rule), share in shares.items() if rule != MISSING_VALUE]
    shares["customers", DUPLICATE] = uniqueness = 1 - duplicates / rows
    freshness = None if stale is None else 1 - stale / rows
    if freshness is not None:
        shares["rows", STALE] = freshness
    failing = [f"{name}: {rule}" for (name, rule), share in shares.items() if share < 1 - TOLERANCE]
    return Scorecard(
        rows=report.rows,
        completeness=_mean(present),
        validity=_mean(valid),
        uniqueness=uniqueness,
        freshness=freshness,
        share=1 - len(failing) / len(shares),
        failing=tuple(failing),
    )


def stale_rows(dates: pl.Series, terms: FreshnessTerms, *, dataset: str) -> int:
    """Return how many rows are not fresh; a date that is missing or cannot be read is not.

    Raises: ColumnKindWrong (neither dates nor text like 2026-01-31).
    """
    if not (dates.dtype.is_temporal() or dates.dtype in (pl.String, pl.Null)):
        found = str(dates.dtype.base_type())
        raise ColumnKindWrong(column=dates.name, dataset=dataset, declared="date", found=found)
    text = dates.dtype == pl.String
    days = dates.str.head(10).str.to_date("%Y-%m-%d", strict=False) if text else dates.cast(pl.Date)
    oldest = terms.today - timedelta(days=terms.within_days)
    return len(days) - int(days.is_between(oldest, terms.today).sum())


def _mean(shares: list[float]) -> float:
    return sum(shares) / len(shares) if shares else 1.0
