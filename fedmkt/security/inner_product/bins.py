"""The partner's side: sums of encrypted numbers over its bins, masked out and unmasked back.

For each bin b the partner adds up the ciphertexts of the bin's rows, adds a fresh encryption of
zero, so that none of the owner's own k shows, and adds u_b G, u_b uniform.
Guarantees, with numbers r from the owner, S_b their sum over bin b and e_b the owner's noise:
(a) A partner that follows the protocol learns S_b + e_b of its own bins and nothing else about r.
    It sees ciphertexts, which are IND-CPA secure under DDH (`elgamal`), and (S_b + e_b) G + u_b G,
    which follows from its own u_b and what it is meant to learn.
(b) The owner learns nothing about codes from `masked_products`, whatever points it sent. The first
    half of a returned ciphertext is something + z G with z fresh and uniform, the second something
    + z P + u_b G with u_b uniform and independent of z: two uniform, independent points. (z comes
    from the operating system, u_b from a keyed stream: uniform to whoever lacks the seed, so this
    holds as AES-256 does.) There is one for every bin of the public layout, empty or not, so sizes
    tell public numbers only.
Not guaranteed:
(c) anything against a partner that breaks the protocol. It may send any linear combination of the
    rows, such as weights 2^j, and read single labels out of one noised sum. Nor anything against an
    owner that returns chosen numbers instead of sums: what a partner makes of them, and then sends
    on, can carry codes. Callers judge the sums before they use them.
(d) constant time. Adding up takes as long as rows there are, whatever the bins; how it reads
    memory, and how long `unmasked_sums` searches, depends on codes and sums. Processes on this
    machine may see that; others see when an answer comes.
A mask seed is for one round; used twice, the owner learns differences of sums.
"""

import numpy as np

from fedmkt.core.errors import RangeExceeded, TotalsImplausible
from fedmkt.core.stages import CodeArray, IntArray
from fedmkt.data.binning import Binning
from fedmkt.security.inner_product.elgamal import Ciphertexts, read_encrypted
from fedmkt.security.inner_product.points import (
    SCALAR_BYTES,
    Points,
    Scalars,
    add,
    from_wire,
    multiply,
    multiply_base,
    negate_scalars,
    random_scalars,
    scalars_from,
    sum_groups,
)
from fedmkt.security.inner_product.small_logs import find_logs
from fedmkt.security.secure_sum.masks import derive, keystream


def masked_products(
    data: bytes,
    codes: CodeArray,
    binning: Binning,
    *,
    mask_seed: bytes,
    member: str,
    workers: int | None = None,
) -> bytes:
    """Return one masked ciphertext for each bin of the layout.

    Args: data: what the owner's `encrypt` wrote. codes: (rows, features), this partner's bins of
        the same rows. binning: the public layout. mask_seed: 32 secret bytes for this round only.
        member: the owner. workers: threads; all cores if None.
    Raises: SetSizeWrong, PointInvalid; RangeExceeded for a code outside its feature's bins.
    Guarantee: (b) of the module.
    """
    _check_codes(codes, binning)
    public, numbers = read_encrypted(data, rows=len(codes), member=member)
    first, second = _covers(public, binning.total, mask_seed, workers)
    return Ciphertexts(
        _bin_sums(numbers.first, first, codes, binning, workers),
        _bin_sums(numbers.second, second, codes, binning, workers),
    ).to_bytes()


def unmasked_sums(
    data: bytes,
    *,
    bins: int,
    mask_seed: bytes,
    limit: int | IntArray,
    round_number: int,
    member: str,
    workers: int | None = None,
) -> IntArray:
    """Return the noised sum of each bin, shape (bins,).

    Args: data: what the owner's `open_noised` wrote. bins: of the layout. mask_seed: as in
        `masked_products`. limit: how far from 0 an honest sum can be, for all bins or for each,
        (bins,); the time to find that a sum is not within it grows with it. round_number, member:
        the round and the owner, for the error.
    Raises: SetSizeWrong, PointInvalid; TotalsImplausible for a sum past its limit.
    """
    noised = from_wire(data, count=bins, member=member)
    masks = multiply_base(negate_scalars(_masks(mask_seed, bins)), workers=workers)
    points, there = add(noised, masks)
    # A sum of 0 is the identity, the one element that has no logarithm to look for.
    sums, limits = np.zeros(bins, dtype=np.int64), np.broadcast_to(np.int64(limit), bins)
    sums[there], found = find_logs(points[there], limit=limits[there], workers=workers)
    if not found.all():
        problem = "a sum lies further from 0 than rows and noise allow"
        raise TotalsImplausible(round=round_number, problem=problem)
    return sums


def _covers(
    public: Points, bins: int, mask_seed: bytes, workers: int | None
) -> tuple[Points, Points]:
    """Return z G and z P + u G of each bin, (bins, 64) each: a fresh encryption of the mask u."""
    fresh = random_scalars(bins)
    masks = multiply_base(_masks(mask_seed, bins), workers=workers)
    # Security: without z the owner finds a bin's rows by the sum of its own k G, without u it
    # reads the exact sum of the bin before noise is on it.
    second, there = add(multiply(public, fresh, workers=workers), masks)
    assert there.all()  # z P = -u G: one in 2^256
    return multiply_base(fresh, workers=workers), second


def _bin_sums(
    points: Points, covers: Points, codes: CodeArray, binning: Binning, workers: int | None
) -> Points:
    """Return cover + sum of the rows' points for each bin, shape (bins, 64)."""
    rows, pool = len(points), np.concatenate([points, covers])
    sums = []
    for place, (offset, feature) in enumerate(zip(binning.offsets, binning.features, strict=True)):
        bins = np.arange(feature.bins)
        held = np.concatenate([codes[:, place], bins.astype(codes.dtype)])
        index = np.argsort(held, kind="stable")
        index[index >= rows] += offset
        starts = np.concatenate([[0], np.cumsum(np.bincount(held, minlength=feature.bins))])
        summed, there = sum_groups(pool, index, starts, workers=workers)
        # Security: the uniform cover is part of every sum, so not even an owner that sends points
        # that cancel out can make one the identity, and learn from a refusal that they met.
        assert there.all()
        sums.append(summed)
    return np.concatenate([pool[:0], *sums])


def _masks(seed: bytes, bins: int) -> Scalars:
    """Return the masks u of all bins, (bins, 32): the same for the same seed."""
    key = derive(seed, "inner_product.masks", [bins])
    return scalars_from(keystream(key, SCALAR_BYTES * bins))


def _check_codes(codes: CodeArray, binning: Binning) -> None:
    """Refuse codes that would add a row to another feature's bins. Raises: RangeExceeded."""
    bins = [feature.bins for feature in binning.features]
    if codes.shape[1] != len(bins) or (len(codes) and (codes.max(axis=0) >= bins).any()):
        raise RangeExceeded(problem="a bin code lies outside its feature's bins")
