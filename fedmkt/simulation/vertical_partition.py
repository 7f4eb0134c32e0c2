"""The vertical demonstration's parties: Adult split by columns, with made identifiers and consent.

A bank knows incomes, a retailer households, a map provider work, and a weather service nothing that
helps. Names, addresses, numbers, customer keys, consent, the weather service's columns and who is
whose customer are all made, hence synthetic: e-mail addresses lie in domains reserved for examples
(RFC 2606), telephone numbers among the 555-0100 to 555-0199 that North America keeps for fiction.
Race and sex are left out altogether.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import phonenumbers
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.collaboration import KeyColumn
from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import SettingInvalid
from fedmkt.data import bundled

PURPOSE = "prospecting"
KEYS = (
    KeyColumn(key="email", column="email", kind="email"),
    KeyColumn(key="phone", column="phone", kind="phone", region="US"),
)
SEASONS = ("spring", "summer", "autumn", "winter")
_WEATHER = (
    Column(name="favourite_season", kind="category", categories=SEASONS),
    Column(name="umbrella_count", kind="integer", bounds=(0, 9)),
    Column(name="sunny_days", kind="number", unit="days a year", bounds=(0, 366)),
)
_FIRST = (
    "ada",
    "ben",
    "chloe",
    "dan",
    "eve",
    "finn",
    "grace",
    "hugo",
    "iris",
    "jack",
    "kim",
    "leo",
)
_LAST = ("adams", "brown", "clark", "davis", "evans", "fox", "green", "hill", "irving", "jones")
_DOMAINS = ("example.com", "example.org", "example.net")
_WITHDRAWN, _NO_ENTRY = 0.03, 0.01
_TWICE = 0.015  # of a party's customers are its customers under two keys
_EMAIL_UNKNOWN, _PHONE_UNKNOWN = 0.08, 0.06


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a party is: its customer key, its Adult columns, and which share of people it serves."""

    customer_key: str
    key_form: str
    columns: tuple[str, ...]
    share: float


_PROFILES = {
    "bank": _Profile(
        "account",
        "B-{:07}",
        ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass", "income"),
        0.92,
    ),
    "retailer": _Profile("loyalty_card", "{:08}", ("marital_status", "relationship"), 0.88),
    "map_provider": _Profile(
        "user", "maps/{}", ("education", "occupation", "native_country"), 0.90
    ),
    "weather_service": _Profile("subscriber", "w{:06}", (), 0.95),
}
PARTIES = tuple(_PROFILES)


@dataclass(frozen=True, slots=True, eq=False)
class PartyData:
    """What one party holds. table: customer key, email, phone, declared columns; rows as they come.

    consent: key, purpose, status, time. people: (rows,), the person behind each row of the table, a
    row number of Adult. No party holds it; it is there for tests alone.
    """

    table: pl.DataFrame = field(repr=False)
    schema: TableSchema
    consent: pl.DataFrame = field(repr=False)
    keys: tuple[KeyColumn, ...]
    people: NDArray[np.int64] = field(repr=False)


def make_parties(frame: pl.DataFrame, *, seed: int) -> dict[str, PartyData]:
    """Return the four parties over Adult's people, the bank as label owner first.

    Args: frame: Adult, one row a person, at most as many as there are numbers for fiction (some
    35,000). The same seed gives the same parties, under the same version of the numbering plan.

    Raises: SettingInvalid (more people than that).
    """
    shared, *own = np.random.default_rng(seed).spawn(1 + len(PARTIES))
    contacts = _contacts(frame.height, shared)
    return {
        name: _party(frame, contacts, profile, rng)
        for (name, profile), rng in zip(_PROFILES.items(), own, strict=True)
    }


def true_overlap(parties: Mapping[str, PartyData]) -> frozenset[int]:
    """Return the people whom all parties can find, as row numbers of Adult.

    That is: everybody who is a customer of each under consent, and whose e-mail address all of
    them know, or whose telephone number all of them know. Read from the truth, by no protocol.
    """
    found = set[int]()
    for key in KEYS:
        known = [_known(party, key.column) for party in parties.values()]
        found |= set.intersection(*known)
    return frozenset(found)


def _known(party: PartyData, column: str) -> set[int]:
    """Return the people under consent whose identifier a party has."""
    withdrawn = party.consent.filter(pl.col("status") == "withdrawn")["key"]
    granted = party.consent.filter(~pl.col("key").is_in(withdrawn.implode()))["key"]
    keys = party.table.get_column(party.schema.customer_key)
    held = keys.is_in(granted.implode()) & party.table.get_column(column).is_not_null()
    return set(party.people[held.to_numpy()].tolist())


@cache
def _area_codes() -> tuple[int, ...]:
    """Return the area codes of places in the United States; other codes bill or serve."""

    def in_a_place(code: int) -> bool:
        number = phonenumbers.PhoneNumber(1, code * 10**7 + 555_0100)
        ordinary = phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE
        return (
            phonenumbers.number_type(number) == ordinary
            and phonenumbers.region_code_for_number(number) == "US"
        )

    return tuple(code for code in range(200, 1000) if in_a_place(code))


