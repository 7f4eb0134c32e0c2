"""From a table that is there to a draft of its dataset, for a person to correct.

Guarantee: what is drafted holds names of columns, kinds, coarse round bounds, categories that at
least `LEAST_ROWS` rows have, and which of a target's two fewer rows have; never a rare value, nor a
least or a greatest one but 0, nor a bound that fewer rows than those moved. Bounds and categories
are to be public knowledge: whoever hands the draft on says so by doing it.
Not guaranteed: that guesses are right. Each is marked in the draft.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from fedmkt.core.errors import FileMissing, SettingInvalid, SourceUnreadable
from fedmkt.data.csv_faults import encoding_fault

LEAST_ROWS = 20
_SAMPLE_ROWS = 20_000
_SNIFFED = 64_000
_MOST_CATEGORIES = 60
_SEPARATORS = ",;\t|"
_NULLS = ("", "NA", "N/A", "NULL", "null", "?", "-", "nan")
_KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".parquet": "parquet"}
_TRUTH = ({"true", "false"}, {"0", "1"})
_KEY_WORDS = ("customer", "kunde", "client", "cust", "id")
_BOUNDS = f"check the bounds: up to {LEAST_ROWS - 1} rows may lie beyond each"
_DATE = r"^\d{4}-\d{2}-\d{2}|^\d{1,2}[./]\d{1,2}[./]\d{2,4}$"
_COMMA_NUMBER = r"^-?\d{1,3}(\.?\d{3})*,\d+$"


@dataclass(frozen=True, slots=True)
class Guess:
    """One column as it was guessed. kind: "" leaves it out; why says so, or what to check.

    rarer: of two categories the one that fewer rows have.
    """

    name: str
    kind: str
    why: str
    bounds: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    rarer: str = ""
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A table as it was guessed."""

    path: Path
    kind: str
    separator: str
    decimal_comma: bool
    null_values: tuple[str, ...]
    customer_key: str
    rows: int
    columns: tuple[Guess, ...] = field(default=())


def guess_table(path: Path, *, key: str | None = None) -> Draft:
    """Guess how a table is written and what its columns are, from its first rows.

    Args: key: the customer key's column; None guesses it.
    Raises: FileMissing, SettingInvalid (its ending, no customer key), SourceUnreadable.
    """
    if not path.is_file():
        raise FileMissing(what="table", path=path, advice="Check the path.")
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        problem = f"its ending is none of {', '.join(sorted(_KINDS))}; other sources go by hand"
        raise SettingInvalid(setting=path.name, problem=problem)
    separator = _separator(path) if kind == "csv" else ","
    frame = _read(path, kind, separator)
    texts = [_texts(frame[name]) for name in frame.columns]
    comma = separator != "," and any(_writes_commas(column) for column in texts)
    nulls = tuple(sorted({text for column in texts for text in set(column) & set(_NULLS)}))
    found = key or _key_column(frame)
    if found not in frame.columns:
        raise SettingInvalid(setting="--key", problem=f"{path.name} has no column {found}")
    return Draft(
        path=path.resolve(),
        kind=kind,
        separator=separator,
        decimal_comma=comma,
        null_values=nulls,
        customer_key=found,
        rows=frame.height,
        columns=tuple(
            _guess(name, column, comma=comma)
            for name, column in zip(frame.columns, texts, strict=True)
            if name != found
        ),
    )


def dataset_draft(
    draft: Draft, *, name: str, population: str, holder: str, purpose: str, target: str | None
) -> str:
    """Return the draft of a dataset (TOML), with a comment on whatever is to be looked at.

    target: the column a model predicts. The value that counts is true, or of two categories the
    rarer one.
    Raises: SettingInvalid (no such column, or one that cannot be a target).
    """
    kept = [one for one in draft.columns if one.kind]
    lines = [
        f"# Drafted from the first {draft.rows:,} rows of {draft.path.name}. Correct it, then run",
        "# fedmkt node card. All of it goes to the other members: bounds and categories must be",
        "# what anybody may know, not what happens to be in your table.",
        f"name = {_quoted(name)}",
        f"population = {_quoted(population)}    # who the rows are about",
        f"holders = [{_quoted(holder)}]",
        'modes = ["local"]    # noise at each partner; name others only where you mean it',
        "minimum_audience = 100",
        "",
        "[uses]",
        f"{_quoted(purpose)} = [{_quoted(holder)}]    # purpose = who may ask for it",
        "",
        "[table]",
        f"customer_key = {_quoted(draft.customer_key)}",
    ]
    if target is not None:
        lines.append(f"target_positive = {_positive(kept, target)}    # the value that counts as 1")
    for one in kept:
        lines += ["", *_column_lines(one, target=one.name == target)]
    left = [one for one in draft.columns if not one.kind]
    lines += [""] + [f"# left out: {one.name} ({one.why})" for one in left]
    return "\n".join(lines).rstrip() + "\n"


def source_lines(draft: Draft, *, name: str) -> str:
    """Return the table of node.toml that reads this dataset."""
    lines = [f"[datasets.{_quoted(name)}]", f'kind = "{draft.kind}"']
    lines.append(f"path = {_quoted(str(draft.path))}")
    if draft.kind == "csv":
        lines.append(f"separator = {_quoted(draft.separator)}")
        if draft.decimal_comma:
            lines.append("decimal_comma = true")
    if draft.null_values:
        lines.append(f"null_values = [{', '.join(_quoted(one) for one in draft.null_values)}]")
    return "\n".join(lines) + "\n"


