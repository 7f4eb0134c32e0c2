"""What is agreed before a training with DP-SGD, and what it costs by that.

Guarantee: `event` holds all that the steps of such a training cost one customer, added or removed
with all rows, before any row is read. Steps made by another object, after a restart or with another
optimiser, cost the same: one event a step adds up to the event of all steps.
Not guaranteed: that a training keeps to its terms. Whoever runs it makes no more steps than this.
"""

import math
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.privacy.dp_sgd.noise import Grid, grid_for
from fedmkt.privacy.events import PoissonGaussianEvent
from fedmkt.privacy.mechanisms import noise_event

SINGLE_MARGIN = 0.01
"""What part of the clip norm a sum may be off by for single precision: `clipped_sum` keeps it.

About 2,200 clipped gradients fit into it; more of it would make larger batches faster, all noisier.
"""

FLOAT_MARGIN = 2 * SINGLE_MARGIN + 2.0**-15
"""By what part floats move a sum of clipped gradients beyond the clip norm: `clipped_sum`."""


@dataclass(frozen=True, slots=True)
class DpSgdTerms:
    """The public terms of a training with DP-SGD.

    clip_norm: L2 norm that a customer's gradient is clipped to. noise_multiplier: the whole noise
    of a step over what a customer moves its sum by. sampling_rate: everybody's chance to be in a
    step. steps: how many. dimensions: parameters. shares: honest partners whose noise adds up to
    the whole; 1 where each partner's sum is private by itself.
    Raises: SettingInvalid, EpsilonInvalid for terms that cannot be kept or priced.
    """

    clip_norm: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
    dimensions: int
    shares: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be priced. Raises: SettingInvalid, EpsilonInvalid."""
        if not 0 < self.clip_norm < math.inf:
            raise SettingInvalid(
                setting=f"clip norm {self.clip_norm}", problem="it must be above 0"
            )
        _ = self.event

    @property
    def grid(self) -> Grid:
        """Return the grid that all sums of this training are rounded to."""
        return grid_for(
            bound=self.clip_norm * (1 + FLOAT_MARGIN),
            noise_multiplier=self.noise_multiplier,
            shares=self.shares,
            dimensions=self.dimensions,
        )

    @property
    def event(self) -> PoissonGaussianEvent:
        """Return what all steps together cost."""
        noise = noise_event(
            l2_bound=self.grid.l2_bound,
            noise_multiplier=self.noise_multiplier,
            shares=self.shares,
            dimensions=self.dimensions,
        )
        return PoissonGaussianEvent(noise, self.sampling_rate, self.steps)

    @property
    def step_event(self) -> PoissonGaussianEvent:
        """Return what one step costs."""
        return PoissonGaussianEvent(self.event.noise, self.sampling_rate, 1)


def mean_gradient(values: IntArray, terms: DpSgdTerms, *, customers: float) -> FloatArray:
    """Return the noised mean gradient of released sums (parameters,) on the terms' grid.

    customers: about how many could have been drawn; a public number, agreed or released with noise.
    Neither their exact number nor the number drawn may stand here: both tell of one customer.
    """
    unit = terms.grid.unit / (terms.sampling_rate * customers)
    return np.asarray(values * unit, dtype=np.float64)
