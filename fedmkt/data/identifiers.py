"""A node's customers and the identifiers by which other members may find them.

Guarantee: whom consent does not cover is left out before anything else is computed. What comes out
holds every customer once and, in each column, every identifier at most once; it depends on the
rows alone, not on their order, and follows the same rule at every member.
Not guaranteed: that an identifier is its customer's own, or still in use. Two members agree on an
identifier only as far as their versions of Unicode and of the telephone numbering plans do.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal

import phonenumbers
import polars as pl

from fedmkt.contract.collaboration import KeyColumn
from fedmkt.contract.schema import Name, TableSchema
from fedmkt.core.errors import IdentifiersBlank, TableEmpty
from fedmkt.data.sources import Columns, Source
from fedmkt.data.validation import ValidationReport, conform, merge_reports, validate

Identifiers = tuple[str | None, ...]  # one a key column, the most trusted first

_LOCAL = r"[^\s\x00-\x1f\x7f-\x9f@(),:;<>\[\]\\\".]+"
_LABEL = r"(?!-)[^\s\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x60\x7b-\x9f]{1,63}(?<!-)"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_LOCAL}(\.{_LOCAL})*@{_LABEL}(\.{_LABEL})+")
_LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3: a path of 256 with its brackets


def normalise(
    kind: Literal["email", "phone", "own"], text: str | None, region: str | None = None
) -> str | None:
    """Return an identifier in the one form all members compare, or None if it cannot be one.

    email: invisible format characters dropped, Unicode NFKC, case folded, outer blanks removed; one
    @, a local part of at most 64 characters without blanks, quotes or brackets, a domain of two
    labels or more. Nothing else is changed: dots and plus tags stay, googlemail.com is not
    gmail.com, an international domain and its xn-- form differ, and `mailto:` makes it invalid.
    phone: E.164, as +12015550123. `region` (ISO 3166) is for numbers without a leading +, which are
    read as national ones (so 4930... without it may be another German number). None if the
    numbering plan does not have it, or if it has an extension, which names a line behind a
    switchboard.
    own: as an e-mail, with the inner blanks removed too; anything that is left is valid.

    Source: Unicode 15, section 3.13, D146 (compatibility caseless match); ITU-T E.164.
    """
    if text is None:
        return None
    if kind == "phone":
        return _phone(text, region)
    if kind == "own":
        return _without_blanks(text) or None
    email = _folded(text)
    return email if len(email) <= _LONGEST_EMAIL and _EMAIL.fullmatch(email) else None


def _folded(text: str) -> str:
    """Return the text without differences of case, width and invisible characters."""
    if text.isascii():
        return text.casefold().strip()
    seen = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", seen).casefold())
    return unicodedata.normalize("NFKC", once.casefold()).strip()


def _without_blanks(text: str) -> str:
    # A removed blank can bring a letter and its accent together, which then fold anew.
    while (shorter := _folded("".join(text.split()))) != text:
        text = shorter
    return text


def _phone(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@dataclass(frozen=True, slots=True)
class Customers:
    """A node's customers in the order of their keys, (n,), and their identifiers.

    customer_keys: the table's own, as text. identifiers: one tuple of length n a key column, None
    where a customer has none; at least one of them is there for every customer.
    rows = opted_out + duplicates + unusable + n. opted_out: rows that consent does not cover.
    duplicates: rows or customers that stand under another one. unusable: customers without any
    identifier of their own. invalid and shared, one number a column: cells that hold no
    identifier, and identifiers that were blanked since several customers have them.
    """

    customer_keys: tuple[str, ...] = field(repr=False)
    identifiers: tuple[Identifiers, ...] = field(repr=False)
    rows: int
    opted_out: int
    duplicates: int
    unusable: int
    invalid: tuple[int, ...]
    shared: tuple[int, ...]


def distinct_customers(rows: Iterable[tuple[str, Identifiers]], *, columns: int) -> Customers:
    """Return every customer once. Args: rows: customer key and `columns` normalised identifiers.

    1. Rows with one customer key are one customer; the row whose identifiers sort first stays, a
       missing one being the last.
    2. A customer's leading identifier is the first that it has. Customers with the same one, in
       the same column, are one; the one whose customer key sorts first stays.
    3. An identifier that several of these customers still have in one column names nobody: it is
       blanked at all of them. Who has no identifier left is unusable.

    Guarantee: adding or removing one customer (all rows of one key) changes the set of identifiers
    of the first column by at most one, that of each other column by at most two, and all m columns
    together by at most max(m, 2 (m - 1)). A row added or removed counts as two customers, as it may
    turn one customer into another.
    Reason: in rule 2 a customer enters, or takes the place of one with the same leading identifier,
    which stays. Each further identifier that leaves or enters is in its column's set if nobody else
    has it, and gives back or blanks that of the only other one who does. Before the leading column
    both have nothing, and identifiers of the first column always lead, so none is ever blanked.
    """
    count, of_key = _one_a_key(rows)
    kept = {key: of_key[key] for key in _one_a_leading_identifier(of_key)}
    # Privacy: an identifier of two customers would show one of them under the other's name.
    holders = [Counter(one[place] for one in kept.values()) for place in range(columns)]
    own = {key: _unshared(found, holders) for key, found in kept.items()}
    left = {key: found for key, found in own.items() if _leading(found) is not None}
    blank = sum(_leading(found) is None for found in of_key.values())
    return Customers(
        customer_keys=tuple(left),
        identifiers=tuple(tuple(one[place] for one in left.values()) for place in range(columns)),
        rows=count,
        opted_out=0,
        duplicates=count - blank - len(kept),
        unusable=blank + len(kept) - len(left),
        invalid=(0,) * columns,
        shared=tuple(
            sum(value is not None and times > 1 for value, times in holder.items())
            for holder in holders
        ),
    )


def _one_a_key(rows: Iterable[tuple[str, Identifiers]]) -> tuple[int, dict[str, Identifiers]]:
    """Return the number of rows, and what stands under each customer key: rule 1."""
    count, of_key = 0, dict[str, Identifiers]()
    for key, found in rows:
        count += 1
        if key not in of_key or _rank(found) < _rank(of_key[key]):
            of_key[key] = found
    return count, of_key


def _one_a_leading_identifier(of_key: Mapping[str, Identifiers]) -> list[str]:
    """Return the keys of the customers that rule 2 keeps, in order."""
    leaders = dict[tuple[int, str], str]()
    for key in sorted(of_key):
        leading = _leading(of_key[key])
        if leading is not None:
            leaders.setdefault(leading, key)
    return sorted(leaders.values())


def _rank(found: Identifiers) -> list[tuple[bool, str]]:
    return [(value is None, value or "") for value in found]


def _leading(found: Identifiers) -> tuple[int, str] | None:
    """Return the place and value of the first identifier that is there."""
    return next(((place, value) for place, value in enumerate(found) if value is not None), None)


def _unshared(found: Identifiers, holders: Sequence[Counter[str | None]]) -> Identifiers:
    return tuple(
        value if holder[value] == 1 else None for value, holder in zip(found, holders, strict=True)
    )


@dataclass(slots=True)
class _Reading:
    """What is kept of the batches read so far."""

    customer: TableSchema  # nothing but the customer key
    columns: Sequence[KeyColumn]
    dataset: str
    reports: list[ValidationReport] = field(default_factory=list)
    found: list[tuple[str, Identifiers]] = field(default_factory=list, repr=False)
    rows: int = 0
    invalid: Counter[str] = field(default_factory=Counter)

    def add(self, batch: pl.DataFrame, covered: AbstractSet[str] | None) -> None:
        """Take the covered customers of one more batch. Raises: ColumnKindWrong."""
        self.reports.append(validate(batch, self.customer, self.dataset, self.rows + 1))
        self.rows += batch.height
        keys = conform(batch, self.customer).to_series()
        kept = keys.is_not_null()
        if covered is not None:
            # Privacy: nothing is computed from the identifiers of those consent does not cover.
            kept = pl.Series([key in covered for key in keys], dtype=pl.Boolean)
        batch, keys = batch.filter(kept), keys.filter(kept)
        cells = [self._normalised(batch.get_column(one.column), one) for one in self.columns]
        self.found.extend(zip(keys, zip(*cells, strict=True), strict=True))

    def _normalised(self, cells: pl.Series, column: KeyColumn) -> list[str | None]:
        # Refuses numbers with a fraction part, which tables with gaps hold: read as text, a
        # telephone number would gain a digit.
        only = TableSchema(customer_key=column.column, columns=())
        validate(cells.clear().to_frame(), only, self.dataset)
        written = cells.cast(pl.String).to_list()
        table = {text: normalise(column.kind, text, column.region) for text in set(written)}
        wrong = {text for text, good in table.items() if good is None and text and text.strip()}
        self.invalid[column.key] += sum(text in wrong for text in written)
        return [table[text] for text in written]


def read_customers(
    source: Source,
    *,
    customer_key: Name,
    columns: Sequence[KeyColumn],
    dataset: str,
    covered: AbstractSet[str] | None,
    batch_rows: int = 250_000,
) -> Customers:
    """Return the customers of a table with their identifiers, each once (`distinct_customers`).

    Args: columns: key columns in the job's order, the most trusted first. covered: the customer
    keys that consent covers (`ConsentTable.covered`); None where the contract asks for no consent.
    Consent is a customer key's: a person who is a customer twice may be covered once.

    Raises: the errors of sources, SchemaViolated (rows without a customer key), ColumnKindWrong,
    TableEmpty (no row, or none that consent covers), IdentifiersBlank.
    """
    assert columns
    names: Columns = dict.fromkeys((customer_key, *(one.column for one in columns)), "key")
    reading = _Reading(TableSchema(customer_key=customer_key, columns=()), columns, dataset)
    for batch in source.batches(names, batch_rows):
        reading.add(batch, covered)
    merge_reports(reading.reports).refuse_errors(dataset)
    if not reading.found:
        raise TableEmpty(dataset=dataset)
    customers = distinct_customers(reading.found, columns=len(columns))
    if not customers.customer_keys:
        raise IdentifiersBlank(dataset=dataset, columns=", ".join(one.column for one in columns))
    return replace(
        customers,
        rows=reading.rows,
        opted_out=reading.rows - len(reading.found),
        invalid=tuple(reading.invalid[one.key] for one in columns),
    )


def identifier_bytes(customers: Customers) -> list[list[bytes | None]]:
    """Return the identifiers as UTF-8, one list of length n a key column."""
    return [
        [None if value is None else value.encode() for value in column]
        for column in customers.identifiers
    ]