def _contacts(people: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return everybody's e-mail address and number (ten digits), each different from all others."""
    numbers = 100 * len(_area_codes())
    if people > numbers:
        raise SettingInvalid(
            setting="the people of the simulation",
            problem=f"there are {numbers:,} telephone numbers for fiction, not {people:,}",
        )
    picked = rng.permutation(numbers)[:people]
    areas = np.array(_area_codes(), dtype=np.int64)[picked // 100]
    words = {
        name: pl.Series(values).gather(rng.integers(0, len(values), people))
        for name, values in (("first", _FIRST), ("last", _LAST), ("domain", _DOMAINS))
    }
    return pl.DataFrame(words | {"number": rng.permutation(people)}).select(
        email=pl.format("{}.{}{}@{}", "first", "last", "number", "domain"),
        phone=pl.Series(areas * 10**7 + 555_0100 + picked % 100).cast(pl.String),
    )


def _party(
    frame: pl.DataFrame, contacts: pl.DataFrame, profile: _Profile, rng: np.random.Generator
) -> PartyData:
    """Draw whom a party serves and what it knows of them."""
    total = frame.height
    served = np.flatnonzero(rng.random(total) < profile.share)
    twice = served[rng.random(served.size) < _TWICE]
    people = rng.permutation(np.concatenate([served, twice]))
    known = contacts.with_columns(
        email=pl.when(pl.Series(rng.random(total) >= _EMAIL_UNKNOWN)).then("email"),
        phone=pl.when(pl.Series(rng.random(total) >= _PHONE_UNKNOWN)).then("phone"),
    )[people]
    keys = pl.Series(
        profile.customer_key, [profile.key_form.format(n + 1) for n in range(people.size)]
    )
    columns = (
        frame.select(profile.columns)[people] if profile.columns else _weather(people.size, rng)
    )
    table = pl.DataFrame([keys]).hstack(_spelled(known, rng)).hstack(columns)
    return PartyData(table, _schema(profile), _consent(keys, people, total, rng), KEYS, people)


def _weather(rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return the weather service's columns, drawn with regard to nobody."""
    return pl.DataFrame(
        {
            "favourite_season": pl.Series(SEASONS).gather(rng.integers(0, len(SEASONS), rows)),
            "umbrella_count": rng.integers(0, 10, rows),
            "sunny_days": rng.uniform(0, 366, rows).round(1),
        }
    )


def _schema(profile: _Profile) -> TableSchema:
    """Return a party's schema: Adult's declared columns where they are Adult's."""
    adult = bundled.schema("adult")
    columns = tuple(adult.column(name) for name in profile.columns) or _WEATHER
    owner = any(column.use == "target" for column in columns)
    return TableSchema(
        customer_key=profile.customer_key,
        columns=columns,
        target_positive=adult.target_positive if owner else None,
    )


def _spelled(known: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Return addresses and numbers as different people type them."""
    email, phone = pl.col("email"), pl.col("phone")
    area, line = phone.str.head(3), phone.str.tail(4)
    emails = (email, email.str.to_uppercase(), email.str.to_titlecase(), pl.format(" {} ", email))
    phones = (
        phone,
        pl.format("+1{}", phone),
        pl.format("+1 {} 555 {}", area, line),
        pl.format("({}) 555-{}", area, line),
        pl.format("1-{}-555-{}", area, line),
    )
    return known.select(
        email=_any_of(emails, known.height, rng), phone=_any_of(phones, known.height, rng)
    )


def _any_of(ways: tuple[pl.Expr, ...], rows: int, rng: np.random.Generator) -> pl.Expr:
    """Return one of `ways` a row, drawn evenly."""
    drawn = pl.Series(rng.integers(0, len(ways), rows))
    return pl.coalesce(pl.when(drawn == place).then(way) for place, way in enumerate(ways))


def _consent(
    keys: pl.Series, people: NDArray[np.int64], total: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Return a party's consent entries; a person decides alike under all of its keys."""
    drawn = rng.random(total)[people]
    entries = pl.DataFrame({"key": keys, "drawn": drawn}).filter(pl.col("drawn") >= _NO_ENTRY)
    withdrawn = entries.filter(pl.col("drawn") < _NO_ENTRY + _WITHDRAWN)

    def stated(rows: pl.DataFrame, status: str, year: str) -> pl.DataFrame:
        days = pl.Series(rng.integers(1, 29, rows.height)).cast(pl.String).str.zfill(2)
        return rows.select(
            "key",
            purpose=pl.lit(PURPOSE),
            status=pl.lit(status),
            time=pl.format("{}-03-{}T09:00:00Z", pl.lit(year), days),
        )

    both = pl.concat([stated(entries, "granted", "2024"), stated(withdrawn, "withdrawn", "2025")])
    return both[rng.permutation(both.height)]
