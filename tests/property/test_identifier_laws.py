"""Laws of normal forms and of the one-customer-one-identifier rule, for any text and any table."""

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedmkt.data.identifiers import distinct_customers, normalise
from fedmkt.security.psi.linking import link
from fedmkt.security.psi.size_noise import overlap_sensitivity

kinds = st.sampled_from(["email", "own"])
words = st.text(min_size=1, max_size=8)
addresses = st.builds("{}@{}.com".format, words, words)


@given(kinds, st.one_of(st.text(max_size=12), addresses))
@settings(deadline=None, max_examples=200)
def test_a_normal_form_is_its_own_normal_form(kind, text):
    form = normalise(kind, text)
    assert form is None or normalise(kind, form) == form


@given(kinds, st.one_of(st.text(max_size=12), addresses))
@settings(deadline=None, max_examples=200)
def test_spelling_does_not_change_a_normal_form(kind, text):
    form = normalise(kind, text)
    for other in (
        f" \t{text}\n",
        unicodedata.normalize("NFD", text),
        unicodedata.normalize("NFC", text),
        text.casefold(),
    ):
        assert normalise(kind, other) == form


@given(st.integers(200, 999), st.integers(0, 10**7 - 1))
@settings(deadline=None, max_examples=100)
def test_a_number_has_one_form_or_none_in_all_spellings(area, line):
    digits = f"{area}{line:07}"
    forms = {
        normalise("phone", spelling, "US")
        for spelling in (
            digits,
            f"+1{digits}",
            f"({digits[:3]}) {digits[3:6]}-{digits[6:]}",
            f"1 {digits[:3]} {digits[3:]}",
        )
    }
    assert forms in ({None}, {f"+1{digits}"})


@st.composite
def tables(draw, columns: int):
    """Rows over few keys and few values, so that everything collides with everything."""
    value = st.one_of(st.none(), st.sampled_from("abcde"))
    row = st.tuples(st.sampled_from("12345678"), st.tuples(*[value] * columns))
    return draw(st.lists(row, max_size=14))


widths = st.integers(1, 4)
sized = widths.flatmap(lambda columns: st.tuples(st.just(columns), tables(columns)))


def sets(rows, columns):
    """Return each column's set of identifiers."""
    found = distinct_customers(rows, columns=columns).identifiers
    return [{value for value in column if value is not None} for column in found]


@given(sized)
@settings(deadline=None, max_examples=150)
def test_every_identifier_stands_once_and_every_customer_has_one(case):
    columns, rows = case
    found = distinct_customers(rows, columns=columns)
    assert list(found.customer_keys) == sorted(set(found.customer_keys))
    for column in found.identifiers:
        there = [value for value in column if value is not None]
        assert len(set(there)) == len(there)
    assert all(
        any(value is not None for value in one) for one in zip(*found.identifiers, strict=True)
    )
    kept = len(found.customer_keys)
    assert found.rows == len(rows) == found.opted_out + found.duplicates + found.unusable + kept


@given(sized)
@settings(deadline=None, max_examples=150)
def test_identifiers_are_their_customers_own(case):
    columns, rows = case
    found = distinct_customers(rows, columns=columns)
    for place, key in enumerate(found.customer_keys):
        kept = tuple(column[place] for column in found.identifiers)
        assert any(
            row == key
            and all(one in (None, value) for one, value in zip(kept, values, strict=True))
            for row, values in rows
        )


