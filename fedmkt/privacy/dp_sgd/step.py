"""One step: from the traces of those drawn to a noised sum.

    draw_customers -> the model's traces -> clipped sum -> LocalUpdate -> PrivateUpdate

Guarantee: with customers drawn by `draw_customers` at the terms' rate and a `KeyStream` whose key
nobody knows, a step costs `terms.step_event`; with trust `distributed` the sum of the shares does.
What a step returns is all that may be seen of it: not the batch, nor its size, loss or exact sum.
Not guaranteed: anything for rows drawn another way, above all by shuffling and cutting.
"""

from collections.abc import Sequence

from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import PrivateUpdate, Trust
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.noise import add_gaussian, on_grid
from fedmkt.privacy.dp_sgd.poisson import IndexArray
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms
from fedmkt.privacy.dp_sgd.traces import Trace


def noised_sum(
    traces: Sequence[Trace],
    terms: DpSgdTerms,
    stream: KeyStream,
    *,
    trust: Trust = "local",
    customers: IndexArray | None = None,
) -> PrivateUpdate:
    """Return the noised sum of the clipped gradients of those drawn, in units of the terms' grid.

    Args: traces: of all layers, over the rows of those drawn. customers: as in `clipped_sum`.
    Guarantee: that of the module.
    Raises: as `clipped_sum` and `add_gaussian`; an empty batch is noise alone and is released too.
    """
    total = clipped_sum(traces, clip_norm=terms.clip_norm, customers=customers)
    assert len(total) == terms.dimensions
    return add_gaussian(
        on_grid(total, terms.grid),
        noise_multiplier=terms.noise_multiplier,
        shares=terms.shares,
        trust=trust,
        stream=stream,
    )
