"""Noise on what a split training shows, and what it hides of one customer's own row.

Guarantee: noise is discrete Gaussian on a grid of 2^-16, drawn as everywhere else.
Not guaranteed: an epsilon for a training. What is shown of a customer in a later round comes from
networks that were trained on everybody, this customer included, and moves everybody's numbers;
`own_row_event` takes the networks as given, and holds as it stands for the first round alone.
"""

import numpy as np

from fedmkt.contract.split_job import SplitSettings
from fedmkt.data.scaling import NumberArray
from fedmkt.privacy.events import GaussianEvent
from fedmkt.privacy.mechanisms import NoiseSource, noise_event

GRID = 2**16


def noised(values: NumberArray, *, sigma: float, source: NoiseSource) -> NumberArray:
    """Return numbers with noise of standard deviation `sigma` on each; as they are for 0.

    Args: values: (rows, numbers), finite.
    """
    if not sigma:
        return values
    units = np.rint(values.astype(np.float64) * GRID).astype(np.int64)
    drawn = source.add_to(units.ravel(), sigma=sigma * GRID).reshape(values.shape)
    return (drawn / GRID).astype(np.float32)


def own_row_event(settings: SplitSettings) -> GaussianEvent | None:
    """Return what one round's noised activations tell of a customer's own row, given the networks.

    Another row moves them by at most twice the bound. None without noise, which no epsilon bounds.
    Not guaranteed: anything of a whole training; see above.
    """
    if not settings.activation_noise:
        return None
    bound = 2 * settings.activation_bound
    return noise_event(
        l2_bound=bound * GRID,
        noise_multiplier=settings.activation_noise / bound,
        shares=1,
        dimensions=settings.activations,
    )
