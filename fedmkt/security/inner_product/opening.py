"""The label owner's side of the return: key off, noise on, without seeing the sums.

Guarantee: what a partner sent is (C, x C + (S + u) G); the owner computes (S + u + e) G. With u
uniform and unknown to it, that point is uniform to it, whatever the sum S is: it adds noise to sums
it cannot read. A partner that follows the protocol learns S + e and no more (`bins`).
Not guaranteed: anything against a partner that sends other ciphertexts than sums over its bins. The
owner opens any linear combination of its numbers, with noise of the agreed scale, one for each
agreed bin and no more. Multiplying by the key is not of constant time (`points.multiply`); a key is
for one round, so there is one answer to time.
"""

import numpy as np

from fedmkt.core.errors import PointInvalid
from fedmkt.core.stages import IntArray
from fedmkt.security.inner_product.elgamal import Ciphertexts, OwnerKey
from fedmkt.security.inner_product.points import (
    UNSHIFT,
    add,
    multiply,
    multiply_base,
    negate_scalars,
    shifted,
    to_wire,
)


def open_noised(
    key: OwnerKey,
    data: bytes,
    noise: IntArray,
    *,
    member: str,
    workers: int | None = None,
) -> bytes:
    """Return the masked sums with noise, one point a bin, for the partner alone.

    Args: data: what the partner's `masked_products` wrote. noise: (bins,), whole numbers; zeros
        where a run is deliberately without noise. member: the partner. workers: threads.
    Raises: SetSizeWrong, PointInvalid.
    Guarantee: that of the module. One call for each key and partner: a second one with other noise
    would average the noise away.
    """
    sums = Ciphertexts.from_bytes(data, count=len(noise), member=member)
    shared = multiply(sums.first, negate_scalars(key.scalar), workers=workers)
    # The noise goes on as (e + 2^64) G - 2^64 G, in the same time whatever it is, zero included.
    added = multiply_base(shifted(np.asarray(noise, dtype=np.int64)), workers=workers)
    points, there = add(sums.second, shared, added, UNSHIFT)
    if not there.all():
        # Security: honest masks give this once in 2^256. Who left them off learns by the refusal
        # that a noised sum is 0, which an answer would have told it too.
        raise PointInvalid(member=member, problem="it carries no mask")
    return to_wire(points).tobytes()
