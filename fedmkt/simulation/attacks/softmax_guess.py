"""A classifier that an attacker trains on customers it knows: regularised softmax regression."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from fedmkt.core.stages import FloatArray, IntArray

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge penalties a row that are tried."""


def standardised(values: FloatArray, known: IntArray) -> FloatArray:
    """Return columns of mean 0 and deviation 1 over those known, and a last column of ones."""
    spread = values[known].std(axis=0)
    scaled = (values - values[known].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([scaled, np.ones(len(values))])


def fitted_weights(taken: FloatArray, codes: IntArray, strength: float) -> FloatArray:
    """Return the weights of a softmax regression, shape (columns, values)."""
    rows, columns = taken.shape
    values = int(codes.max()) + 1
    ones = np.eye(values)[codes]

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        weights = flat.reshape(columns, values)
        scores = taken @ weights
        fit = -float(np.sum(ones * log_softmax(scores, axis=1))) / rows
        slope = taken.T @ (softmax(scores, axis=1) - ones) / rows + strength * weights
        return fit + strength / 2 * float(np.sum(flat**2)), slope.ravel()

    start = np.zeros(columns * values)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x, dtype=np.float64).reshape(columns, values)
