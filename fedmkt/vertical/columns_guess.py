"""What a label owner can guess of a partner's columns from the scores it saw.

An attack, to be measured and shown: an owner that knows a column for some customers (its own staff,
a bought list) takes, for everybody else, the values of those whose totals moved alike over the
rounds. Not guaranteed: that no better attack exists. The figure is a lower bound on what leaks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fedmkt.core.stages import CodeArray, FloatArray, IntArray

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """accuracy: share of other customers guessed right. majority: the same, always guessing the
    most frequent value among the known ones."""

    accuracy: float
    majority: float


def column_guess(trajectories: IntArray | FloatArray, codes: CodeArray, known: IntArray) -> Guess:
    """Guess a column of all customers but the known ones from the totals seen of them.

    Args: trajectories: (rows, rounds) totals, or other numbers seen of each customer. codes:
        (rows,) the column's bins. known: which rows the attacker knows; at least one, not all.
    """
    spread = trajectories.std(axis=0)
    scaled = trajectories / np.where(spread > 0, spread, 1.0)
    others = np.setdiff1d(np.arange(len(codes)), known)
    bins = int(codes.max()) + 1
    _, near = cKDTree(scaled[known]).query(scaled[others], k=min(NEIGHBOURS, len(known)))
    guessed = _most_frequent(codes[known][near.reshape(len(others), -1)], bins)
    usual = int(np.bincount(codes[known], minlength=bins).argmax())
    return Guess(
        accuracy=float(np.mean(guessed == codes[others])),
        majority=float(np.mean(codes[others] == usual)),
    )


def _most_frequent(votes: CodeArray, bins: int) -> NDArray[np.int64]:
    """Return the most frequent code of each row of `votes` (rows, neighbours), nearest first."""
    tally = np.zeros((len(votes), bins))
    for place in range(votes.shape[1]):
        # A vote weighs a little less than the one before: ties go to the nearest.
        tally[np.arange(len(votes)), votes[:, place]] += 1 - 0.01 * place
    return np.asarray(tally.argmax(axis=1), dtype=np.int64)
