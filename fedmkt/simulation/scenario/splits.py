"""Rows drawn for a test or a training, with the classes of the target in their shares.

Guarantee: of each class as many rows are drawn as its share says, to the next whole row; where a
class has two rows or more, neither what is drawn nor what is left is without it, as far as their
sizes allow; a single row of a class is drawn. The same order draws the same rows.
"""

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import IntArray


def draw_in_shares(
    order: IntArray, positive: NDArray[np.bool_], count: int
) -> tuple[IntArray, IntArray]:
    """Return the places of `count` drawn rows, and those of the others.

    Args: order: places of rows at random, (rows,). positive: by place, whether the target is yes.
    """
    yes, no = order[positive[order]], order[~positive[order]]
    wanted = _of_yes(count, yes.size, no.size)
    drawn = np.concatenate([yes[:wanted], no[: count - wanted]])
    left = np.concatenate([yes[wanted:], no[count - wanted :]])
    return drawn, left


def _of_yes(count: int, yes: int, no: int) -> int:
    """Return how many of `count` rows are to be of the class yes."""
    wanted = round(count * yes / (yes + no))
    # A row of each class on both sides; else on the side that is drawn; else whatever there is.
    for drawn, left in ((1, 1), (1, 0), (0, 0)):
        low, high = max(drawn, count - no + left), min(yes - left, count - drawn)
        if low <= high:
            return min(max(wanted, low), high)
    raise AssertionError("there are so many rows")
