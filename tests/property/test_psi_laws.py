"""Rules of blinding, lists and linking that hold for all inputs."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.security.psi.group import BlindingKey, blind, hash_to_points
from fedmkt.security.psi.linking import find_positions, link, links_from_bytes, links_to_bytes
from fedmkt.security.psi.lists import own_list, pass_on, shuffled, tags_from_bytes, tags_to_bytes

quick = settings(deadline=None, max_examples=60)
few = settings(deadline=None, max_examples=15)
keys_of = st.binary(min_size=32, max_size=32).map(BlindingKey.from_bytes)


@st.composite
def worlds(draw):
    """2 to 4 members, 1 to 3 key columns, rows that name people or are blank in each column.

    A member's table: one tuple of words (or None) a customer; no word twice in a column.
    """
    width = draw(st.integers(1, 3))
    tables = []
    for _ in range(draw(st.integers(2, 4))):
        rows = draw(st.integers(0, 8))
        columns = []
        for _ in range(width):
            words = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows, unique=True))
            blank = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
            columns.append([None if gone else n for n, gone in zip(words, blank, strict=True)])
        tables.append(list(zip(*columns, strict=True)))
    return width, tables


def linked_by_dictionaries(width, tables):
    """The rule as plain Python: the set of (column, word, one row of each member)."""
    free = [set(range(len(table))) for table in tables]
    links = set()
    for column in range(width):
        where = [
            {table[row][column]: row for row in rows if table[row][column] is not None}
            for table, rows in zip(tables, free, strict=True)
        ]
        for word in set.intersection(*(set(each) for each in where)):
            links.add((column, word, tuple(each[word] for each in where)))
        for rows, each in zip(free, where, strict=True):
            rows.difference_update(each[word] for c, word, _ in links if c == column)
    return links


def tag(column, word, member, row):
    """The tag of a word; a blank's belongs to its member and row alone."""
    name = f"{column}/{word}" if word is not None else f"{column}/blank/{member}/{row}"
    return hashlib.sha256(name.encode()).digest()


def tags_of(width, table, member, order):
    data = b"".join(tag(c, table[row][c], member, row) for c in range(width) for row in order)
    return np.frombuffer(data, np.uint8).reshape(width, len(table), 32)


@quick
@given(worlds(), st.randoms(use_true_random=False))
def test_linking_is_what_dictionaries_say_in_any_order_of_rows_and_members(world, random):
    width, tables = world
    orders = [random.sample(range(len(table)), len(table)) for table in tables]
    lists = [
        (f"m{i}", tags_of(width, table, i, order))
        for i, (table, order) in enumerate(zip(tables, orders, strict=True))
    ]
    random.shuffle(lists)
    links = link(dict(lists))
    own = dict(lists)
    rows = [
        [orders[i][place] for place in find_positions(own[f"m{i}"], links, alignment="one")]
        for i in range(len(tables))
    ]
    found = zip(links.columns.tolist(), zip(*rows, strict=True), strict=True)
    assert set(found) == {(column, at) for column, _, at in linked_by_dictionaries(width, tables)}
    assert links.count == len(linked_by_dictionaries(width, tables))


@quick
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_links_is_the_same_at_all_members_whatever_their_rows(world, random):
    width, tables = world
    orders = [random.sample(range(len(table)), len(table)) for table in tables]
    plain = {f"m{i}": tags_of(width, t, i, range(len(t))) for i, t in enumerate(tables)}
    links = link(plain)
    sent = links_from_bytes(links_to_bytes(links), alignment="one")
    words = []
    for i, (table, order) in enumerate(zip(tables, orders, strict=True)):
        found = find_positions(tags_of(width, table, i, order), sent, alignment="one")
        places = zip(found.tolist(), sent.columns.tolist(), strict=True)
        words.append([table[order[place]][column] for place, column in places])
    assert all(each == words[0] for each in words)
    assert None not in words[0]


@few
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), keys_of, keys_of, keys_of)
def test_blinding_gives_the_same_tag_in_every_order_of_keys(values, one, two, three):
    points = hash_to_points(values, domain=b"d")
    chains = [(one, two, three), (three, one, two), (two, three, one)]
    tags = []
    for chain in chains:
        blinded = points
        for key in chain:
            blinded = blind(blinded, key, member="a")
        tags.append(blinded.tobytes())
    assert len(set(tags)) == 1


@few
@given(worlds(), st.integers(0, 5))
def test_the_whole_protocol_links_what_dictionaries_say(world, padding):
    width, tables = world
    tables = [table or [(None,) * width] for table in tables]
    keys = [BlindingKey.generate() for _ in tables]
    full, orders = {}, []
    for i, table in enumerate(tables):
        columns = [
            [None if row[c] is None else str(row[c]).encode() for row in table]
            for c in range(width)
        ]
        rows = len(table) + padding
        tags, order = own_list(columns, padded_rows=rows, domain=b"run", key=keys[i])
        for j, key in enumerate(keys):
            if j != i:
                data = tags_to_bytes(tags)
                tags = pass_on(
                    tags_from_bytes(data, columns=width, rows=rows, member="a"), key, member="a"
                )
        full[f"m{i}"] = tags
        orders.append(order)
    links = link(full)
    rows = [
        orders[i][find_positions(full[f"m{i}"], links, alignment="one")].tolist()
        for i in range(len(tables))
    ]
    found = set(zip(links.columns.tolist(), zip(*rows, strict=True), strict=True))
    assert found == {(column, at) for column, _, at in linked_by_dictionaries(width, tables)}


@quick
@given(st.integers(0, 20), st.integers(1, 3))
def test_shuffling_moves_whole_rows_and_loses_none(rows, width):
    tags = np.zeros((width, rows, 32), np.uint8)
    tags[:, :, 0], tags[:, :, 1] = np.arange(rows), np.arange(width)[:, None]
    moved = shuffled(tags)
    assert sorted(moved[0, :, 0].tolist()) == list(range(rows))
    for column in range(width):
        np.testing.assert_array_equal(moved[column, :, 0], moved[0, :, 0])
        assert (moved[column, :, 1] == column).all()
