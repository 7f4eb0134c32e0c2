"""A member's list of blinded customers, as it travels from member to member.

Guarantee: whoever receives a list learns its number of rows and nothing else: rows stand in a
random order, dummy rows and blank keys are random points, and all of them are blinded alike.
A row is one customer in every key column.
Not guaranteed: which customers a list names, so a member can put in people it guesses; sizes and
caps on runs are what limits that.
Source: Meadows 1986; Huberman, Franklin, Hogg 1999 (matching by commuting blinding).
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import SetSizeWrong
from fedmkt.security.psi.group import (
    POINT_BYTES,
    BlindingKey,
    Points,
    blind,
    check_points,
    hash_to_points,
)

Tags = NDArray[np.uint8]  # (columns, rows, 32)
MOST_COLUMNS = 255
_BLANK_BYTES = 32
_CHUNK_ROWS = 1 << 16


def own_list(
    keys: Sequence[Sequence[bytes | None]],
    *,
    padded_rows: int,
    domain: bytes,
    key: BlindingKey,
    workers: int | None = None,
) -> tuple[Tags, NDArray[np.int64]]:
    """Return a member's own list, blinded by its key, and which customer stands where.

    Args: keys: one sequence for each key column, each with one normalised identifier a customer,
    or None where it is blank; no identifier twice in a column. padded_rows: rows of the list, the
    customers and above them dummies. domain: what the run's points are for; each column gets a
    domain of its own under it.
    Returns: tags (columns, padded_rows, 32) and order (padded_rows,): the customer's index in
    `keys` at each position, -1 for a dummy.
    Guarantee: the order is uniform among all orders, from the operating system's generator.
    """
    customers = len(keys[0])
    assert all(len(column) == customers for column in keys)
    assert padded_rows >= customers
    assert 1 <= len(keys) <= MOST_COLUMNS
    order = _random_order(padded_rows)
    order[order >= customers] = -1
    tags = np.empty((len(keys), padded_rows, POINT_BYTES), dtype=np.uint8)
    for number, column in enumerate(keys):
        # Security: the last byte is the column's number, so no two columns share a domain and a
        # telephone number never matches an equal customer number.
        points = _points_of(column, order, domain + bytes([number]), workers)
        tags[number] = blind(points, key, member="this member", workers=workers)
    return tags, order


def pass_on(tags: Tags, key: BlindingKey, *, member: str, workers: int | None = None) -> Tags:
    """Return the list of `member`, blinded by one more key, in the same order.

    Raises: PointInvalid for a point of small order.
    """
    blinded = np.empty_like(tags)
    for number, column in enumerate(tags):
        blinded[number] = blind(column, key, member=member, workers=workers)
    return blinded


def shuffled(tags: Tags) -> Tags:
    """Return the rows in a fresh random order, the same in all columns."""
    return tags[:, _random_order(tags.shape[1])]


def tags_to_bytes(tags: Tags) -> bytes:
    """Return the list as bytes, column after column."""
    return tags.tobytes()


def tags_from_bytes(data: bytes, *, columns: int, rows: int, member: str) -> Tags:
    """Return the list that `tags_to_bytes` wrote, shape (columns, rows, 32).

    Args: columns, rows: as agreed and signed beforehand; member: whose list it is.
    Raises: SetSizeWrong for another size; PointInvalid and SetReplayed as `check_points` does.
    """
    if len(data) != columns * rows * POINT_BYTES:
        # Security: a longer list than signed would be guesses that no cap has counted.
        raise SetSizeWrong(
            member=member, declared=columns * rows, found=f"{len(data) / POINT_BYTES:g}"
        )
    tags = np.frombuffer(data, dtype=np.uint8).reshape(columns, rows, POINT_BYTES)
    for column in tags:
        check_points(column, member=member)
    return tags


def _points_of(
    column: Sequence[bytes | None], order: NDArray[np.int64], domain: bytes, workers: int | None
) -> Points:
    """Return the points of one key column in the list's order, shape (rows, 32)."""
    points = np.empty((len(order), POINT_BYTES), dtype=np.uint8)
    for start in range(0, len(order), _CHUNK_ROWS):
        part = order[start : start + _CHUNK_ROWS].tolist()
        found = (column[index] if index >= 0 else None for index in part)
        # Security: blanks and dummies are hashed like the rest, from fresh randomness that no
        # identifier equals, so neither value nor time tells them from customers.
        values = [os.urandom(_BLANK_BYTES) if value is None else value for value in found]
        points[start : start + len(part)] = hash_to_points(values, domain=domain, workers=workers)
    return points


def _random_order(count: int) -> NDArray[np.int64]:
    """Return a permutation of `count`, shape (count,), uniform but for a tie: below count^2/2^129.

    Sorting by independent random keys of 128 bits makes every order equally likely.
    """
    keys = np.frombuffer(os.urandom(16 * count), dtype=np.uint64).reshape(2, count)
    return np.lexsort((keys[0], keys[1])).astype(np.int64, copy=False)
