"""The two sides of a split training, as pure functions: one exchange is one call at each member.

    activations  h_k = bound / sqrt(k) tanh(bottom_k(x)), of every customer, at each member
    score        s   = top([h_owner, h_1, ... h_m]), at the label owner

In a round partners send activations; the owner takes `local_steps` steps of its top and its own
bottom over those stale activations, and the last of them also gives the gradient of each customer's
loss by each partner's activations; every partner takes as many steps along that stale gradient:

    minimise over its bottom: mean_i  g_i h(x_i) + proximal / 2 |h(x_i) - h_seen(x_i)|^2.

The second term is the partner's own and has no gradient in the first step. So with one local step,
no noise and no gradient over its bound, a round is one step on the joint loss of all parameters.
With more, nothing is proved here: rounds are bought with staleness, and what comes of it is
measured.

Guarantee: a customer's activations never pass `activation_bound` in L2 norm before noise, its
gradients never `gradient_bound`, whatever the parameters.
Not guaranteed: privacy. Activations tell of columns and gradients of labels; noise here makes
attacks harder and is priced by nobody, because later networks depend on all customers' rows, so one
customer moves everybody's numbers.

Sources: local steps on stale numbers of the others, Liu et al. 2019, arXiv:1912.11187; split
networks, Vepakomma et al. 2018, arXiv:1812.00564; the step, Kingma and Ba 2014, arXiv:1412.6980,
algorithm 1, with the decay of Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import numpy as np

from fedmkt.contract.split_job import SplitSettings
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.stages import FloatArray
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkInputs
from fedmkt.privacy.dp_sgd.library import torch
from fedmkt.vertical.split_shape import BlockShape, OwnerNetworks, Part

DECAYS = (0.9, 0.999)
"""Of the running averages of gradients and of their squares, arXiv:1412.6980."""
_TINY = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class OwnerRows:
    """What the owner trains on. target: (rows,), 0 or 1, or soft labels of randomised ones."""

    inputs: NetworkInputs
    target: FloatArray = field(repr=False)


def activations(part: Part, inputs: NetworkInputs, settings: SplitSettings) -> NumberArray:
    """Return what a member's network shows of its customers, shape (rows, activations)."""
    with torch.no_grad():
        shown = _shown(torch.from_numpy(part.parameters), part.shape, inputs, settings)
    return np.asarray(shown.numpy(), dtype=np.float32)


def owner_scores(
    owner: OwnerNetworks,
    inputs: NetworkInputs,
    seen: Sequence[NumberArray],
    settings: SplitSettings,
) -> FloatArray:
    """Return the joint scores, shape (rows,), in log-odds.

    seen: the partners' activations, (rows, activations) each.
    """
    with torch.no_grad():
        parts = [torch.from_numpy(part.parameters) for part in (owner.bottom, owner.top)]
        stale = [torch.from_numpy(one) for one in seen]
        scores = _scores(parts, owner, inputs, stale, settings)
    return np.asarray(scores.numpy(), dtype=np.float64)


def owner_round(
    owner: OwnerNetworks,
    rows: OwnerRows,
    seen: Sequence[NumberArray],
    settings: SplitSettings,
    *,
    number: int,
) -> tuple[OwnerNetworks, tuple[NumberArray, ...]]:
    """Take the owner's steps of a round over the activations it saw.

    Args: seen: the partners' activations, (rows, activations) each. number: of the round, from 1.
    Returns: its networks, and for each partner the gradient of each customer's own loss by its
        activations at the last step, (rows, activations), clipped to the bound.
    Raises: TrainingDiverged.
    """
    target = torch.from_numpy(rows.target.astype(np.float32))
    stale = [torch.from_numpy(one) for one in seen]
    slopes: list[torch.Tensor] = []
    for step in range(settings.local_steps):
        leaves = [_leaf(owner.bottom), _leaf(owner.top)]
        if step + 1 == settings.local_steps:
            stale = [one.clone().requires_grad_() for one in stale]
            leaves += stale
        scores = _scores(leaves[:2], owner, rows.inputs, stale, settings)
        loss = torch.nn.functional.softplus(scores) - target * scores  # (rows,)
        below, above, *slopes = torch.autograd.grad(loss.sum(), leaves)
        owner = OwnerNetworks(
            _stepped(owner.bottom, below / max(len(target), 1), settings, number),
            _stepped(owner.top, above / max(len(target), 1), settings, number),
        )
    bound = settings.gradient_bound
    return owner, tuple(clipped_rows(slope.numpy(), l2_bound=bound) for slope in slopes)


