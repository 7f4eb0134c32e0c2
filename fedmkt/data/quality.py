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
DATE_FORM = "YYYY-MM-DD"


@dataclass(frozen=True, slots=True)
class FreshnessTerms:
    """A row is fresh when its date is at most `within_days` before `today`, and not after it."""

    today: date
    within_days: int = 365


@dataclass(frozen=True, slots=True)
class Stale:
    """How many rows are not fresh, and how many of these hold no date that can be read."""

    rows: int = 0
    undated: int = 0

    def __add__(self, other: "Stale") -> "Stale":
        return Stale(self.rows + other.rows, self.undated + other.undated)

    def __str__(self) -> str:
        """Return the words for a scorecard."""
        undated = f", {self.undated:,} of them without a date {DATE_FORM}" if self.undated else ""
        return f"not fresh{undated}"


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Shares between 0 and 1 over a table of `rows` rows.

    completeness: cells of required columns that hold something. validity: cells that keep the
    rules on values. uniqueness: rows that are their customer's first. freshness: rows that are
    fresh, None where it was not asked. share: checks passed. failing: the other checks, with how
    many rows break each. tolerated: checks that passed although some rows break them.
    """

    rows: int
    completeness: float
    validity: float
    uniqueness: float
    freshness: float | None
    share: float
    failing: tuple[str, ...]
    tolerated: tuple[str, ...]

    def require(self, floor: float, *, dataset: str) -> None:
        """Do nothing where the share of checks passed reaches `floor`. Raises: QualityTooLow."""
        if self.share < floor:
            failing = "; ".join(self.failing)
            raise QualityTooLow(dataset=dataset, share=self.share, floor=floor, failing=failing)


def scorecard(report: ValidationReport, *, duplicates: int, stale: Stale | None) -> Scorecard:
    """Sum up a validation report, the number of surplus rows and the number of stale ones.

    Each column's rules, uniqueness and (where asked) freshness are one check each.
    """
    rows = max(report.rows, 1)
    broken = dict.fromkeys(((check.column, check.rule) for check in report.checks), 0)
    broken |= {(finding.column, finding.rule): finding.count for finding in report.findings}
    present = [1 - count / rows for (_, rule), count in broken.items() if rule == MISSING_VALUE]
    valid = [1 - count / rows for (_, rule), count in broken.items() if rule != MISSING_VALUE]
    broken["customers", DUPLICATE] = duplicates
    if stale is not None:
        broken["rows", str(stale)] = stale.rows
    words = {f"{name}: {rule} (rows: {count:,})": count for (name, rule), count in broken.items()}
    failing = [one for one, count in words.items() if count / rows > TOLERANCE]
    return Scorecard(
        rows=report.rows,
        completeness=_mean(present),
        validity=_mean(valid),
        uniqueness=1 - duplicates / rows,
        freshness=None if stale is None else 1 - stale.rows / rows,
        share=1 - len(failing) / len(words),
        failing=tuple(failing),
        tolerated=tuple(one for one, count in words.items() if 0 < count <= TOLERANCE * rows),
    )


def stale_rows(dates: pl.Series, terms: FreshnessTerms, *, dataset: str) -> Stale:
    """Count the rows that are not fresh; a date that is missing or cannot be read is not.

    Text is read as YYYY-MM-DD, whatever follows it.

    Raises: ColumnKindWrong (neither date nor text).
    """
    if not (dates.dtype.is_temporal() or dates.dtype in (pl.String, pl.Null)):
        found = str(dates.dtype.base_type())
        raise ColumnKindWrong(
            column=dates.name, dataset=dataset, declared=f"date {DATE_FORM}", found=found
        )
    text = dates.dtype == pl.String
    days = dates.str.head(10).str.to_date("%Y-%m-%d", strict=False) if text else dates.cast(pl.Date)
    oldest = terms.today - timedelta(days=terms.within_days)
    fresh = int(days.is_between(oldest, terms.today).sum())
    return Stale(len(days) - fresh, days.null_count())


def _mean(shares: list[float]) -> float:
    return sum(shares) / len(shares) if shares else 1.0
