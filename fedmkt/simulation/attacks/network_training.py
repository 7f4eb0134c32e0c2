"""A training of a network in one place, with DP-SGD or plainly: what the attacks are run against.

Guarantee: with DP-SGD its steps are those of `fedmkt.privacy.dp_sgd`: customers drawn by
`draw_customers`, sums made by `noised_sum` or what a caller hands in for it. Plain training takes
the same steps with every customer, without clipping and without noise.
Not guaranteed: anything with a `KeyStream` whose key is known, as tests use.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import FloatArray, PrivateUpdate
from fedmkt.data.scaling import NumberArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkShape, first_parameters
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.poisson import IndexArray, draw_customers
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms, mean_gradient
from fedmkt.privacy.dp_sgd.traces import Trace

UNCLIPPED = 1e12
# Not `round_update`: an audit hands in broken steps and watches every one, and some move with
# momentum, which no deployed step has.
Step = Callable[[Sequence[Trace], DpSgdTerms, KeyStream], PrivateUpdate]
"""`noised_sum`, or a broken one that an audit should find."""


@dataclass(frozen=True, slots=True)
class Descent:
    """How parameters move: learning rate and momentum, from `first_parameters` of this seed."""

    learning_rate: float = 0.5
    momentum: float = 0.0
    seed: int = 0

    def start(self, shape: NetworkShape) -> "Moving":
        """Return where a training of this shape starts."""
        return Moving(first_parameters(shape, self.seed), np.zeros(shape.length))

    def move(self, moving: "Moving", gradient: FloatArray) -> "Moving":
        """Return the parameters after one more mean gradient (parameters,)."""
        speed = self.momentum * moving.speed + gradient
        parameters = moving.parameters - self.learning_rate * speed
        return Moving(parameters.astype(np.float32), speed)


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """Parameters and their speed, each (parameters,)."""

    parameters: NumberArray = field(repr=False)
    speed: FloatArray = field(repr=False)


def train_plainly(
    rows: NetworkRows, shape: NetworkShape, descent: Descent, *, steps: int
) -> Network:
    """Return a network after so many full steps over `rows`, neither clipped nor noised."""
    moving = descent.start(shape)
    for _ in range(steps):
        traces = Network(shape, moving.parameters).traces(rows.inputs, rows.target)
        total = clipped_sum(traces, clip_norm=UNCLIPPED)
        moving = descent.move(moving, total / max(rows.rows, 1))
    return Network(shape, moving.parameters)


def train_privately(
    rows: NetworkRows,
    shape: NetworkShape,
    descent: Descent,
    terms: DpSgdTerms,
    stream: KeyStream,
    *,
    step: Step = noised_sum,
) -> Network:
    """Return a network trained with DP-SGD on `rows`; it costs `terms.event` by the deployed step.

    The number of rows enters as a public number, as in `mean_gradient`.
    """
    moving = descent.start(shape)
    for _ in range(terms.steps):
        drawn = draw_customers(rows.rows, terms.sampling_rate, stream)
        batch = rows.taken(drawn)
        traces = Network(shape, moving.parameters).traces(batch.inputs, batch.target)
        update = step(traces, terms, stream)
        gradient = mean_gradient(update.values, terms, customers=max(rows.rows, 1))
        moving = descent.move(moving, gradient)
    return Network(shape, moving.parameters)


@dataclass(frozen=True, slots=True, eq=False)
class Released:
    """One step as it was seen: the model before it, and the noised sum in units of the gradient."""

    network: Network = field(repr=False)
    total: FloatArray = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class StepPlan:
    """A training with DP-SGD of which each step is watched.

    batch: from those drawn of `customers` to the traces at a model. step: makes the sum.
    """

    shape: NetworkShape
    descent: Descent
    terms: DpSgdTerms
    customers: int
    nominal: int
    batch: Callable[[Network, IndexArray], Sequence[Trace]]
    step: Step = noised_sum

    def releases(self, stream: KeyStream) -> Iterator[Released]:
        """Yield what each step releases. nominal: the public number of customers."""
        moving = self.descent.start(self.shape)
        for _ in range(self.terms.steps):
            network = Network(self.shape, moving.parameters)
            drawn = draw_customers(self.customers, self.terms.sampling_rate, stream)
            update = self.step(self.batch(network, drawn), self.terms, stream)
            total = np.asarray(update.values * self.terms.grid.unit, dtype=np.float64)
            yield Released(network, total)
            gradient = mean_gradient(update.values, self.terms, customers=self.nominal)
            moving = self.descent.move(moving, gradient)
