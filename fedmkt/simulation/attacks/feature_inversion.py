"""What the label owner of a split training reads of a partner's column out of its activations.

A learnt inverter, as in He, Zhang and Lee 2019, doi:10.1145/3359789.3359824: the owner knows a
column for some customers (its own staff, a bought list), trains a classifier from activations to
the column's values on them, and guesses everybody else. It tries regularised softmax regressions
over the activations of all rounds and the nearest known customers, and takes what does best on a
fifth of those known.
Not guaranteed: that no better attack exists. A figure is a lower bound on what leaks.
"""

from collections.abc import Sequence

import numpy as np

from fedmkt.core.stages import CodeArray, FloatArray, IntArray
from fedmkt.data.scaling import NumberArray
from fedmkt.simulation.attacks.label_inference import SEEN
from fedmkt.simulation.attacks.result import AttackResult, clopper_pearson, series
from fedmkt.simulation.attacks.softmax_guess import STRENGTHS, fitted_weights, standardised
from fedmkt.vertical.columns_guess import column_guess

_CHECKED = 5  # one in so many of the known customers picks the penalty


def invert_column(
    seen: Sequence[NumberArray], codes: CodeArray, known: IntArray, *, defence: str
) -> AttackResult:
    """Guess a column of all customers but the known ones.

    Args: seen: activations of each round, (rows, numbers). codes: (rows,), the column's values.
        known: rows the attacker knows; at least ten, not all.
    Returns: accuracy over the others with its exact 95% interval; chance is the accuracy of always
        guessing the value most frequent among those known. The series: the same after 1, 2, 4 and
        so on, and after all rounds.
    """
    others = np.setdiff1d(np.arange(len(codes)), known)
    usual = int(np.bincount(codes[known]).argmax())
    seen_rounds = sorted({min(2**power, len(seen)) for power in range(len(seen).bit_length() + 1)})
    right = []
    for rounds in seen_rounds:
        taken = standardised(np.concatenate(seen[:rounds], axis=1).astype(np.float64), known)
        right.append(_accuracy(taken, codes, known, others))
    low, high = clopper_pearson(round(right[-1] * len(others)), len(others))
    return AttackResult(
        name="feature inversion",
        defence=defence,
        figure="values guessed right",
        unit="share of customers",
        value=right[-1],
        low=low,
        high=high,
        chance=float(np.mean(codes[others] == usual)),
        series=(series(SEEN, seen_rounds, right),),
        least=0.0,
        most=1.0,
    )


def _accuracy(taken: FloatArray, codes: CodeArray, known: IntArray, others: IntArray) -> float:
    """Return the share of others guessed right by the inverter that does best on those checked."""
    checked, learnt = known[::_CHECKED], np.delete(known, np.s_[::_CHECKED])
    right = [_regressed(taken, codes, learnt, checked, strength) for strength in STRENGTHS]
    near = column_guess(taken[known], codes[known], _places(known, learnt)).accuracy
    if near >= max(right):
        return column_guess(taken, codes, known).accuracy
    return _regressed(taken, codes, known, others, STRENGTHS[int(np.argmax(right))])


def _places(known: IntArray, learnt: IntArray) -> IntArray:
    """Return where among the known ones those learnt from stand."""
    return np.flatnonzero(np.isin(known, learnt))


def _regressed(
    taken: FloatArray, codes: CodeArray, learnt: IntArray, asked: IntArray, strength: float
) -> float:
    """Return the share of those asked about that a softmax regression guesses right."""
    weights = fitted_weights(taken[learnt], codes[learnt].astype(np.int64), strength)
    return float(np.mean((taken[asked] @ weights).argmax(axis=1) == codes[asked]))
