"""The canary audit of a training with DP-SGD, by canaries that are gradients or customers.

`gradients`: a canary's gradient lies in one parameter of its own, ten times as long as the clip
norm, so that it is as large as clipping lets it be and no canary blurs another. `customers`: rows
with random values and random targets, whose gradients follow from the model as everybody's do.
Whoever is in is drawn by the training's own sampling. A canary's score is the likelihood ratio of
what was released in the direction of its gradient, drawn with the training's chance or not there at
all, over all steps; what the customers give on the average is taken off first, for an auditor may
know them. How large the noise is, the canaries' directions show together, so missing noise is used.

Guarantee: clipping, noise and sampling are the deployed code, reached as everybody's rows reach it.
Not guaranteed: that a defect is found. Who is drawn is noise to the auditor too, most of all with
many customers and few draws of each; an audit on few customers sees more, and is as fair, since a
guarantee holds for any table. Canaries that are customers find next to nothing in a small network,
not even missing noise: their gradients lie too much alike. They show what customers lose, not what
the mechanism may.
Source: Nasr et al. 2023, arXiv:2302.07956, section 5 (canaries that are gradients).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import FloatArray
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkInputs, NetworkShape
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.privacy.dp_sgd.poisson import IndexArray
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace
from fedmkt.simulation.attacks.network_training import Descent, Step, StepPlan
from fedmkt.simulation.attacks.result import BoolArray

Kind = Literal["gradients", "customers"]
_LONG = 10.0  # times the clip norm: a training that does not clip shows it
_STEEP = 2.0**12  # of a weight's input over its slope, so that next to nothing falls on the bias
_SHORTEST = 1e-12  # a gradient of nothing has no direction
_KNOWN = 2_000  # customers, at most, from whom the average gradient is taken


@dataclass(frozen=True, slots=True, eq=False)
class AuditedNetwork:
    """A training with DP-SGD that takes canaries in.

    epsilon: as stated for `terms` at `delta`. rows: the customers. kind: of the canaries. made_up:
    (canaries,) rows, where they are customers. places: (canaries,), where they are gradients, the
    parameter of each. step: of the training. Raises: SettingInvalid.
    """

    shape: NetworkShape
    terms: DpSgdTerms
    descent: Descent
    epsilon: float
    delta: float
    rows: NetworkRows = field(repr=False)
    kind: Kind
    places: IndexArray = field(repr=False)
    made_up: NetworkRows = field(repr=False)
    stream: KeyStream = field(repr=False)
    step: Step = noised_sum

    @property
    def what(self) -> str:
        """Return in words what is trained, by which terms, and which canaries it takes."""
        terms = self.terms
        return (
            f"network of {self.shape.length} parameters: {terms.steps} steps, clip norm "
            f"{terms.clip_norm:g}, noise multiplier {terms.noise_multiplier:g}, sampling rate "
            f"{terms.sampling_rate:g}; {self.canaries} canaries that are {self.kind}"
        )

    @property
    def canaries(self) -> int:
        """Return how many canaries there are."""
        return len(self.places) if self.kind == "gradients" else self.made_up.rows

    def scores(self, present: BoolArray) -> FloatArray:
        """Train once with the canaries `present`; return each one's score (canaries,)."""
        inside = np.flatnonzero(present)
        count = self.rows.rows

        def batch(network: Network, drawn: IndexArray) -> Sequence[Trace]:
            own = self.rows.taken(drawn[drawn < count])
            canaries = inside[drawn[drawn >= count] - count]
            return joined(network.traces(own.inputs, own.target), self._traces(network, canaries))

        plan = StepPlan(
            self.shape,
            self.descent,
            self.terms,
            customers=count + len(inside),
            nominal=count + self.canaries // 2,
            batch=batch,
            step=self.step,
        )
        everybody, scores = np.arange(self.canaries), np.zeros(self.canaries)
        for released in plan.releases(self.stream):
            own = self._traces(released.network, everybody)
            lengths = np.maximum(norms(own), _SHORTEST)
            unexplained = released.total - self._expected(released.network, own)
            scores += evidence(
                projections(own, unexplained) / lengths,
                np.minimum(lengths, self.terms.clip_norm),
                rate=self.terms.sampling_rate,
            )
        return scores

    def _traces(self, network: Network, chosen: IndexArray) -> Sequence[Trace]:
        """Return the traces of these canaries at a model."""
        if self.kind == "customers":
            rows = self.made_up.taken(chosen)
            return network.traces(rows.inputs, rows.target)
        length = _LONG * self.terms.clip_norm
        return single_parameters(self.shape, self.places[chosen], length=length)

    def _expected(self, network: Network, own: Sequence[Trace]) -> FloatArray:
        """Return what a step releases on the average, half of the canaries being in."""
        known = self.rows.taken(np.arange(min(self.rows.rows, _KNOWN)))
        traces = network.traces(known.inputs, known.target)
        clip_norm, rate = self.terms.clip_norm, self.terms.sampling_rate
        scale = rate * self.rows.rows / max(known.rows, 1)
        others = clipped_sum(traces, clip_norm=clip_norm) * scale
        return others + clipped_sum(own, clip_norm=clip_norm) * (rate / 2)