@given(sized, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_the_order_of_rows_decides_nothing(case, random):
    columns, rows = case
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert distinct_customers(rows, columns=columns) == distinct_customers(
        shuffled, columns=columns
    )


@given(sized)
@settings(deadline=None, max_examples=250)
def test_removing_a_customer_moves_the_sets_within_the_bound(case):
    columns, rows = case
    assume(rows)
    others = [row for row in rows if row[0] != rows[0][0]]
    moved = [
        len(one ^ other)
        for one, other in zip(sets(rows, columns), sets(others, columns), strict=True)
    ]
    assert moved[0] <= 1
    assert max(moved) <= 2
    assert sum(moved) <= max(columns, 2 * (columns - 1))


@given(sized)
@settings(deadline=None, max_examples=150)
def test_removing_a_row_moves_the_sets_as_two_customers_do(case):
    columns, rows = case
    assume(rows)
    pairs = zip(sets(rows, columns), sets(rows[1:], columns), strict=True)
    moved = [len(one ^ other) for one, other in pairs]
    assert moved[0] <= 2
    assert max(moved) <= 4


def test_the_bound_of_two_in_a_later_column_is_reached():
    # k0 takes k1's place under the address a: its own number enters, that of k1 leaves.
    one = [("k1", ("a", "p1"))]
    assert sets(one, 2) == [{"a"}, {"p1"}]
    assert sets([*one, ("k0", ("a", "p0"))], 2) == [{"a"}, {"p0"}]


def overlap_of(tables, columns):
    """How many customers tables share, by the rule that links them."""

    def tags(rows, member):
        found = distinct_customers(rows, columns=columns).identifiers
        count = len(found[0])
        data = b"".join(
            hashlib.sha256(
                (f"{place}/{value}" if value else f"{place}/{member}/{row}").encode()
            ).digest()
            for place, column in enumerate(found)
            for row, value in enumerate(column)
        )
        return np.frombuffer(data, np.uint8).reshape(columns, count, 32)

    return link({str(member): tags(rows, member) for member, rows in enumerate(tables)}).count


def size_of(rows, columns):
    return len(distinct_customers(rows, columns=columns).customer_keys)


noised = st.tuples(st.integers(1, 2), st.integers(2, 4)).flatmap(
    lambda case: st.tuples(
        st.just(case[0]), st.lists(tables(case[0]), min_size=2, max_size=case[1])
    )
)


@given(noised)
@settings(deadline=None, max_examples=250)
def test_a_customer_moves_noised_sizes_within_what_their_noise_is_scaled_to(case):
    columns, (rows, *others) = case
    assume(rows)
    fewer = [row for row in rows if row[0] != rows[0][0]]
    assert abs(size_of(rows, columns) - size_of(fewer, columns)) <= 1
    moved = overlap_of([rows, *others], columns) - overlap_of([fewer, *others], columns)
    assert abs(moved) <= overlap_sensitivity(columns=columns, members=1 + len(others))


def test_by_two_keys_a_customer_that_takes_anothers_place_ends_two_links():
    # k0 takes the place of k2 under the address a: k2's number leaves, and k0's blanks that of k1.
    rows = [("k1", (None, "p")), ("k2", ("a", "q"))]
    others = [("o1", (None, "p")), ("o2", (None, "q"))]
    assert overlap_of([rows, others], 2) == 2
    assert overlap_of([[*rows, ("k0", ("a", "p"))], others], 2) == 0
    assert overlap_sensitivity(columns=2, members=2) == 2


@pytest.mark.parametrize("members", range(3, 9))
def test_by_two_keys_one_link_in_the_first_column_ends_one_of_every_other_member(members):
    # At member j, row j has the address too: x links it there, and its number links no more.
    rows = [(f"r{row}", (None, f"p{row}")) for row in range(members)]
    others = [
        [(f"s{row}", ("a" if row == member else None, f"p{row}")) for row in range(members)]
        for member in range(1, members)
    ]
    assert overlap_of([rows, *others], 2) == members
    assert overlap_of([[*rows, ("x", ("a", "p0"))], *others], 2) == 1
    assert overlap_sensitivity(columns=2, members=members) == members - 1


def test_with_three_key_columns_one_customer_moves_a_size_by_two():
    """Why noised sizes take no more than two key columns."""
    # k0 takes the place of k9 (one leading identifier) and blanks what k1 and k2 alone have.
    rows = [("k9", ("a", None, None)), ("k1", (None, "p", None)), ("k2", (None, None, "q"))]
    assert len(distinct_customers(rows, columns=3).customer_keys) == 3
    more = [*rows, ("k0", ("a", "p", "q"))]
    assert len(distinct_customers(more, columns=3).customer_keys) == 1
