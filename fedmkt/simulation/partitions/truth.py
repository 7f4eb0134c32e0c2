"""What is known of generated customers: true scores, true probabilities, and the best AUC there is.

Guarantee: no ranking by the features has a higher expected AUC than `Truth.bayes_auc`, because it
ranks by the true probabilities themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from fedmkt.core.errors import OneClassOnly
from fedmkt.core.stages import FloatArray, IntArray

_NODES = np.linspace(-5.0, 5.0, 41)  # standard deviations
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The truth about a table's rows, in their order.

    parts: each party's part of the score, (rows,), in log odds. interaction: what no party's
    columns give by themselves, (rows,). score: intercept + parts + interaction. probability: of a
    positive target, (rows,), increasing in the score. shares: cov(part, score) / var(score) of each
    party in the population; with interaction_share they sum to 1.
    """

    parts: Mapping[str, FloatArray]
    interaction: FloatArray
    score: FloatArray
    probability: FloatArray
    shares: Mapping[str, float]
    interaction_share: float

    @property
    def bayes_auc(self) -> float:
        """Return the expected AUC of the true probabilities over these rows."""
        return expected_auc(self.probability, self.probability)

    def of_rows(self, rows: IntArray) -> "Truth":
        """Return the truth about some of the rows."""
        return Truth(
            {party: part[rows] for party, part in self.parts.items()},
            self.interaction[rows],
            self.score[rows],
            self.probability[rows],
            self.shares,
            self.interaction_share,
        )


def expected_auc(probability: FloatArray, scores: FloatArray) -> float:
    """Return the AUC of scores where every row is a positive to the weight of its probability.

    That is sum p_i (1 - p_j) [s_i > s_j] / sum p_i (1 - p_j) over all i other than j, ties counting
    one half: expected correct pairs over expected pairs, in O(rows log rows).

    Args: probability, scores: (rows,). Raises: OneClassOnly (no pair has any weight).
    """
    _, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights=probability)
    no = np.bincount(place, weights=1 - probability)
    itself = float(np.sum(probability * (1 - probability)))
    pairs = float(yes.sum() * no.sum()) - itself
    if not pairs > 0:
        raise OneClassOnly(target="of the true probabilities", dataset="of the evaluation")
    below = np.cumsum(no) - no / 2
    return (float(yes @ below) - itself / 2) / pairs


def probabilities(score: FloatArray, noise: float) -> FloatArray:
    """Return the chance of a positive where unseen normal noise is added to the log odds.

    Args: score: (rows,), log odds. noise: its standard deviation, at most 5, over which the
    logistic function is averaged at 41 points.
    """
    if not noise:
        return np.asarray(expit(score), dtype=np.float64)
    mean = np.zeros_like(score)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        mean += weight * expit(score + noise * node)
    return mean


def scale_to_shares(correlation: FloatArray, shares: FloatArray) -> FloatArray:
    """Return factors a with a_k (R a)_k = shares_k, so that part k has that share of the variance.

    Args: correlation: R, (parts, parts), of parts with variance 1, positive semidefinite, nothing
    below 0. shares: (parts,), of sum 1.

    Source: Marshall and Olkin 1968, doi:10.1007/BF02166027: a is unique. Found by coordinate
    descent on the convex function a'Ra / 2 - sum shares log a.
    """
    factors = np.sqrt(shares)
    for _ in range(10_000):
        before = factors.copy()
        for k, share in enumerate(shares):
            others = float(correlation[k] @ factors) - correlation[k, k] * factors[k]
            factors[k] = (np.sqrt(others**2 + 4 * share) - others) / 2
        if np.max(np.abs(factors - before)) < 1e-14:
            break
    return factors
