"""What a model is for: a task turns scores and targets into probabilities, residuals and a loss.

Guarantee: a residual never leaves [-residual_bound, residual_bound], whatever score or target
comes in; the privacy of every sum rests on that. A new task is one class with these members and
one entry in `TASKS`.
"""

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray


class Task(Protocol):
    """The seam for tasks: a link from scores to means, and a loss whose slope are the residuals.

    residual_bound: the most a residual can be; opening_bound: the same where every score is 0.
    curvature_bound: the most the loss can curve.
    """

    name: ClassVar[str]
    residual_bound: ClassVar[float]
    opening_bound: ClassVar[float]
    curvature_bound: ClassVar[float]

    def mean(self, scores: FloatArray) -> FloatArray:
        """Return the expected target of each score, shape (rows,)."""
        ...

    def score_of(self, mean: float) -> float:
        """Return the score whose expected target is `mean`, kept finite."""
        ...

    def residuals(self, target: NDArray[np.uint8], scores: FloatArray) -> FloatArray:
        """Return minus the slope of the loss at each row, shape (rows,), bounded and finite."""
        ...

    def loss(self, target: NDArray[np.uint8], scores: FloatArray) -> float:
        """Return the mean loss over rows, in nats."""
        ...


class Propensity:
    """The chance of a yes: logistic link and log loss.

    |target - probability| is at most 1, and 1/2 at score 0; p(1 - p) is at most 1/4.
    """

    name: ClassVar[str] = "propensity"
    residual_bound: ClassVar[float] = 1.0
    opening_bound: ClassVar[float] = 0.5
    curvature_bound: ClassVar[float] = 0.25

    def mean(self, scores: FloatArray) -> FloatArray:
        """Return probabilities, shape (rows,)."""
        return np.asarray(expit(scores), dtype=np.float64)

    def score_of(self, mean: float) -> float:
        """Return the log-odds of `mean`, taken between 0.1% and 99.9%."""
        share = min(max(mean, 0.001), 0.999)
        return float(np.log(share / (1 - share)))

    def residuals(self, target: NDArray[np.uint8], scores: FloatArray) -> FloatArray:
        """Return target minus probability, shape (rows,).

        Guarantee: every entry lies in [-1, 1]; a score that is not a number has residual 0.
        """
        # Privacy: a hostile row (target 255, score NaN) must not pass the bound of the sums.
        raw = np.minimum(target, 1) - self.mean(scores)
        return np.clip(np.nan_to_num(raw, nan=0.0), -self.residual_bound, self.residual_bound)

    def loss(self, target: NDArray[np.uint8], scores: FloatArray) -> float:
        """Return the mean log loss, in nats."""
        signed = np.where(target > 0, -scores, scores)
        return float(np.mean(np.logaddexp(0.0, signed)))


TASKS: dict[str, Task] = {Propensity.name: Propensity()}


def task_named(name: str) -> Task:
    """Return the task called `name`. Raises: SettingInvalid."""
    if name not in TASKS:
        raise SettingInvalid(setting=f"task {name!r}", problem=f"the tasks are {sorted(TASKS)}")
    return TASKS[name]
