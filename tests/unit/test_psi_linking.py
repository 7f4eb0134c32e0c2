"""The rule of linking on lists small enough to read, and what finding one's rows refuses."""

import hashlib
import secrets

import numpy as np
import pytest

from fedmkt.core.errors import AlignmentMismatch, SetReplayed
from fedmkt.security.psi.linking import (
    Links,
    digest_of,
    find_positions,
    link,
    links_from_bytes,
    links_to_bytes,
)


def tags_of(*columns):
    """A list whose tags are made of words: one string a column, one word a row."""
    tags = [hashlib.sha256(word.encode()).digest() for row in columns for word in row.split()]
    return np.frombuffer(b"".join(tags), np.uint8).reshape(len(columns), -1, 32)


def linked_rows(lists):
    """The links as a set of (key column, the row that each member finds, in order of names)."""
    links = link(lists)
    found = [find_positions(lists[name], links, alignment="one") for name in sorted(lists)]
    rows = zip(*(own.tolist() for own in found), strict=True)
    return set(zip(links.columns.tolist(), rows, strict=True))


def test_only_customers_of_every_member_are_linked():
    lists = {"a": tags_of("x y z"), "b": tags_of("z x v"), "c": tags_of("x w z")}
    assert linked_rows(lists) == {(0, (0, 1, 0)), (0, (2, 0, 2))}


def test_a_less_trusted_column_links_what_is_left():
    # Row 0 of both by e-mail; row 1 of both by telephone, though their e-mails differ.
    lists = {"a": tags_of("mail a1", "tel1 tel2"), "b": tags_of("mail b1", "other tel2")}
    assert linked_rows(lists) == {(0, (0, 0)), (1, (1, 1))}


def test_a_less_trusted_column_does_not_undo_a_link():
    # The telephone says that a's row 0 is b's row 1, the e-mail that it is b's row 0.
    lists = {"a": tags_of("mail a1", "tel a2"), "b": tags_of("mail b1", "b2 tel")}
    assert linked_rows(lists) == {(0, (0, 0))}


def test_links_stand_in_the_order_of_column_and_tag():
    lists = {"a": tags_of("q r s x", "1 2 3 t"), "b": tags_of("s y q r", "4 t 5 6")}
    links = link(lists)
    keys = [(column, tag.tobytes()) for column, tag in zip(links.columns, links.tags, strict=True)]
    assert [column for column, _ in keys] == [0, 0, 0, 1]
    assert keys == sorted(keys)


def test_no_common_customer_gives_no_links():
    links = link({"a": tags_of("x"), "b": tags_of("y")})
    assert links.count == 0
    assert find_positions(tags_of("x"), links, alignment="one").size == 0
    assert links_from_bytes(links_to_bytes(links), alignment="one").count == 0


def test_a_tag_that_stands_twice_in_a_column_is_refused():
    with pytest.raises(SetReplayed) as caught:
        link({"a": tags_of("x y"), "b": tags_of("z z")})
    assert caught.value.fields["member"] == "b"


def test_tags_that_differ_in_trailing_zero_bytes_only_are_two():
    tags = np.zeros((1, 2, 32), np.uint8)
    tags[0, 0, :2] = 7
    tags[0, 1, 0] = 7
    assert linked_rows({"a": tags, "b": tags[:, ::-1].copy()}) == {(0, (0, 1)), (0, (1, 0))}


# --- finding one's own rows ---------------------------------------------------------------------


def test_a_member_finds_its_rows_from_its_own_list_alone():
    lists = {"a": tags_of("q r s x", "1 2 3 t"), "b": tags_of("s y q r", "4 t 5 6")}
    by_mail = {(0, (0, 2)), (0, (1, 3)), (0, (2, 0))}  # q, r and s, each at its row of a and b
    assert linked_rows(lists) == by_mail | {(1, (3, 1))}  # and t by the second column


def one_link(word, column=0):
    return Links(columns=np.array([column], np.uint8), tags=tags_of(word)[0])


@pytest.mark.parametrize("column", [0, 1, 2], ids=["unknown tag", "wrong column", "no column"])
def test_a_link_that_is_not_in_the_own_list_is_refused(column):
    words = {0: "z", 1: "x", 2: "x"}
    with pytest.raises(AlignmentMismatch):
        find_positions(tags_of("x y", "1 2"), one_link(words[column], column), alignment="one")


def test_a_link_past_the_last_tag_is_refused():
    link_ = Links(columns=np.zeros(1, np.uint8), tags=np.full((1, 32), 255, np.uint8))
    with pytest.raises(AlignmentMismatch):
        find_positions(tags_of("x y"), link_, alignment="one")


def test_two_links_that_name_one_customer_are_refused():
    first, second = one_link("x"), one_link("1", column=1)
    both = Links(
        columns=np.concatenate([first.columns, second.columns]),
        tags=np.concatenate([first.tags, second.tags]),
    )
    with pytest.raises(AlignmentMismatch, match="one customer"):
        find_positions(tags_of("x y", "1 2"), both, alignment="one")


# --- links as bytes, and their digest -----------------------------------------------------------


def three_links():
    both = tags_of("x y z", "1 2 3")
    other = tags_of("x y v", "4 5 3")
    return link({"a": both, "b": other})


def test_links_survive_bytes():
    links = three_links()
    again = links_from_bytes(links_to_bytes(links), alignment="one")
    np.testing.assert_array_equal(again.columns, links.columns)
    np.testing.assert_array_equal(again.tags, links.tags)


@pytest.mark.parametrize("rows", [[1, 0, 2], [2, 0, 1], [0, 0, 2], [0, 2, 2]])
def test_links_out_of_order_or_repeated_are_refused(rows):
    links = three_links()
    forged = Links(columns=links.columns[rows], tags=links.tags[rows])
    with pytest.raises(AlignmentMismatch):
        links_from_bytes(links_to_bytes(forged), alignment="one")


def test_links_cut_off_are_refused():
    with pytest.raises(AlignmentMismatch):
        links_from_bytes(links_to_bytes(three_links())[:-1], alignment="one")


def test_digest_changes_with_each_tag_each_column_and_the_name():
    links = three_links()
    tags, columns = links.tags.copy(), links.columns.copy()
    tags[2, 31] ^= 1
    columns[2] ^= 2
    digests = {
        digest_of(links, alignment="one"),
        digest_of(links, alignment="two"),
        digest_of(Links(columns=links.columns, tags=tags), alignment="one"),
        digest_of(Links(columns=columns, tags=links.tags), alignment="one"),
        digest_of(Links(columns=links.columns[:2], tags=links.tags[:2]), alignment="one"),
    }
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_links_print_without_their_tags():
    tag = secrets.token_bytes(32)
    links = Links(columns=np.zeros(1, np.uint8), tags=np.frombuffer(tag, np.uint8).reshape(1, 32))
    assert repr(links) == "Links(1 customers, tags hidden)"
