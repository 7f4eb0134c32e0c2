"""The small whole number v that a point v G stands for: a table, and giant steps outward from 0.

Guarantee: a number returned is within its limit and was checked by computing its multiple afresh.
A number within its limit is found, unless eight bytes of another point's coordinate stand in the
table too and come first: below 2^-47 for each point looked at.
Not guaranteed: equal time. The search goes outward from 0 in steps of twice the table's reach, so
its time tells roughly how large the largest numbers are. It is local to the partner, which learns
the numbers anyway. Others see only when its next answer comes, in which the same numbers are used;
processes on the same machine may see more.
Source: Shanks 1971, "Class number, a theory of factorization, and genera" (baby steps and giant
steps); the table holds both signs, since v G and -v G have one x-coordinate.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import RangeExceeded
from fedmkt.core.stages import IntArray
from fedmkt.security.inner_product.points import (
    UNSHIFT,
    G,
    Mask,
    Points,
    add,
    multiply_base,
    progression,
    scalar_of,
    shifted,
    to_wire,
)

REACH = 2**16
LARGEST_LIMIT = 2**36
_MOST_PROBES = 2**15


@dataclass(frozen=True, slots=True)
class _Table:
    """The multiples j G, 0 < j <= reach, in the order of eight bytes of their x-coordinate."""

    words: NDArray[np.uint64]
    numbers: IntArray
    odd: Mask


def find_logs(
    points: Points, *, limit: IntArray, reach: int = REACH, workers: int | None = None
) -> tuple[IntArray, Mask]:
    """Return the number v of each point v G, and where there is one within its limit.

    Args: points: (n, 64). limit: (n,), the largest |v| looked for, at most 2^36. reach: numbers a
    step covers on either side; its table is made once a process. workers: threads.
    Returns: numbers (n,), 0 where none was found, and found (n,).
    Raises: RangeExceeded for a greater limit.
    """
    if limit.size and int(limit.max()) > LARGEST_LIMIT:
        raise RangeExceeded(problem=f"sums past {LARGEST_LIMIT} cannot be looked up")
    numbers = np.zeros(len(points), dtype=np.int64)
    found = np.zeros(len(points), dtype=np.bool_)
    open_places, start, stop = np.arange(len(points)), 0, 1
    while open_places.size:
        seen, there = _look(points[open_places], start, stop, reach)
        there &= np.abs(seen) <= limit[open_places]
        there[there] = _are(points[open_places[there]], seen[there], workers)
        numbers[open_places[there]] = seen[there]
        found[open_places[there]] = True
        open_places = open_places[~there]
        # Steps beyond `stop` cover numbers above this only.
        covered = (stop - 1) * _width(reach) + reach
        open_places = open_places[limit[open_places] > covered]
        most = max(1, _MOST_PROBES // (2 * max(1, open_places.size)))
        start, stop = stop, stop + min(stop, most)
    return numbers, found


def _width(reach: int) -> int:
    return 2 * reach + 1


def _look(points: Points, start: int, stop: int, reach: int) -> tuple[IntArray, Mask]:
    """Return each point's number if it lies in the steps from `start` to `stop`, on both sides.

    Returns: a number (n,) and where one is likely, (n,).
    """
    steps = np.arange(start, stop)
    if start == 0:
        centres, probes, there = steps, points, np.ones(len(points), dtype=np.bool_)
    else:
        centres = np.concatenate([steps, -steps])
        pairs = np.tile(_giants(start, stop, reach), (len(points), 1))
        probes, there = add(np.repeat(points, len(centres), axis=0), pairs)
    offsets, hits = np.zeros(len(probes), dtype=np.int64), ~there  # the identity is the centre
    offsets[there], hits[there] = _near(probes[there], _table(reach))
    table = hits.reshape(len(points), len(centres))
    which = table.argmax(axis=1)
    place = np.arange(len(points)) * len(centres) + which
    return centres[which] * _width(reach) + offsets[place], hits[place]


def _near(points: Points, table: _Table) -> tuple[IntArray, Mask]:
    """Return the number of each point within the table's reach, by eight bytes of x and a sign."""
    words, odd = _short(points)
    place = np.minimum(np.searchsorted(table.words, words), len(table.words) - 1)
    number = table.numbers[place]
    return np.where(table.odd[place] == odd, number, -number), table.words[place] == words


def _are(points: Points, numbers: IntArray, workers: int | None) -> Mask:
    """Return where points are those multiples of G, computed afresh: (v + 2^64) G - 2^64 G."""
    again, there = add(multiply_base(shifted(numbers), workers=workers), UNSHIFT)
    assert there.all()  # none is 0, whose multiple is no point to look for
    return np.asarray((to_wire(points) == to_wire(again)).all(axis=1))


def _short(points: Points) -> tuple[NDArray[np.uint64], Mask]:
    data = to_wire(points)
    words = np.ascontiguousarray(data[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
    return words, data[:, -1] % 2 == 1


@cache
def _table(reach: int) -> _Table:
    words, odd = _short(progression(G, G, reach))
    order = np.argsort(words)
    assert (np.diff(words[order]) > 0).all()
    return _Table(words[order], order.astype(np.int64) + 1, odd[order])


def _giants(start: int, stop: int, reach: int) -> Points:
    """Return what leads to the centres: -k w G, then k w G, for the steps k, w = 2 reach + 1."""
    sides = []
    for width in (-_width(reach), _width(reach)):
        first, step = (multiply_base(scalar_of(k * width), workers=1) for k in (start, 1))
        sides.append(progression(first, step, stop - start))
    return np.concatenate(sides)