def _separator(path: Path) -> str:
    fault = encoding_fault(path)
    if fault is not None:
        raise SourceUnreadable(source=path.name, kind="csv", problem=fault)
    sample = path.read_bytes()[:_SNIFFED].decode("utf-8", errors="ignore")
    try:
        return csv.Sniffer().sniff(sample, delimiters=_SEPARATORS).delimiter
    except csv.Error:
        header = sample.partition("\n")[0]
        return max(_SEPARATORS, key=header.count)


def _read(path: Path, kind: str, separator: str) -> pl.DataFrame:
    try:
        if kind == "parquet":
            return pl.read_parquet(path, n_rows=_SAMPLE_ROWS)
        return pl.read_csv(
            path, separator=separator, n_rows=_SAMPLE_ROWS, infer_schema=False, encoding="utf8"
        )
    except (pl.exceptions.PolarsError, OSError):
        problem = "its cells and lines do not fit one another"
        raise SourceUnreadable(source=path.name, kind=kind, problem=problem) from None


def _texts(column: pl.Series) -> list[str]:
    return [text.strip() for text in column.cast(pl.String).fill_null("").to_list()]


def _writes_commas(column: Sequence[str]) -> bool:
    given = pl.Series([text for text in column if text and text not in _NULLS], dtype=pl.String)
    return given.len() > 0 and bool(given.str.contains(_COMMA_NUMBER).any()) and bool(
        given.str.contains(r"^-?[\d.]+(,\d+)?$").all()
    )  # fmt: skip


def _key_column(frame: pl.DataFrame) -> str:
    distinct = [name for name in frame.columns if frame[name].n_unique() == frame.height]
    named = [name for name in distinct if any(word in name.casefold() for word in _KEY_WORDS)]
    if not (named or distinct):
        problem = "no column has a different value in each row; name the customer's with --key"
        raise SettingInvalid(setting="the customer key", problem=problem)
    return (named or distinct)[0]


def _guess(name: str, column: Sequence[str], *, comma: bool) -> Guess:
    given = [text for text in column if text and text not in _NULLS]
    nullable = len(given) < len(column)
    if len(given) < LEAST_ROWS:
        return Guess(name, "", "hardly any value")
    values = pl.Series(given, dtype=pl.String)
    distinct = set(given)
    if {text.casefold() for text in distinct} in _TRUTH:
        return Guess(name, "boolean", "two values", nullable=nullable)
    if bool(values.str.contains(_DATE).all()):
        return Guess(name, "", "dates; turn them into ages or counts")
    numbers = _numbers(values, comma=comma)
    if numbers is not None:
        whole = bool((numbers == numbers.round()).all())
        kind = "integer" if whole else "number"
        return Guess(name, kind, _BOUNDS, bounds=_bounds(numbers), nullable=nullable)
    counts = values.value_counts().filter(pl.col("count") >= LEAST_ROWS)
    rows_of = dict(counts.iter_rows())
    known = sorted(rows_of)
    if not 2 <= len(known) <= _MOST_CATEGORIES:
        return Guess(name, "", "free text, or an identifier")
    rare = len(distinct) - len(known)
    why = f"{rare} rarer values are not listed; map or add them" if rare else "check the list"
    rarer = min(reversed(known), key=rows_of.__getitem__) if len(known) == 2 else ""
    return Guess(name, "category", why, categories=tuple(known), rarer=rarer, nullable=nullable)


def _numbers(values: pl.Series, *, comma: bool) -> pl.Series | None:
    written = values
    if comma:
        written = written.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    numbers = written.cast(pl.Float64, strict=False)
    return None if numbers.null_count() or not numbers.is_finite().all() else numbers


def _bounds(numbers: pl.Series) -> tuple[float, float]:
    """Return round bounds: 0, or 1, 2 or 5 times a power of ten, beyond all but a few values."""
    # Privacy: beyond the value that so many rows reach, so that nobody alone moves a bound.
    least = float(numbers.sort()[LEAST_ROWS - 1])
    greatest = float(numbers.sort(descending=True)[LEAST_ROWS - 1])
    low = 0.0 if least >= 0 else -_rounded_up(-least)
    return low, max(_rounded_up(greatest), low + 1.0)


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if value < step * power)


def _positive(columns: Sequence[Guess], target: str) -> str:
    found = next((one for one in columns if one.name == target), None)
    if found is None:
        raise SettingInvalid(setting="--target", problem=f"no usable column is called {target}")
    if found.kind == "boolean":
        return "true"
    if found.rarer:
        return _quoted(found.rarer)
    raise SettingInvalid(setting="--target", problem=f"{target} has more than two values")


def _column_lines(one: Guess, *, target: bool) -> list[str]:
    lines = [
        "[[table.columns]]",
        f"name = {_quoted(one.name)}",
        f'kind = "{one.kind}"    # guessed: {one.why}',
    ]
    if target:
        lines.append('use = "target"')
    if one.bounds is not None:
        lines.append(f"bounds = [{one.bounds[0]:g}, {one.bounds[1]:g}]")
    if one.categories:
        lines.append(f"categories = [{', '.join(_quoted(value) for value in one.categories)}]")
    if one.nullable and not target:
        lines.append("nullable = true")
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{escaped}"'
