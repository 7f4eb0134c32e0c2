"""What a partner of a split training reads of labels out of the gradients it was sent.

Two attacks after Li et al. 2021, arXiv:2102.08504, sections 3.1 and 3.2. By norm: a yes is rare,
so its gradient is long. By direction: the gradient of every yes points the way of a known one's and
that of every no the other. Both take the sum over rounds.
Not guaranteed: that no better attack exists. A figure is a lower bound on what leaks; how well a
partner's own columns tell labels is another matter, and the model's purpose.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.scaling import NumberArray
from fedmkt.evaluation.metrics import auc, auc_interval
from fedmkt.simulation.attacks.result import AttackResult, series
from fedmkt.simulation.attacks.softmax_guess import fitted_weights, standardised

SEEN = "figure by rounds seen"
_LEAST = 1e-12
_STRENGTH = 1e-2  # of the ridge penalty


def infer_labels(
    gradients: Sequence[NumberArray],
    target: NDArray[np.uint8],
    *,
    known: IntArray,
    defence: str,
) -> tuple[AttackResult, ...]:
    """Return what all three attacks find: by norm, by direction (the first yes known), by learning.

    Args and errors: those of `labels_by_learning`.
    """
    # It refuses labels of one class.
    by_norm = labels_by_norm(gradients, target, turned_by=known, defence=defence)
    first = int(np.flatnonzero(target)[0])
    return (
        by_norm,
        labels_by_direction(gradients, target, known=first, turned_by=known, defence=defence),
        labels_by_learning(gradients, target, known=known, defence=defence),
    )


def labels_by_norm(
    gradients: Sequence[NumberArray],
    target: NDArray[np.uint8],
    *,
    turned_by: IntArray | None = None,
    defence: str,
) -> AttackResult:
    """Rank customers by the length of their gradients, from either end.

    Which end holds the yes follows from the protocol: with soft labels of randomised ones it is the
    short one, where the model's own guess shows.

    Args: gradients: of each round, (rows, numbers). target: (rows,), the true labels. turned_by:
        rows whose labels tell the attacker which end it is; the others are ranked. Without any
        it knows, and all are: a figure that is never below chance.
    Raises: OneClassOnly.
    """
    lengths = [np.linalg.norm(one.astype(np.float64), axis=1) for one in gradients]
    summed = np.cumsum(lengths, axis=0)
    told = np.arange(len(target)) if turned_by is None else turned_by
    ends = 1.0 if auc(target[told], summed[-1, told]) >= 0.5 else -1.0
    others = told if turned_by is None else np.setdiff1d(np.arange(len(target)), told)
    return _ranked("labels by norm", ends * summed[:, others], target[others], defence)


def labels_by_direction(
    gradients: Sequence[NumberArray],
    target: NDArray[np.uint8],
    *,
    known: int,
    turned_by: IntArray | None = None,
    defence: str,
) -> AttackResult:
    """Rank all other customers by how their gradients point, with one known yes.

    A yes whose own label was flipped points the way of a no: then everybody else's do, too.

    Args: gradients: of each round, (rows, numbers). target: (rows,), the true labels. known: the
        row the attacker knows to be a yes. turned_by: rows whose labels tell the attacker which
        way that is, and who are not ranked; without any it takes its yes at its word.
    Raises: OneClassOnly.
    """
    assert target[known] > 0
    alike = np.cumsum([_cosines(one.astype(np.float64), known) for one in gradients], axis=0)
    others = np.arange(len(target)) != known
    if turned_by is not None:
        others[turned_by] = False
        if auc(target[turned_by], alike[-1, turned_by]) < 0.5:
            alike = -alike
    return _ranked("labels by direction", alike[:, others], target[others], defence)


def labels_by_learning(
    gradients: Sequence[NumberArray],
    target: NDArray[np.uint8],
    *,
    known: IntArray,
    defence: str,
) -> AttackResult:
    """Rank all other customers by a regression learnt on those known.

    Args: gradients: of each round, (rows, numbers). target: (rows,), the true labels. known: rows
        whose labels the attacker knows, both among them.
    Raises: OneClassOnly.
    """
    others = np.setdiff1d(np.arange(len(target)), known)
    scores = []
    for rounds in range(1, len(gradients) + 1):
        seen = np.concatenate(gradients[:rounds], axis=1).astype(np.float64)
        taken = standardised(seen, known)
        weights = fitted_weights(taken[known], target[known].astype(np.int64), _STRENGTH)
        scores.append(taken[others] @ (weights[:, 1] - weights[:, 0]))
    return _ranked("labels by learning", np.array(scores), target[others], defence)


def _ranked(name: str, scores: FloatArray, target: NDArray[np.uint8], defence: str) -> AttackResult:
    """Return the AUC of the last of the scores (rounds, rows), and of each before."""
    found = auc_interval(target, scores[-1])
    return AttackResult(
        name=name,
        defence=defence,
        figure="AUC of labels",
        unit="share of pairs",
        value=found.value,
        low=found.low,
        high=found.high,
        chance=0.5,
        least=0.0,
        most=1.0,
        series=(series(SEEN, range(1, len(scores) + 1), [auc(target, one) for one in scores]),),
    )


def _cosines(gradients: FloatArray, known: int) -> FloatArray:
    """Return the cosine of each row with the known one, shape (rows,); 0 for a row of zeros."""
    lengths = np.maximum(np.linalg.norm(gradients, axis=1), _LEAST)
    return np.asarray(gradients @ gradients[known] / (lengths * lengths[known]))
