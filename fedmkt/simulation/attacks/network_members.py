"""Trainers of networks for the membership attack: plainly, until they overfit, or with DP-SGD.

Guarantee: that of `network_training`. A trainer gives away scores of the finished network alone.
"""

from collections.abc import Callable

import numpy as np

from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkShape
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.simulation.attacks.membership import Trainer
from fedmkt.simulation.attacks.network_training import (
    Descent,
    Step,
    train_plainly,
    train_privately,
)
from fedmkt.simulation.attacks.result import BoolArray


def plain_trainer(
    pool: NetworkRows, shape: NetworkShape, descent: Descent, *, steps: int
) -> Trainer:
    """Return a trainer without clipping and noise."""

    def train(inside: BoolArray) -> FloatArray:
        return confidences(train_plainly(pool.taken(inside), shape, descent, steps=steps), pool)

    return train


def private_trainer(
    pool: NetworkRows,
    shape: NetworkShape,
    descent: Descent,
    terms: DpSgdTerms,
    streams: Callable[[], KeyStream] = KeyStream.fresh,
    *,
    step: Step = noised_sum,
) -> Trainer:
    """Return a trainer with DP-SGD, each model with a stream of its own."""

    def train(inside: BoolArray) -> FloatArray:
        rows = pool.taken(inside)
        network = train_privately(rows, shape, descent, terms, streams(), step=step)
        return confidences(network, pool)

    return train


def confidences(network: Network, rows: NetworkRows) -> FloatArray:
    """Return ln(p / (1 - p)), p being the probability of a row's own target: (rows,)."""
    scores = network.scores(rows.inputs)
    return np.where(rows.target > 0, scores, -scores)
