"""The masked sum of scores: the label owner learns the total of its partners' scores, row by row.

Every partner adds to its scores, modulo 2^32, one mask for each other partner, which cancels in the
sum, and one more shared with the owner, which the owner takes off the total.
Guarantee: with two or more partners the owner, seeing all masked vectors, learns no more of them
than their total, and a partner's share of it stays hidden among the partners that collude with
nobody. Who only carries and adds the vectors learns nothing. Masks are AES-256-CTR keystreams under
keys of X25519 secrets, bound to the run, the round, all members' keys and the pair, so no two are
alike. A total comes back exactly: scores so large that a sum could wrap are refused.
Not guaranteed: with one partner there are no masks between partners, and the owner learns that
partner's scores. Two vectors of one member in one round would show their difference: a round is
answered once. Nobody can drop out: without one partner's vector nothing can be read. A member that
adds anything else changes the total, and nobody notices.
Source: Bonawitz et al. 2017, eprint 2017/281, section 4 (masks between pairs).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import MessageInvalid, RangeExceeded
from fedmkt.core.stages import IntArray
from fedmkt.security.secure_sum.masks import add_masks, agree, derive, pair_sign
from fedmkt.security.secure_sum.ring import Ring

ScoreArray = NDArray[np.uint32]
_RING = Ring(32)


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What every mask key of one round is bound to. keys: hash of all members' key bundles."""

    run: str
    round: int
    keys: bytes


def mask_scores(
    values: IntArray,
    *,
    member: str,
    secret: bytes,
    partners: Mapping[str, bytes],
    owner: tuple[str, bytes],
    context: ScoreContext,
) -> ScoreArray:
    """Return a partner's scores, masked, shape (rows,).

    Args: values: (rows,), signed, at most (2^31 - 1) / partners in size. member, secret: this
        partner and its X25519 secret of this run. partners: the public keys of all partners, this
        one's included. owner: the owner's name and public key.
    Raises: RangeExceeded; MessageInvalid for a public key that everybody knows the result of.
    Guarantee: that of the module. Call it once a context.
    """
    assert member in partners
    _check_range(values, len(partners))
    streams = [
        (_key(secret, (peer, public), "scores.pair", context, *sorted((member, peer))), sign)
        for peer, public in sorted(partners.items())
        if peer != member
        for sign in [pair_sign(member, peer)]
    ]
    streams.append((_key(secret, owner, "scores.owner", context, owner[0], member), 1))
    masked = _RING.to_ring(values)
    add_masks(masked, streams)
    return masked.view(np.uint32)


def add_masked(vectors: Sequence[ScoreArray]) -> ScoreArray:
    """Return the sum of masked vectors modulo 2^32, shape (rows,). Raises: MessageInvalid."""
    if not vectors:
        raise MessageInvalid(kind="scores", problem="there are none")
    total = np.zeros(vectors[0].shape, dtype=np.uint32)
    for vector in vectors:
        if vector.dtype != np.uint32 or vector.ndim != 1 or vector.shape != total.shape:
            raise MessageInvalid(kind="scores", problem="not one 32-bit word a row from everybody")
        total += vector
    return total


def unmask_total(
    total: ScoreArray,
    *,
    owner: str,
    secret: bytes,
    partners: Mapping[str, bytes],
    context: ScoreContext,
) -> IntArray:
    """Return the sum of all partners' scores, shape (rows,).

    Args: total: what `add_masked` returned of every partner's vector, (rows,). owner, secret: the
        owner and its X25519 secret of this run. partners: the partners' public keys.
    Raises: MessageInvalid for a public key that everybody knows the result of.
    """
    streams = [
        (_key(secret, (peer, public), "scores.owner", context, owner, peer), -1)
        for peer, public in sorted(partners.items())
    ]
    opened = total.astype(_RING.dtype)
    add_masks(opened, streams)
    return _RING.from_ring(opened)


def _check_range(values: IntArray, partners: int) -> None:
    largest = _RING.largest // partners
    if values.size and max(-int(values.min()), int(values.max())) > largest:
        raise RangeExceeded(problem=f"a score passes {largest}")


def _key(
    secret: bytes, peer: tuple[str, bytes], label: str, context: ScoreContext, *names: str
) -> bytes:
    """Return the key of the mask that two members share, bound to the round and both names."""
    shared = agree(secret, peer[1], member=peer[0])
    return derive(shared, label, [context.run, context.round, context.keys, *names])