def evidence(seen: FloatArray, lengths: FloatArray, *, rate: float) -> FloatArray:
    """Return the log likelihood ratio of one step for each canary, shape (canaries,).

    Args: seen: what lies in the direction of its gradient. lengths: of the gradient, clipped.
        rate: the chance to be drawn. The spread of the noise is that of `seen`, by its median.
    """
    spread = max(1.4826 * float(np.median(np.abs(seen - np.median(seen)))), 1e-6)
    ratio = (seen * lengths - lengths**2 / 2) / spread**2
    if rate == 1:
        return ratio
    mixed = np.logaddexp(np.log1p(-rate), np.log(rate) + ratio)
    return np.asarray(mixed, dtype=np.float64)


def gradient_places(shape: NetworkShape, count: int, draw: np.random.Generator) -> IndexArray:
    """Return a parameter for each canary, no two the same. Raises: SettingInvalid."""
    if not 0 < count <= shape.length:
        problem = f"the network has {shape.length} parameters, one a canary is needed"
        raise SettingInvalid(setting=f"{count} canaries", problem=problem)
    return np.sort(draw.permutation(shape.length)[:count]).astype(np.int64)


def made_up_rows(shape: NetworkShape, count: int, draw: np.random.Generator) -> NetworkRows:
    """Return customers to be canaries: values and targets at random."""
    bins = [one.bins for one in shape.categories.features]
    codes = np.empty((count, len(bins)), dtype=np.uint16)
    for place, size in enumerate(bins):
        codes[:, place] = draw.integers(0, size, count)
    numbers = draw.uniform(-1, 1, (count, shape.numbers)).astype(np.float32)
    target = draw.integers(0, 2, count).astype(np.uint8)
    return NetworkRows(NetworkInputs(numbers, codes), target)


def single_parameters(
    shape: NetworkShape, places: IndexArray, *, length: float
) -> tuple[Trace, ...]:
    """Return traces whose gradients lie in one parameter each, of this L2 norm.

    Args: places: (rows,), of the parameters. A weight's gradient drags its bias's along; its input
        is 2^12 times its slope, so that this is next to nothing.
    """
    rows, start, traces = len(places), 0, []
    for size, columns in shape.tables:
        here = np.flatnonzero((places >= start) & (places < start + size * columns))
        code, column = np.divmod(places[here] - start, columns)
        codes, slopes = np.zeros(rows, dtype=np.int64), np.zeros((rows, columns), np.float32)
        codes[here], slopes[here, column] = code, length
        traces.append(EmbeddingTrace(torch.from_numpy(codes), torch.from_numpy(slopes), size))
        start += size * columns
    layers: list[Trace] = []
    for outs, ins in shape.layers:
        layers.append(_single_in_layer(places - start, outs, ins, length))
        start += outs * (ins + 1)
    return (*traces, *layers)


def _single_in_layer(places: IndexArray, outs: int, ins: int, length: float) -> LinearTrace:
    """Return the trace of a linear layer; `places` count from its first weight."""
    inputs = np.zeros((len(places), ins), dtype=np.float32)
    slopes = np.zeros((len(places), outs), dtype=np.float32)
    weights = np.flatnonzero((places >= 0) & (places < outs * ins))
    if weights.size:
        out, into = np.divmod(places[weights], ins)
        inputs[weights, into], slopes[weights, out] = _STEEP, length / _STEEP
    biases = np.flatnonzero((places >= outs * ins) & (places < outs * (ins + 1)))
    slopes[biases, places[biases] - outs * ins] = length
    return LinearTrace(torch.from_numpy(inputs), torch.from_numpy(slopes))


def joined(one: Sequence[Trace], other: Sequence[Trace]) -> tuple[Trace, ...]:
    """Return the traces of the rows of both, layer by layer."""
    both: list[Trace] = []
    for left, right in zip(one, other, strict=True):
        slopes = torch.cat([left.slopes, right.slopes])
        if isinstance(left, EmbeddingTrace):
            assert isinstance(right, EmbeddingTrace)
            both.append(EmbeddingTrace(torch.cat([left.codes, right.codes]), slopes, left.size))
        else:
            assert isinstance(right, LinearTrace)
            both.append(LinearTrace(torch.cat([left.inputs, right.inputs]), slopes))
    return tuple(both)


def norms(traces: Sequence[Trace]) -> FloatArray:
    """Return the L2 norm of each row's gradient, shape (rows,)."""
    total = torch.zeros(len(traces[0].slopes), dtype=torch.float64)
    for one in traces:
        square = one.slopes.double().square().sum(1)
        if isinstance(one, LinearTrace):
            square = square * (one.inputs.double().square().sum(1) + 1)
        total += square
    return _plain(total.sqrt())


def projections(traces: Sequence[Trace], vector: FloatArray) -> FloatArray:
    """Return the inner product of each row's gradient and a vector (parameters,); (rows,)."""
    whole = torch.from_numpy(vector)
    total, start = torch.zeros(len(traces[0].slopes), dtype=torch.float64), 0
    for one in traces:
        slopes = one.slopes.double()
        outs = slopes.shape[1]
        if isinstance(one, EmbeddingTrace):
            table = whole[start : start + one.size * outs].view(one.size, outs)
            total += (slopes * table.index_select(0, one.codes)).sum(1)
            start += one.size * outs
            continue
        ins = one.inputs.shape[1]
        weight = whole[start : start + outs * ins].view(outs, ins)
        bias = whole[start + outs * ins : start + outs * (ins + 1)]
        total += (slopes * (one.inputs.double() @ weight.T + bias)).sum(1)
        start += outs * (ins + 1)
    return _plain(total)


def _plain(values: torch.Tensor) -> FloatArray:
    plain: npt.NDArray[np.float64] = values.numpy()
    return plain
