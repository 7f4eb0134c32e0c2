"""Identifiers have one form, customers stand once, and no count or error shows whose they are."""

import itertools

import polars as pl
import pytest

from fedmkt.contract.collaboration import KeyColumn
from fedmkt.core.errors import (
    ColumnKindWrong,
    FedmktError,
    IdentifiersBlank,
    SchemaViolated,
    TableEmpty,
)
from fedmkt.data.identifiers import (
    distinct_customers,
    identifier_bytes,
    normalise,
    read_customers,
)
from fedmkt.data.sources import SourceSettings, open_source

EMAIL = KeyColumn(key="mail", column="email", kind="email")
PHONE = KeyColumn(key="tel", column="phone", kind="phone", region="US")
SECRET = "frieda.musterfrau@example.com"


class Frames:
    """A source that holds its batches."""

    name = "frames"

    def __init__(self, *frames: pl.DataFrame) -> None:
        self.frames = frames

    def batches(self, columns, batch_rows):
        for frame in self.frames:
            yield frame.select(list(columns))


def table(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"id": pl.String, "email": pl.String, "phone": pl.String}, orient="row"
    )


def read(*frames: pl.DataFrame, covered=None, columns=(EMAIL, PHONE)):
    return read_customers(
        Frames(*frames), customer_key="id", columns=columns, dataset="shop", covered=covered
    )


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com",
        " ADA@Example.COM\t",
        "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ",  # full width
        "a\u00adda\u200b@example.com\ufeff",  # a soft hyphen, a zero width space, a byte order mark
    ],
)
def test_spellings_of_an_address_have_one_form(text):
    assert normalise("email", text) == "ada@example.com"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.da@example.com", "ada@example.com"),
        ("ada+news@example.com", "ada@example.com"),
        ("ada@googlemail.com", "ada@gmail.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_undeclared_rules_are_not_applied_to_addresses(one, other):
    assert normalise("email", one) == one
    assert normalise("email", other) == other


def test_composed_and_decomposed_letters_are_one_address():
    assert normalise("email", "Zoe\u0301@example.com") == normalise("email", "zo\u00e9@EXAMPLE.com")
    assert normalise("email", "GROSS@example.com") == normalise("email", "groß@example.com")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "ada", "ada@", "@example.com", "ada@example", "ada@@example.com"),
        *("a@b@example.com", "ad a@example.com", "ada@exam ple.com", "mailto:ada@example.com"),
        *(".ada@example.com", "ada.@example.com", "a..da@example.com", "ada@example..com"),
        *("ada@-example.com", "ada@example-.com", "ada@example.com.", "ada@exa_mple.com"),
        *('"ada"@example.com', "<ada@example.com>", "ada@example.com, ben@example.com"),
        *("ada\x00@example.com", "a" * 65 + "@example.com", "ada@" + "a" * 64 + ".com"),
        "a@" + "a.b" * 90 + ".com",
    ],
)
def test_what_cannot_be_an_address_is_none(text):
    assert normalise("email", text) is None


def test_longest_local_part_and_label_are_addresses():
    # RFC 5321, 4.5.3.1.1: a local part of 64; RFC 1035, 2.3.4: a label of 63.
    text = "a" * 64 + "@" + "b" * 63 + ".com"
    assert normalise("email", text) == text


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("+12015550123", None),
        ("+1 201 555 0123", "DE"),
        ("(201) 555-0123", "US"),
        ("1-201-555-0123", "US"),
        ("2015550123", "US"),
        ("tel:+1-201-555-0123", None),
        ("＋１ ２０１ ５５５ ０１２３", None),
    ],
)
def test_spellings_of_a_number_have_one_form(text, region):
    assert normalise("phone", text, region) == "+12015550123"


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("(201) 555-0123", None),  # of which country?
        ("555-0123", "US"),  # no area code
        ("+1 201 555 01234", "US"),
        ("+1 111 555 0123", "US"),  # no such area
        ("+1 201 555 0123 ext. 7", "US"),
        ("unknown", "US"),
        ("", "US"),
        ("9" * 300, "US"),
    ],
)
def test_what_cannot_be_a_customers_number_is_none(text, region):
    assert normalise("phone", text, region) is None


def test_own_identifiers_lose_blanks_and_case():
    assert normalise("own", " Card 12\u00a034\u200b ab ") == "card1234ab"
    assert normalise("own", "CARD1234AB") == "card1234ab"
    assert normalise("own", " \t\u3000") is None


@pytest.mark.parametrize("kind", ["email", "phone", "own"])
def test_a_missing_identifier_stays_missing(kind):
    assert normalise(kind, None, "US") is None


def distinct(*rows):
    found = distinct_customers([(key, tuple(values)) for key, *values in rows], columns=2)
    people = dict(zip(found.customer_keys, zip(*found.identifiers, strict=True), strict=True))
    return people, found


def test_rows_of_one_customer_count_once_and_the_first_identifiers_stay():
    rows = [("c", None, "p1"), ("c", "b@x.de", None), ("c", "a@x.de", None), ("c", "a@x.de", "p2")]
    for order in itertools.permutations(rows):
        people, found = distinct(*order)
        # a@x.de sorts before b@x.de, a number before none, and a missing address last.
        assert people == {"c": ("a@x.de", "p2")}
        assert found.duplicates == 3


def test_customers_with_one_leading_identifier_count_once_and_the_first_key_stays():
    people, found = distinct(("k2", "a@x.de", "p2"), ("k1", "a@x.de", "p1"), ("k3", None, "p3"))
    assert people == {"k1": ("a@x.de", "p1"), "k3": (None, "p3")}
    assert (found.duplicates, found.unusable, found.shared) == (1, 0, (0, 0))