def partner_round(
    part: Part,
    inputs: NetworkInputs,
    gradient: NumberArray,
    settings: SplitSettings,
    *,
    number: int,
) -> Part:
    """Take a partner's steps of a round along the gradient it was sent, (rows, activations).

    Raises: TrainingDiverged.
    """
    slopes, rows = torch.from_numpy(gradient), max(len(gradient), 1)
    seen = torch.from_numpy(activations(part, inputs, settings))
    for _ in range(settings.local_steps):
        leaf = _leaf(part)
        shown = _shown(leaf, part.shape, inputs, settings)
        # The gradient of the objective by what is shown; fixed slopes, and a pull to what was seen.
        outer = (slopes + settings.proximal * (shown.detach() - seen)) / rows
        (below,) = torch.autograd.grad(shown, [leaf], outer)
        part = _stepped(part, below, settings, number)
    return part


def clipped_rows(values: NumberArray, *, l2_bound: float) -> NumberArray:
    """Scale each row so that its L2 norm is at most `l2_bound`; rows of no numbers become 0."""
    whole = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(whole, axis=1, keepdims=True)
    # A factor two roundings of float32 below the bound, so that the rounded row keeps to it.
    least = l2_bound * (1 - 2.0**-22)
    return np.asarray(whole * (least / np.maximum(norms, least)), dtype=np.float32)


def _shown(
    parameters: torch.Tensor, shape: BlockShape, inputs: NetworkInputs, settings: SplitSettings
) -> torch.Tensor:
    """Return the activations, shape (rows, given)."""
    *tables, weights = _pieces(parameters, shape)
    codes = torch.from_numpy(inputs.codes.T.astype(np.int64))
    looked_up = [
        table.view(one)[column]
        for table, one, column in zip(tables, shape.embedded, codes, strict=True)
    ]
    taken = torch.cat([*looked_up, torch.from_numpy(inputs.numbers)], dim=1)
    each = settings.activation_bound / math.sqrt(shape.given) * (1 - 2.0**-20)
    return each * torch.tanh(_block(weights, shape, taken))


def _scores(
    parameters: Sequence[torch.Tensor],
    owner: OwnerNetworks,
    inputs: NetworkInputs,
    stale: Sequence[torch.Tensor],
    settings: SplitSettings,
) -> torch.Tensor:
    """Return the joint scores, shape (rows,). parameters: of the bottom and of the top."""
    below, above = parameters
    own = _shown(below, owner.bottom.shape, inputs, settings)
    return _block(above, owner.top.shape, torch.cat([own, *stale], dim=1))[:, 0]


def _block(parameters: torch.Tensor, shape: BlockShape, taken: torch.Tensor) -> torch.Tensor:
    """Return a block's outputs, shape (rows, given)."""
    start = 0
    for place, (out, width) in enumerate(shape.weights):
        weight = parameters[start : start + out * width].view(out, width)
        bias = parameters[start + out * width : start + out * (width + 1)]
        start += out * (width + 1)
        if place + 1 == len(shape.weights):
            return torch.addmm(bias, taken, weight.T)
        taken = torch.cat([torch.relu(torch.addmm(bias, taken, weight.T)), taken], dim=1)
    raise AssertionError("a block has a last layer")


def _pieces(parameters: torch.Tensor, shape: BlockShape) -> list[torch.Tensor]:
    """Return the embeddings, each flat, and last all weights."""
    lengths = [size * dim for size, dim in shape.embedded]
    bounds = [*accumulate(lengths, initial=0), shape.length]
    return [parameters[start:end] for start, end in pairwise(bounds)]


def _leaf(part: Part) -> torch.Tensor:
    """Return the parameters, for which slopes can be asked."""
    return torch.from_numpy(part.parameters.copy()).requires_grad_()


def _stepped(part: Part, slope: torch.Tensor, settings: SplitSettings, number: int) -> Part:
    """Return a part after one step along a mean gradient. Raises: TrainingDiverged."""
    slow, slower = DECAYS
    gradient, steps = np.asarray(slope.numpy(), dtype=np.float32), part.steps + 1
    if not np.isfinite(gradient).all():
        raise TrainingDiverged(round=number)
    mean = np.float32(slow) * part.mean + np.float32(1 - slow) * gradient
    square = np.float32(slower) * part.square + np.float32(1 - slower) * gradient * gradient
    rate = settings.learning_rate / (1 - slow**steps)
    spread = np.sqrt(square / np.float32(1 - slower**steps)) + np.float32(_TINY)
    kept = np.float32(1 - settings.learning_rate * settings.weight_decay)
    moved = kept * part.parameters - np.float32(rate) * mean / spread
    after = replace(part, parameters=moved, mean=mean, square=square, steps=steps)
    if not after.finite:
        raise TrainingDiverged(round=number)
    return after
