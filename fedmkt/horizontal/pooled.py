"""Training without any exchange: the same sums and the same step over tables in one place.

Used for a partner alone and for the twin trained on all rows pooled. Guarantee: the model equals
the federated one without noise to the last bit, because integer sums do not depend on how rows
are split. Not guaranteed: privacy; nothing here adds noise.
"""

from collections.abc import Sequence

import numpy as np

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import local_sums
from fedmkt.horizontal.newton import TrainingState, apply_sum, initial_state

COUNT_WEIGHT = 1.0


def train_pooled(
    parts: Sequence[Examples], binning: Binning, settings: AdditiveSettings
) -> TrainingState:
    """Train `settings.rounds` rounds on the rows of all `parts`, without noise.

    Raises: RangeExceeded, TrainingDiverged.
    """
    state = initial_state(binning, settings)
    for round_index in range(settings.rounds):
        weight = COUNT_WEIGHT if round_index == 0 else None
        updates = [local_sums(part, state.model, count_weight=weight) for part in parts]
        values = np.sum([update.values for update in updates], axis=0)
        state = apply_sum(state, values, noise_sigma=0.0, count_weight=COUNT_WEIGHT)
    return state