def test_an_identifier_of_two_customers_names_nobody():
    household = [("k1", "a@x.de", "p1"), ("k2", "b@x.de", "p1"), ("k3", None, "p1")]
    people, found = distinct(*household)
    assert people == {"k1": ("a@x.de", None), "k2": ("b@x.de", None)}
    assert (found.duplicates, found.unusable, found.shared) == (0, 1, (0, 1))


def test_an_identifier_of_a_customer_that_is_not_kept_is_nobodys_but_the_others():
    people, _ = distinct(("k1", "a@x.de", "p1"), ("k2", "a@x.de", "p2"), ("k3", "b@x.de", "p2"))
    assert people == {"k1": ("a@x.de", "p1"), "k3": ("b@x.de", "p2")}


def test_the_same_text_in_two_columns_is_not_one_identifier():
    people, _ = distinct(("k1", "x", None), ("k2", None, "x"))
    assert people == {"k1": ("x", None), "k2": (None, "x")}


def test_every_row_is_accounted_for():
    found = read(
        table(
            ("k1", SECRET, "(201) 555-0123"),
            (" k1 ", SECRET, None),  # the same customer
            ("k2", SECRET.upper(), None),  # the same person
            ("k3", "nobody", "12"),  # two cells that hold no identifier
            ("k4", " ", None),
        ),
        table(("k5", "ada@example.com", "2015550123"), ("k6", "eve@example.com", None)),
        covered={"k1", "k2", "k3", "k4", "k5"},
    )
    assert found.customer_keys == ("k1", "k5")
    assert found.identifiers == ((SECRET, "ada@example.com"), (None, None))
    assert (found.rows, found.opted_out, found.duplicates, found.unusable) == (7, 1, 2, 2)
    assert found.invalid == (1, 1)
    assert found.shared == (0, 1)
    assert found.rows == found.opted_out + found.duplicates + found.unusable + 2


def test_customers_without_consent_blank_no_identifier_and_replace_nobody():
    frame = table(
        ("k1", SECRET, "2015550123"), ("k2", "a@x.de", "2015550123"), ("k0", SECRET, None)
    )
    found = read(frame, covered={"k1"})
    assert found.customer_keys == ("k1",)
    assert found.identifiers == ((SECRET,), ("+12015550123",))
    # Without consent in the way, k0 would stand for k1's person, and the number would be shared.
    assert read(frame).customer_keys == ("k0", "k2")


def test_nothing_of_a_customer_without_consent_is_normalised(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fedmkt.data.identifiers.normalise", lambda kind, text, region: seen.append(text) or text
    )
    read(table(("k1", "mine", None), ("k2", "not yours", None)), covered={"k1"}, columns=(EMAIL,))
    assert seen == ["mine"]


def test_columns_come_in_the_jobs_order():
    found = read(table(("k1", "a@x.de", "2015550123")), columns=(PHONE, EMAIL))
    assert found.identifiers == (("+12015550123",), ("a@x.de",))


def test_numbers_and_keys_stored_as_integers_are_read(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"id": [7, 8], "phone": [2015550123, None]}).write_parquet(path)
    found = read_customers(
        open_source(SourceSettings(kind="parquet", path=path)),
        customer_key="id",
        columns=(PHONE,),
        dataset="shop",
        covered={"7", "8"},
    )
    assert (found.customer_keys, found.identifiers) == (("7",), (("+12015550123",),))


def test_the_customer_key_may_be_an_identifier_itself(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,phone\nCard 7,\ncard 8,\n", encoding="utf-8")
    own = KeyColumn(key="card", column="id", kind="own")
    found = read_customers(
        open_source(SourceSettings(kind="csv", path=path)),
        customer_key="id",
        columns=(own,),
        dataset="shop",
        covered=None,
    )
    assert found.customer_keys == ("Card 7", "card 8")
    assert identifier_bytes(found) == [[b"card7", b"card8"]]


def test_identifiers_are_utf_8_bytes_and_gaps_stay_gaps():
    found = read(table(("k1", "zoë@example.com", None), ("k2", None, "2015550123")))
    assert identifier_bytes(found) == [
        ["zoë@example.com".encode(), None],
        [None, b"+12015550123"],
    ]


def refusal(kind: type[FedmktError], *frames: pl.DataFrame, **terms) -> str:
    with pytest.raises(kind) as caught:
        read(*frames, **terms)
    assert SECRET not in repr(caught.value) + str(caught.value.fields)
    return str(caught.value)


def test_a_table_without_rows_is_refused():
    refusal(TableEmpty)
    refusal(TableEmpty, table())


def test_a_table_without_a_covered_customer_is_refused():
    refusal(TableEmpty, table(("k1", SECRET, None)), covered=frozenset())


def test_a_table_without_a_usable_identifier_is_refused():
    frame = table(("k1", SECRET + "@", None), ("k2", None, " "))
    assert "columns email, phone." in refusal(IdentifiersBlank, frame)


def test_rows_without_a_customer_key_are_refused_by_number():
    frames = table(("k1", SECRET, None)), table((" ", SECRET, None), (None, SECRET, None))
    assert "id: missing key, 2 rows (row 2, 3)" in refusal(SchemaViolated, *frames, covered={"k1"})


def test_an_identifier_column_of_fractions_is_refused():
    frame = table(("k1", None, None)).with_columns(phone=pl.lit(2015550123.0))
    assert "phone of dataset shop is declared key but holds Float64" in (
        refusal(ColumnKindWrong, frame)
    )


def test_customers_never_print():
    shown = repr(read(table(("k4711", SECRET, "2015550123"))))
    assert "rows=1" in shown
    assert not any(secret in shown for secret in ("k4711", SECRET, "2015550123"))
